"""K fixed views of each photo, as the teacher describes them: made once, and read in every epoch after.

The views are a function of the seed, the photo and its number, 0 to K − 1, so that a folder of their vectors is all that is
stored of them. An interrupted start continues where it stopped.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from askew_client.files import write_atomically
from askew_training.data.augmentation import Augmentation
from askew_training.data.batches import Draw, PhotoPlan
from askew_training.data.photo_sets import Photo
from askew_training.errors import CacheError
from askew_training.train.matching.teachers import DescribeViews, ViewTeacher
from askew_training.train.matching.views import ViewPlan, kept, mixed
from askew_training.train.reader import LoadedBatch, PhotoReader
from askew_training.vectors.lock import check_empty, lock_folder
from askew_training.vectors.manifest import (
    MANIFEST,
    PROGRESS,
    VECTORS,
    CacheManifest,
    Dtype,
    Progress,
    Unreadable,
    digest_of,
    read_record,
    write_record,
)
from askew_training.vectors.teacher_vectors import TeacherVectors

RULE = "views-1"
"""Names the rule by which views are made. Change it whenever the pixels of a view change."""

STATED = "views.json"
PHOTOS_AT_ONCE = 32
SAID_EVERY = 10.0
SAVED_EVERY = 20.0


@dataclass(frozen=True)
class StoredViews:
    """The teacher's vectors of fixed views. `rows`: int64 [N, K], of view k of each photo; −1 for one without a vector."""

    vectors: TeacherVectors
    rows: NDArray[np.int64]

    def of(self, photos: NDArray[np.int64], views: NDArray[np.int64]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """The vectors of some views, float32 [n, D], and which views have one, bool [B]; n of B have."""
        rows = self.rows[photos, views]
        return self.vectors.rows(rows[rows >= 0]), rows >= 0


@dataclass(frozen=True)
class ViewJob:
    """What is described: fixed views of photos, by a teacher, into a folder below `cache`.

    `plan.fixed` is K. `augmentation`: None if views are whole photos.
    """

    teacher: ViewTeacher
    photos: Sequence[Photo]
    plan: ViewPlan
    augmentation: Augmentation | None
    cache: Path

    @property
    def stated(self) -> dict[str, object]:
        """All that the vectors depend on, except for the photos."""
        augmentation = None if self.augmentation is None else vars(self.augmentation)
        return {
            "rule": RULE,
            "teacher": self.teacher.sha256,
            "photo_size": self.teacher.photo_size,
            "seed": self.plan.seed,
            "views": self.plan.fixed,
            "mix": self.plan.mix,
            "mixed": hashlib.sha256(self.plan.may_mix.tobytes()).hexdigest() if self.plan.mix else None,
            "read_size": self.plan.read_size,
            "augmentation": augmentation,
        }

    @property
    def digest(self) -> str:
        """SHA-256 of what is stated and of the photos, by place: a view depends on its photo's place."""
        digest = hashlib.sha256(json.dumps(self.stated, sort_keys=True).encode())
        for photo, shape in zip(self.photos, self.plan.shapes, strict=True):
            size = photo.path.stat().st_size if photo.path.is_file() else -1
            digest.update(f"{photo.id}\0{size}\0{shape}\n".encode())
        return digest.hexdigest()

    def run(self, reader: PhotoReader, describe: DescribeViews, say: Callable[[str], None]) -> StoredViews:
        """Describe what is missing. `reader`: of the photos, with the augmentation. Raises CacheError."""
        assert self.plan.fixed is not None
        plan = self.digest
        folder = self.cache / "teacher-views" / plan[:32]
        batches = self._batches()
        total = len(self.photos) * self.plan.fixed
        with lock_folder(folder):
            if not (folder / MANIFEST).exists():
                self._fill(
                    folder, Progress(plan=plan, total=total, handled=0, unreadable=()), batches, reader, describe, say
                )
        vectors = TeacherVectors.open(folder, self.teacher.space_id)
        row_of = {name: row for row, name in enumerate(vectors.ids)}
        rows = [[row_of.get(_name(photo, view), -1) for view in range(self.plan.fixed)] for photo in self.photos]
        return StoredViews(vectors, np.array(rows, dtype=np.int64))

    def _batches(self) -> list[list[Draw]]:
        assert self.plan.fixed is not None
        batches = PhotoPlan(self.plan.shapes, PHOTOS_AT_ONCE, self.plan.seed).epoch(0)
        return [[Draw(draw.photo, view) for draw in batch] for view in range(self.plan.fixed) for batch in batches]

    def _fill(
        self,
        folder: Path,
        progress: Progress,
        batches: list[list[Draw]],
        reader: PhotoReader,
        describe: DescribeViews,
        say: Callable[[str], None],
    ) -> None:
        try:
            progress = read_record(folder / PROGRESS, Progress)
        except FileNotFoundError:
            check_empty(folder)
            write_record(folder / PROGRESS, progress)
            write_atomically(folder / STATED, json.dumps(self.stated, indent=1).encode() + b"\n")
        say(
            f"The teacher describes {progress.total - progress.handled:,} of {progress.total:,} views of photos into {folder}."
        )
        handled, unreadable = progress.handled, list(progress.unreadable)
        skipped, count = 0, 0
        while count < handled:
            count += len(batches[skipped])
            skipped += 1
        readings = [self.plan.reading(batch, 0) for batch in batches[skipped:]]
        said = saved = time.monotonic()
        with (folder / VECTORS).open("ab") as stream:
            stream.truncate(progress.rows * self.teacher.dim * Dtype.f16.size)

            def save() -> None:
                # First the rows must be on the disk, then the record that says so.
                stream.flush()
                os.fsync(stream.fileno())
                update = {"handled": handled, "unreadable": tuple(unreadable)}
                write_record(folder / PROGRESS, progress.model_copy(update=update))

            loading = reader.read([reading.draws for reading in readings], 0)
            for reading, loaded in zip(readings, loading, strict=True):
                views = mixed(loaded, reading)
                vectors = _describe(views, describe)
                if vectors is not None:
                    stream.write(vectors.astype(Dtype.f16.numpy).tobytes())
                was_read = set(views.draws.tolist())
                reason = loaded.unreadable[-1] if loaded.unreadable else "it could not be read"
                unreadable += [
                    Unreadable(id=self._name(draw), reason=reason)
                    for number, draw in enumerate(reading.draws[: reading.own])
                    if number not in was_read
                ]
                handled += reading.own
                now = time.monotonic()
                if now - saved > SAVED_EVERY:
                    save()
                    saved = now
                if now - said > SAID_EVERY:
                    say(f"{handled:,} of {progress.total:,} views are described.")
                    said = now
            save()
        self._finish(folder, progress.plan, batches, tuple(unreadable))

    def _finish(self, folder: Path, plan: str, batches: list[list[Draw]], unreadable: tuple[Unreadable, ...]) -> None:
        missing = {each.id for each in unreadable}
        names = [self._name(draw) for batch in batches for draw in batch]
        ids = tuple(name for name in names if name not in missing)
        if not ids:
            raise CacheError(f"None of {len(names)} views can be described. The first: {unreadable[0].reason}")
        manifest = CacheManifest(
            space_id=self.teacher.space_id,
            encoder=None,
            encoder_sha256=self.teacher.sha256,
            photo_size=self.teacher.photo_size,
            scales=None,
            plan=plan,
            dim=self.teacher.dim,
            dtype=Dtype.f16,
            count=len(ids),
            digest=digest_of(folder / VECTORS),
            unreadable=unreadable,
            ids=ids,
        )
        write_record(folder / MANIFEST, manifest)
        with suppress(FileNotFoundError):
            (folder / PROGRESS).unlink()

    def _name(self, draw: Draw) -> str:
        return _name(self.photos[draw.photo], draw.view)


def _name(photo: Photo, view: int) -> str:
    return f"{view} {photo.id}"


def _describe(views: LoadedBatch, describe: DescribeViews) -> NDArray[np.float32] | None:
    return np.asarray(describe(views).cpu().numpy(), dtype=np.float32) if len(views.photos) else None


def with_stored_vectors(
    loaded: LoadedBatch, stored: StoredViews, views: NDArray[np.int64]
) -> tuple[LoadedBatch, Tensor]:
    """The photos of a batch whose view has a vector, and these vectors. `views`: int64 [B], the number of each view."""
    vectors, has_one = stored.of(loaded.photos.numpy(), views)
    return kept(loaded, torch.from_numpy(has_one)), torch.from_numpy(vectors)
