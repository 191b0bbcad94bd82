"""Filling a folder with a teacher's vectors; an interrupted job continues where it stopped."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from askew_client.errors import PhotoError
from askew_training.data.photo_sets import Photo
from askew_training.errors import CacheError
from askew_training.vectors.description import describe_photos, open_encoder, save_at_intervals
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

SAVED_EVERY = 20.0
"""Seconds between two updates of the progress file: the most work that a crash can lose."""


class CacheJob:
    """Describes photos into a folder. Knows which photos are planned, and how many are done already.

    Rows are appended to `vectors.bin`; `progress.json` states how many of them are known to be on the disk, and any
    bytes after those are cut off at the next start. The manifest is written last and makes the cache complete.
    """

    def __init__(
        self,
        encoder_file: Path,
        photos: Sequence[Photo],
        folder: Path,
        dtype: Dtype,
        saved_every: float = SAVED_EVERY,
    ) -> None:
        """Open the encoder, list the photos, and read the folder's progress.

        A photo that is listed twice (for example a query that is also in its gallery) is described once. `saved_every`:
        seconds between two updates of the progress file. Raises what Encoder raises, and CacheError for two photos with
        one id, or a folder that holds something else.
        """
        self.encoder = open_encoder(encoder_file)
        self.folder = folder
        self.dtype = dtype
        self.photos = _distinct(photos)
        self.plan = _plan(self.encoder.file.sha256, dtype, self.photos)
        self._saved_every = saved_every
        self._progress = self._read_progress()

    @property
    def total(self) -> int:
        """Photos to describe in all."""
        return len(self.photos)

    @property
    def handled(self) -> int:
        """Photos that are described already, or known to be unreadable."""
        return self._progress.handled

    def run(self, on_photo: Callable[[], None]) -> CacheManifest:
        """Describe the remaining photos on all cores; `on_photo` is called after each. Returns the manifest.

        Vectors that were computed are kept even if this is interrupted. Raises CacheError if another process fills the
        same folder, or if no photo can be described.
        """
        with lock_folder(self.folder):
            # Another process may have continued, or finished, since the folder was read.
            self._progress = self._read_progress()
            if self._progress.handled < self.total:
                self._describe(on_photo)
            return self._finish()

    def _describe(self, on_photo: Callable[[], None]) -> None:
        handled, unreadable = self._progress.handled, list(self._progress.unreadable)
        remaining = self.photos[handled:]
        write_record(self.folder / PROGRESS, self._progress)
        with (self.folder / VECTORS).open("ab") as stream:
            stream.truncate(self._progress.rows * self.encoder.manifest.dim * self.dtype.size)

            def save() -> None:
                # First the rows must be on the disk, then the record that says so.
                stream.flush()
                os.fsync(stream.fileno())
                progress = Progress(plan=self.plan, total=self.total, handled=handled, unreadable=tuple(unreadable))
                write_record(self.folder / PROGRESS, progress)

            with save_at_intervals(save, self._saved_every) as after_photo:
                results = describe_photos(self.encoder, (photo.path for photo in remaining))
                for photo, result in zip(remaining, results, strict=True):
                    if isinstance(result, PhotoError):
                        unreadable.append(Unreadable(id=photo.id, reason=str(result)))
                    elif not np.isfinite(result).all():
                        unreadable.append(Unreadable(id=photo.id, reason=f"{photo.path} has a vector with NaN."))
                    else:
                        stream.write(result.astype(self.dtype.numpy).tobytes())
                    handled += 1
                    on_photo()
                    after_photo()

    def _finish(self) -> CacheManifest:
        if (self.folder / MANIFEST).exists():
            return read_record(self.folder / MANIFEST, CacheManifest)
        progress = read_record(self.folder / PROGRESS, Progress)
        if not progress.rows:
            first = progress.unreadable[0].reason
            raise CacheError(f"None of {self.total} photos can be described. The first: {first}")
        skipped = {item.id for item in progress.unreadable}
        encoder = self.encoder.manifest
        manifest = CacheManifest(
            space_id=encoder.space_id,
            encoder=encoder.encoder_id,
            encoder_sha256=self.encoder.file.sha256,
            photo_size=encoder.photo_size,
            scales=tuple(encoder.scales),
            plan=self.plan,
            dim=encoder.dim,
            dtype=self.dtype,
            count=progress.rows,
            digest=digest_of(self.folder / VECTORS),
            unreadable=progress.unreadable,
            ids=tuple(photo.id for photo in self.photos if photo.id not in skipped),
        )
        write_record(self.folder / MANIFEST, manifest)
        (self.folder / PROGRESS).unlink(missing_ok=True)
        return manifest

    def _read_progress(self) -> Progress:
        """Read how far the folder has come with this plan. Raises CacheError if it holds anything else."""
        try:
            manifest = read_record(self.folder / MANIFEST, CacheManifest)
            plan, unreadable, handled = manifest.plan, manifest.unreadable, self.total
        except FileNotFoundError:
            try:
                progress = read_record(self.folder / PROGRESS, Progress)
                plan, unreadable, handled = progress.plan, progress.unreadable, progress.handled
            except FileNotFoundError:
                check_empty(self.folder)
                return Progress(plan=self.plan, total=self.total, handled=0, unreadable=())
        if plan != self.plan:
            raise CacheError(
                f"{self.folder} holds vectors of another encoder file, other photos or another --dtype than "
                f"{self.encoder.path} of {self.total:,} photos as {self.dtype.value}. Choose another folder, or remove "
                "this one."
            )
        found = Progress(plan=self.plan, total=self.total, handled=handled, unreadable=unreadable)
        size = (self.folder / VECTORS).stat().st_size if (self.folder / VECTORS).exists() else 0
        if size < found.rows * self.encoder.manifest.dim * self.dtype.size:
            raise CacheError(
                f"{self.folder / VECTORS} is shorter than the {found.rows:,} vectors that it should hold. "
                "Remove the folder and make it again."
            )
        return found


def _distinct(photos: Sequence[Photo]) -> list[Photo]:
    by_id: dict[str, Photo] = {}
    for photo in photos:
        other = by_id.setdefault(photo.id, photo)
        if other.path != photo.path:
            raise CacheError(
                f"Two photos have the id {photo.id}: {other.path} and {photo.path}. Rename one of their folders."
            )
    if not by_id:
        raise CacheError("There are no photos to describe. Give --manifest, --photos, --sfm120k or --landmarks.")
    return list(by_id.values())


def _plan(encoder_sha256: str, dtype: Dtype, photos: Sequence[Photo]) -> str:
    """A digest of what is to be described: the encoder's bytes, and each photo's id and length in bytes."""
    digest = hashlib.sha256(f"{encoder_sha256}\n{dtype.value}\n".encode())
    for photo in photos:
        size = photo.path.stat().st_size if photo.path.is_file() else -1
        digest.update(f"{photo.id}\0{size}\n".encode())
    return digest.hexdigest()
