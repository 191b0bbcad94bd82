"""Fill a folder with a teacher's vectors, photo after photo; what was interrupted goes on where it stopped."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np

from askew_client import Encoder
from askew_client.errors import PhotoError
from askew_training.data.photo_sets import Photo
from askew_training.errors import CacheError
from askew_training.vectors.lock import owned, refuse_foreign
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
"""Seconds between two notes of how far it has come: the most work that a crash can lose."""


class CacheJob:
    """The work of describing photos into a folder: what is planned, and how much of it is done already.

    Rows are appended to `vectors.bin`; `progress.json` says how many of them are known to be on the disk, and
    whatever follows those is cut off at the next start. The manifest is written last and makes the cache complete.
    """

    def __init__(self, encoder_file: Path, photos: Sequence[Photo], folder: Path, dtype: Dtype) -> None:
        """Open the encoder, list the photos, and look how far the folder has come.

        A photo that is listed twice (a query that is in its gallery, too) is described once. Raises what Encoder
        raises, and CacheError for two photos of one id, or a folder that holds something else.
        """
        # Photos are described side by side, one thread each: faster than one after the other on all cores.
        self.encoder = Encoder(encoder_file, threads=1)
        self.folder = folder
        self.dtype = dtype
        self.photos = _distinct(photos)
        self.plan = _plan(self.encoder.file.sha256, dtype, self.photos)
        self._start = self._found()

    @property
    def total(self) -> int:
        """Photos to describe in all."""
        return len(self.photos)

    @property
    def handled(self) -> int:
        """Photos that were described, or found unreadable, before now."""
        return self._start.handled

    def run(self, on_photo: Callable[[], None]) -> CacheManifest:
        """Describe what is left, on all cores; calls `on_photo` after each photo. Returns the manifest.

        What was described is kept even when this is interrupted. Raises CacheError when another process fills the
        same folder, or when no photo can be described.
        """
        with owned(self.folder):
            # Another process may have gone on, or finished, since the folder was looked at.
            self._start = self._found()
            if self._start.handled < self.total:
                self._describe(on_photo)
            return self._finished()

    def _describe(self, on_photo: Callable[[], None]) -> None:
        handled, unreadable = self._start.handled, list(self._start.unreadable)
        left = self.photos[handled:]
        write_record(self.folder / PROGRESS, self._start)
        with (self.folder / VECTORS).open("ab") as stream:
            stream.truncate(self._start.rows * self.encoder.manifest.dim * self.dtype.size)
            saved = time.monotonic()
            try:
                paths = (photo.path for photo in left)
                results = self.encoder.encode_stream(paths, workers=os.cpu_count() or 1)
                for photo, result in zip(left, results, strict=True):
                    if isinstance(result, PhotoError):
                        unreadable.append(Unreadable(id=photo.id, reason=str(result)))
                    elif not np.isfinite(result).all():
                        unreadable.append(Unreadable(id=photo.id, reason=f"{photo.path} has a vector that is NaN."))
                    else:
                        stream.write(result.astype(self.dtype.numpy).tobytes())
                    handled += 1
                    on_photo()
                    if time.monotonic() - saved > SAVED_EVERY:
                        self._save(stream, handled, unreadable)
                        saved = time.monotonic()
            finally:
                self._save(stream, handled, unreadable)

    def _save(self, stream: BinaryIO, handled: int, unreadable: Sequence[Unreadable]) -> None:
        """First the rows reach the disk, then the note that they are there."""
        stream.flush()
        os.fsync(stream.fileno())
        progress = Progress(plan=self.plan, total=self.total, handled=handled, unreadable=tuple(unreadable))
        write_record(self.folder / PROGRESS, progress)

    def _finished(self) -> CacheManifest:
        if (self.folder / MANIFEST).exists():
            return read_record(self.folder / MANIFEST, CacheManifest)
        progress = read_record(self.folder / PROGRESS, Progress)
        if not progress.rows:
            first = progress.unreadable[0].reason
            raise CacheError(f"None of {self.total} photos can be described; the first: {first}")
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

    def _found(self) -> Progress:
        """How far the folder has come with this very plan. Raises CacheError when it holds anything else."""
        try:
            manifest = read_record(self.folder / MANIFEST, CacheManifest)
            plan, unreadable, handled = manifest.plan, manifest.unreadable, self.total
        except FileNotFoundError:
            try:
                progress = read_record(self.folder / PROGRESS, Progress)
                plan, unreadable, handled = progress.plan, progress.unreadable, progress.handled
            except FileNotFoundError:
                refuse_foreign(self.folder)
                return Progress(plan=self.plan, total=self.total, handled=0, unreadable=())
        if plan != self.plan:
            raise CacheError(
                f"{self.folder} holds vectors of another encoder file, other photos or another --dtype than "
                f"{self.encoder.path} of {self.total:,} photos as {self.dtype.value}. Choose another folder, or remove it."
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
