"""What earlier runs of the same shard have described: the complete file, and the parts of a run that was cut off."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from askew_client.errors import AskewError
from askew_client.files import flush_folder
from askew_server.ingest.parquet_writing import load_pyarrow
from askew_server.ingest.photo_folder import PhotoFile
from askew_server.ingest.shard_description import payload_text, stored_name
from askew_server.ingest.shard_file import ShardFacts, ShardFile, ShardRow, modified, write_rows, write_tables


@dataclass(frozen=True)
class _Known:
    """A row: in which of the files, and what must be unchanged for it to be used."""

    source: int
    modified: tuple[int, int]
    item: int


def _item(identity: str, payload: str) -> int:
    """Stands for id and payload, which may be long."""
    return hash((identity, payload))


class ShardParts:
    """The file of a shard and the folder of its parts, OUT.parts; one process at a time works on them: see `opened`."""

    def __init__(self, output: Path, facts: ShardFacts) -> None:
        """Use `opened`. Raises AskewError for files of another shard, encoder or choice of pictures."""
        self._output = output
        self._folder = parts_folder(output)
        self._facts = facts
        self._sources: list[ShardFile] = []
        self._known: dict[str, _Known] = {}
        self._has_output = output.exists()
        if self._has_output:
            self._open(output, "Name another path, or delete it.")
        parts = sorted(self._folder.glob("[0-9]*.parquet"))
        for path in parts:
            self._open_part(path)
        self._next = 1 + max((int(path.stem) for path in parts), default=0)

    def has(self, photo: PhotoFile) -> bool:
        """Whether a photo is described already: its file, its id and its payload have not changed since."""
        known = self._known.get(stored_name(photo))
        if known is None or known.item != _item(photo.id, payload_text(photo)):
            return False
        try:
            return known.modified == modified(photo.path)
        except OSError:
            return False

    def add(self, rows: list[ShardRow]) -> None:
        """Write described photos as one more part. They survive whatever ends the process. Raises OSError."""
        path = self._folder / f"{self._next:06d}.parquet"
        self._next += 1
        write_rows(path, self._facts, rows)
        self._open(path, "")

    def complete(self, photos: set[str]) -> int:
        """Write the shard's file from all that is known of `photos` (as stored_name says), and remove the parts.

        Returns how many rows it has. An earlier complete file stays where nothing has changed. Raises OSError, AskewError.
        """
        wanted = {name for name in self._known if name in photos}
        first = self._sources[0] if self._has_output else None
        if first is None or first.rows != len(wanted) or any(self._known[name].source for name in wanted):
            # What is cut off here lies in the folder of the parts, and goes with it.
            complete = self._folder / "complete.parquet"
            write_tables(complete, self._facts, self._kept(wanted))
            complete.replace(self._output)
            flush_folder(self._output.parent)
        shutil.rmtree(self._folder, ignore_errors=True)
        return len(wanted)

    def _kept(self, wanted: set[str]) -> Iterator[Any]:
        arrow, _ = load_pyarrow()
        for number, source in enumerate(self._sources):
            for table in source.tables():
                names = table.column("file").to_pylist()
                keep = [name in wanted and self._known[name].source == number for name in names]
                yield table if all(keep) else table.filter(arrow.array(keep, arrow.bool_()))

    def _open_part(self, path: Path) -> None:
        try:
            self._open(path, f"Delete the folder {self._folder} to begin again.")
        except _Unreadable:
            # A part is written completely or not at all, so the disk has lost it: its photos are described again.
            path.unlink()

    def _open(self, path: Path, hint: str) -> None:
        number = len(self._sources)
        try:
            source = ShardFile(path)
            difference = self._facts.difference(source.facts)
            rows = {} if difference else {row["file"]: _known(number, row) for row in source.photos()}
        except AskewError as error:
            raise _Unreadable(str(error)) from None
        if difference is not None:
            raise AskewError(f"{path} holds {difference}. {hint}")
        self._sources.append(source)
        self._known |= rows


def _known(source: int, row: dict[str, Any]) -> _Known:
    return _Known(source, (row["file_bytes"], row["file_modified_ns"]), _item(row["id"], row["payload"]))


class _Unreadable(AskewError):
    """A file that cannot be read as a shard."""


@contextmanager
def opened(output: Path, facts: ShardFacts) -> Iterator[ShardParts]:
    """Own the file of a shard and its parts until the block ends.

    Raises AskewError if another process does, or if they are of another shard, encoder or choice of pictures; OSError.
    """
    folder = parts_folder(output)
    lock = FileLock(output.with_name(f".{output.name}.lock"))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise AskewError(
            f"Another process is writing {output} now. Wait until it has ended; to describe several shards at a time, give "
            "each a file of its own."
        ) from None
    except NotImplementedError:
        raise AskewError(
            f"The file system of {output.parent} has no locks, so two processes could write one shard. Write it to a local "
            "disk, and copy it when it is complete."
        ) from None
    try:
        folder.mkdir(exist_ok=True)
        yield ShardParts(output, facts)
    finally:
        # Empty if there is nothing to keep.
        with suppress(OSError):
            folder.rmdir()
        lock.release()


def parts_folder(output: Path) -> Path:
    """Where the parts of a shard lie until it is complete."""
    return output.with_name(f"{output.name}.parts")
