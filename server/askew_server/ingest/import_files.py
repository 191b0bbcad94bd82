"""Several Parquet files for one gallery: whether they belong together, before the first of them is stored."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from askew_client.contract.manifest import Manifest
from askew_client.errors import AskewError
from askew_server.ingest.parquet import ParquetBatch, ParquetItems
from askew_server.ingest.shard_file import ShardFacts

_NAMED = 20


@dataclass(frozen=True)
class ImportFile:
    """What a file says of itself. `space`, `teacher`, `shard`: None if it does not say. `name`: for counts, "" if it is alone."""

    path: Path
    name: str
    rows: int
    space: str | None
    teacher: Manifest | None
    shard: ShardFacts | None


def read_files(paths: Sequence[Path]) -> list[ImportFile]:
    """Look at every file. Raises AskewError if one cannot be read, or is named twice."""
    read: dict[Path, ImportFile] = {}
    for path in paths:
        real = path.resolve()
        if real in read:
            raise AskewError(f"Expected each file once, got {path} twice ({read[real].path}). Name it once.")
        with closing(ParquetItems(path)) as items:
            name = str(path) if len(paths) > 1 else ""
            read[real] = ImportFile(path, name, items.rows, items.space, items.teacher, items.shard)
    return list(read.values())


def check_files(files: Sequence[ImportFile], expected: int | None) -> None:
    """Raise AskewError unless the files are in one space, and their shards are parts of one whole.

    `expected`: so many shards must be there, and no other file; None: as many as there are.
    """
    _check_spaces(files)
    shards = [(file.path, file.shard) for file in files if file.shard is not None]
    for before, after in itertools.pairwise(shards):
        _check_alike(before, after)
    first: dict[int, Path] = {}
    for path, facts in shards:
        number = facts.shard.number
        if number in first:
            raise AskewError(
                f"{first[number]} and {path} are both shard {facts.shard}. Name one of them, the one that was described last."
            )
        first[number] = path
    if expected is not None:
        _check_complete(files, expected)


def missing_shards(files: Iterable[ImportFile]) -> str | None:
    """A sentence that names the shards that are not among the files; None if none is missing."""
    shards = [file.shard.shard for file in files if file.shard is not None]
    missing = sorted({*range(1, shards[0].total + 1)} - {shard.number for shard in shards}) if shards else []
    if not missing:
        return None
    named = ", ".join(map(str, missing[:_NAMED])) + (", …" if len(missing) > _NAMED else "")
    return f"Of {shards[0].total:,} shards, these are not among the files: {named}."


def _check_spaces(files: Sequence[ImportFile]) -> None:
    named = [file for file in files if file.space is not None]
    for file in named[1:]:
        if file.space != named[0].space:
            raise AskewError(
                f"{named[0].path} is in space {named[0].space}, {file.path} in {file.space}. Scores between them would mean "
                "nothing; import each into a gallery of its own."
            )


def _check_alike(before: tuple[Path, ShardFacts], after: tuple[Path, ShardFacts]) -> None:
    one, other = before[1], after[1]
    if one.shard.total != other.shard.total:
        raise AskewError(
            f"{before[0]} is shard {one.shard}, {after[0]} is shard {other.shard}: parts of different numbers overlap and leave "
            "gaps. Describe all shards with the same number of parts."
        )
    if (one.teacher.encoder_id, one.encoder_sha256) != (other.teacher.encoder_id, other.encoder_sha256):
        raise AskewError(
            f"{before[0]} was described by {one.teacher.encoder_id} (SHA-256 {one.encoder_sha256[:12]}…), {after[0]} by "
            f"{other.teacher.encoder_id} ({other.encoder_sha256[:12]}…). A gallery has one teacher: describe all shards with "
            "the same file."
        )


def _check_complete(files: Sequence[ImportFile], expected: int) -> None:
    for file in files:
        if file.shard is None:
            raise AskewError(
                f"Expected {expected:,} shards, but {file.path} is no shard. Import it by itself, without --expect-shards."
            )
        if file.shard.shard.total != expected:
            raise AskewError(
                f"Expected {expected:,} shards, but {file.path} is shard {file.shard.shard}. Is --expect-shards "
                f"{file.shard.shard.total} meant?"
            )
    missing = missing_shards(files)
    if missing:
        raise AskewError(f"{missing} Nothing was imported: name them, too, or describe them first.")


class SeenIds:
    """The ids of the files so far, as hashes: ids may be long and rows many."""

    def __init__(self) -> None:
        self._earlier: list[NDArray[np.int64]] = []
        self._here: set[int] = set()

    def is_repeated(self, identity: str) -> bool:
        """Whether an earlier row of the same file has an id; it counts as seen from now on."""
        known = hash(identity) in self._here
        self._here.add(hash(identity))
        return known

    def in_earlier_files(self, batch: ParquetBatch) -> list[int]:
        """The places in a batch whose ids an earlier file has."""
        hashes = np.fromiter(map(hash, batch.ids), dtype=np.int64, count=len(batch.ids))
        found = np.zeros(len(hashes), dtype=bool)
        for earlier in self._earlier:
            places = np.minimum(np.searchsorted(earlier, hashes), len(earlier) - 1)
            found |= earlier[places] == hashes
        return [int(place) for place in np.flatnonzero(found)]

    def end_file(self) -> None:
        """The next row is one of another file."""
        if self._here:
            self._earlier.append(np.sort(np.fromiter(self._here, dtype=np.int64, count=len(self._here))))
        self._here = set()
