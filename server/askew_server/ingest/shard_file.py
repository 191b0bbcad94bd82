"""The Parquet file of a shard: described photos, and which shard of which encoder they are. Needs pyarrow.

Columns: those of `askew items export` (parquet_writing.py), and `photo` (binary: the picture that becomes the item's
photo), `file` (its path in the folder), `file_bytes` and `file_modified_ns`. `photo_sha256` is that of the file in the
folder. Further metadata: `askew.shard`, such as `3/8`, `askew.encoder_sha256`, `askew.pictures`.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import ValidationError

from askew_client.contract.manifest import Manifest
from askew_client.errors import AskewError
from askew_client.files import PartialFile
from askew_server.ingest.parquet_writing import ROWS_IN_GROUP, load_pyarrow
from askew_server.ingest.shards import Shard

Pictures = Literal["copies", "originals", "none"]

GROUP_BYTES = 64 << 20
"""A row group is closed at this many bytes of pictures, or at ROWS_IN_GROUP rows."""

_SHARD = b"askew.shard"
_ENCODER = b"askew.encoder_sha256"
_PICTURES = b"askew.pictures"


@dataclass(frozen=True)
class ShardFacts:
    """What all rows of a shard have in common. `encoder_sha256`: of the encoder's file, as hex digits."""

    shard: Shard
    teacher: Manifest
    encoder_sha256: str
    pictures: Pictures

    def difference(self, other: ShardFacts) -> str | None:
        """What is different in another file, such as `shard 3/8 instead of 4/8`; None if nothing is."""
        for what, own, their in (
            ("shard", str(self.shard), str(other.shard)),
            ("space", self.teacher.space_id, other.teacher.space_id),
            ("encoder", self.teacher.encoder_id, other.teacher.encoder_id),
            ("the encoder file with SHA-256", self.encoder_sha256[:12], other.encoder_sha256[:12]),
            ("pictures:", self.pictures, other.pictures),
        ):
            if own != their:
                return f"{what} {their} instead of {own}"
        return None


@dataclass(frozen=True)
class ShardRow:
    """A described photo. `vector`: little-endian float16 [D]; `payload`: JSON text; `photo`: the picture's bytes."""

    file: str
    file_bytes: int
    file_modified_ns: int
    id: str
    vector: bytes
    payload: str
    photo_sha256: str
    photo: bytes | None

    @property
    def size(self) -> int:
        """About how many bytes it takes."""
        return len(self.vector) + len(self.payload) + len(self.photo or b"") + 200


class ShardFile:
    """A complete shard file, or a part of one. It is open only while it is read: a shard may have many parts."""

    def __init__(self, path: Path) -> None:
        """Read what it says of itself. Raises AskewError if it cannot be read or is no shard."""
        self.path = path
        try:
            with self._opened() as file:
                self.rows = int(file.metadata.num_rows)
                schema = file.schema_arrow
        except _damage() as error:
            raise AskewError(
                f"Expected the Parquet file of a shard, but {path} cannot be read ({str(error).splitlines()[0]}). It may have "
                "been cut off. Delete it and describe the shard again."
            ) from None
        self.facts = facts_of(schema.metadata or {}, path)
        expected = _schema(load_pyarrow()[0], self.facts)
        if not schema.equals(expected, check_metadata=False):
            others = [field.name for field in expected if not _has(schema, field)]
            raise AskewError(
                f"Expected the columns of a shard in {path}, but {', '.join(others) or 'their order'} differ or are missing. Was "
                "it written by another program? Delete it and describe the shard again."
            )

    def photos(self) -> Iterator[dict[str, Any]]:
        """What identifies each photo: file, file_bytes, file_modified_ns, id, payload. Raises AskewError."""
        columns = ["file", "file_bytes", "file_modified_ns", "id", "payload"]
        with self._reading() as file:
            for batch in file.iter_batches(batch_size=ROWS_IN_GROUP, columns=columns):
                yield from batch.to_pylist()

    def tables(self) -> Iterator[Any]:
        """The rows, one row group at a time, as pyarrow tables. Raises AskewError."""
        with self._reading() as file:
            for group in range(file.metadata.num_row_groups):
                yield file.read_row_group(group)

    def _opened(self) -> Any:
        _, parquet = load_pyarrow()
        return parquet.ParquetFile(self.path, pre_buffer=False, page_checksum_verification=True)

    @contextmanager
    def _reading(self) -> Iterator[Any]:
        try:
            with self._opened() as file:
                yield file
        except _damage() as error:
            raise AskewError(
                f"{self.path} is damaged ({str(error).splitlines()[0]}). Delete it and describe the shard again; only what is "
                "in it is described once more."
            ) from None


def facts_of(metadata: dict[bytes, bytes], path: Path) -> ShardFacts:
    """The facts of a shard from a Parquet schema's metadata. Raises AskewError if the file is no shard."""
    try:
        return ShardFacts(
            Shard.parse(metadata[_SHARD].decode()),
            Manifest.model_validate_json(metadata[b"askew.teacher"]),
            metadata[_ENCODER].decode(),
            _pictures(metadata[_PICTURES].decode()),
        )
    except KeyError:
        raise AskewError(
            f"Expected a file that `askew index --shard` wrote, but {path} does not say which shard it is. Name another path."
        ) from None
    except (ValidationError, UnicodeDecodeError, AskewError):
        raise AskewError(
            f"{path} says inconsistently which shard of which encoder it is. Was it changed by another program? Describe the "
            "shard again."
        ) from None


def is_shard(metadata: dict[bytes, bytes]) -> bool:
    """Whether a Parquet file claims to be a shard, by its schema's metadata."""
    return _SHARD in metadata


def write_rows(path: Path, facts: ShardFacts, rows: Sequence[ShardRow]) -> None:
    """Write rows to a file, atomically. Raises OSError."""
    arrow, _ = load_pyarrow()
    write_tables(path, facts, [_table(arrow, facts, rows)])


def write_tables(path: Path, facts: ShardFacts, tables: Iterable[Any]) -> None:
    """Write tables of a shard to a file, which is replaced once it is complete and on the disk. Raises OSError, AskewError."""
    arrow, parquet = load_pyarrow()
    schema = _schema(arrow, facts)
    # Neither vectors nor pictures compress.
    compression = dict.fromkeys(("id", "payload", "photo_sha256", "file"), "zstd")
    options = {
        "compression": compression,
        "use_dictionary": False,
        "write_page_checksum": True,
        "write_statistics": False,
    }
    with PartialFile(path) as part:
        with closing(parquet.ParquetWriter(part.stream, schema, **options)) as writer:
            for group in _groups(tables):
                writer.write_table(arrow.concat_tables(group).cast(schema))
        part.commit()


def modified(path: Path) -> tuple[int, int]:
    """The bytes of a file and its time of change in nanoseconds. Raises OSError."""
    status = os.stat(path)  # noqa: PTH116
    return status.st_size, status.st_mtime_ns


def _damage() -> tuple[type[Exception], ...]:
    arrow, _ = load_pyarrow()
    return OSError, arrow.ArrowException


def _groups(tables: Iterable[Any]) -> Iterator[list[Any]]:
    """Join tables until they make a row group; a table that is larger than one becomes one by itself."""
    group: list[Any] = []
    rows = size = 0
    for table in tables:
        if group and (rows + table.num_rows > ROWS_IN_GROUP or size + table.nbytes > GROUP_BYTES):
            yield group
            group, rows, size = [], 0, 0
        group.append(table)
        rows, size = rows + table.num_rows, size + table.nbytes
    if group:
        yield group


def _schema(arrow: Any, facts: ShardFacts) -> Any:
    teacher = facts.teacher
    fields = [
        arrow.field("id", arrow.string(), nullable=False),
        arrow.field("vector", arrow.list_(arrow.float16(), teacher.dim), nullable=False),
        arrow.field("payload", arrow.string(), nullable=False),
        arrow.field("photo_sha256", arrow.string()),
        arrow.field("photo", arrow.binary()),
        arrow.field("file", arrow.string(), nullable=False),
        arrow.field("file_bytes", arrow.int64(), nullable=False),
        arrow.field("file_modified_ns", arrow.int64(), nullable=False),
    ]
    metadata = {
        b"askew.space": teacher.space_id,
        b"askew.dim": str(teacher.dim),
        b"askew.teacher": teacher.model_dump_json(exclude_none=True),
        b"askew.version": version("askew-server"),
        _SHARD: str(facts.shard),
        _ENCODER: facts.encoder_sha256,
        _PICTURES: facts.pictures,
    }
    return arrow.schema(fields, metadata=metadata)


def _table(arrow: Any, facts: ShardFacts, rows: Sequence[ShardRow]) -> Any:
    schema = _schema(arrow, facts)
    flat = arrow.array(np.frombuffer(b"".join(row.vector for row in rows), dtype="<f2"), arrow.float16())
    columns = [
        arrow.FixedSizeListArray.from_arrays(flat, facts.teacher.dim)
        if field.name == "vector"
        else arrow.array([getattr(row, field.name) for row in rows], field.type)
        for field in schema
    ]
    return arrow.table(columns, schema=schema)


def _has(schema: Any, field: Any) -> bool:
    position = schema.get_field_index(field.name)
    return position >= 0 and bool(schema.field(position).equals(field))


def _pictures(text: str) -> Pictures:
    match text:
        case "copies" | "originals" | "none":
            return text
    raise AskewError(f"Expected copies, originals or none, got {text[:40]!r}.")
