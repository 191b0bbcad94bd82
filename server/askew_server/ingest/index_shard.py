"""Describe one shard of a folder into a Parquet file: without a server, on any machine, and again from where it was cut off."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from askew_client.cli.taken import reason_of
from askew_client.cores import usable_cores
from askew_client.encoding.encoder import Encoder
from askew_client.errors import AskewError, PhotoError
from askew_server.files import file_sha256
from askew_server.ingest.folder_walk import UNREADABLE
from askew_server.ingest.index_photos import sentence_about
from askew_server.ingest.parquet_writing import ROWS_IN_GROUP, load_pyarrow
from askew_server.ingest.photo_folder import FoundPhotos, PhotoFile, find_photos
from askew_server.ingest.shard_description import NotDescribed, describe_photos, stored_name
from askew_server.ingest.shard_file import GROUP_BYTES, Pictures, ShardFacts, ShardRow
from askew_server.ingest.shard_parts import ShardParts, opened
from askew_server.ingest.shards import Shard

PART_SECONDS = 60
"""A part is written this often, so that much work is lost at most when a machine goes away."""


@dataclass(frozen=True)
class ShardWork:
    """A shard to describe. `output`: the Parquet file; `payloads`, `types`: as for find_photos.

    `workers`: how many photos are described at a time, each on one core; None: as many as this process may use.
    """

    folder: Path
    encoder: Path
    shard: Shard
    output: Path
    pictures: Pictures = "copies"
    payloads: Path | None = None
    types: Sequence[str] = ()
    workers: int | None = None


def index_shard(
    work: ShardWork,
    progress: Callable[[int, int], None] = lambda done, total: None,
    found: Callable[[FoundPhotos], None] = lambda photos: None,
) -> FoundPhotos:
    """Describe what is not described yet, and write the shard's file: complete, or not at all.

    Returns what was found; its `files` counts what became of each. Interrupted, it keeps what it has described, and the
    same call continues. `progress`: gets the photos done and all of them; `found`: gets the counts, before the first photo.
    Raises AskewError, OSError.
    """
    load_pyarrow()
    if not work.output.parent.is_dir():
        raise AskewError(
            f"Expected to write {work.output}, but there is no folder {work.output.parent}. Create it first."
        )
    # One thread for each inference and one photo for each core: faster than all cores on one photo.
    encoder = Encoder(work.encoder, threads=1)
    if encoder.manifest.role != "teacher":
        raise AskewError(
            f"A shard is described by a teacher, and {encoder.manifest.encoder_id} is a {encoder.manifest.role}. Name the "
            "teacher's file."
        )
    encoder.check_golden()
    facts = ShardFacts(work.shard, encoder.manifest, file_sha256(work.encoder), work.pictures)
    photos = find_photos(work.folder, work.payloads, work.types, work.shard)
    found(photos)
    with opened(work.output, facts) as parts:
        new = [photo for photo in photos.photos if not parts.has(photo)]
        photos.files.known = len(photos.photos) - len(new)
        progress(photos.files.known, len(photos.photos))
        lost = _describe_new(new, encoder, work, parts, photos, progress)
        parts.complete({stored_name(photo) for photo in photos.photos} - lost)
    return photos


def _describe_new(
    new: list[PhotoFile],
    encoder: Encoder,
    work: ShardWork,
    parts: ShardParts,
    found: FoundPhotos,
    progress: Callable[[int, int], None],
) -> set[str]:
    """Describe photos in parts. Returns the names of those that were not: an earlier row is of other bytes."""
    batch = _Batch(parts, found)
    lost: set[str] = set()
    described = describe_photos(new, encoder, work.pictures, workers=work.workers or usable_cores())
    try:
        for done, (photo, row) in enumerate(described, found.files.known + 1):
            if isinstance(row, NotDescribed):
                _skip(photo, row, found)
                lost.add(stored_name(photo))
            else:
                batch.add(row)
            progress(done, len(found.photos))
    except KeyboardInterrupt:
        batch.write()
        raise
    finally:
        described.close()
    batch.write()
    return lost


class _Batch:
    """Rows on their way to the next part."""

    def __init__(self, parts: ShardParts, found: FoundPhotos) -> None:
        self._parts = parts
        self._found = found
        self._rows: list[ShardRow] = []
        self._bytes = 0
        self._began = time.monotonic()

    def add(self, row: ShardRow) -> None:
        """Take a row, and write those that wait if they are many or have waited long."""
        self._rows.append(row)
        self._bytes += row.size
        is_late = time.monotonic() - self._began > PART_SECONDS
        if is_late or len(self._rows) == ROWS_IN_GROUP or self._bytes > GROUP_BYTES:
            self.write()

    def write(self) -> None:
        """Write what waits, and count it."""
        if self._rows:
            self._parts.add(self._rows)
            self._found.files.taken += len(self._rows)
        self._rows, self._bytes, self._began = [], 0, time.monotonic()


def _skip(photo: PhotoFile, lost: NotDescribed, found: FoundPhotos) -> None:
    if isinstance(lost.error, PhotoError):
        found.files.skip(photo.name, reason_of(lost.error), sentence_about(photo.path, lost.error))
    else:
        found.files.skip(photo.name, UNREADABLE, f"{photo.path} cannot be read: {lost.error.strerror}.")
