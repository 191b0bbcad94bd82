"""Items as a Parquet file, for export, import, and any tool that reads Parquet. Needs pyarrow.

Columns: `id` (string), `vector` (fixed_size_list of float16: the stored bytes), `payload` (JSON text), `photo_sha256`
(string). The schema's metadata names the space of the vectors: `askew.space`, `askew.dim`, `askew.teacher` (its manifest
as JSON), `askew.version`. At most one row group at a time is written or read, so memory does not grow with the file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError

from askew_client.contract.common import ItemId, Payload
from askew_client.contract.manifest import Manifest
from askew_client.contract.wire import NORM_TOLERANCE, check_vector
from askew_client.contract.wording import describe_error
from askew_client.errors import AskewError, WireError
from askew_server.files import replacing

ROWS_IN_GROUP = 2_048
"""8 MB of 2048-d vectors."""

_BATCH = 1_000


@dataclass(frozen=True)
class ParquetRow:
    """An item to write. `vector`: little-endian float16, None if vectors are left out; `payload`: JSON text."""

    id: str
    vector: bytes | None
    payload: str
    photo_sha256: str | None


@dataclass(frozen=True)
class ParquetBatch:
    """Items that were read. `vectors`: float32 [n, D], unit length."""

    ids: list[str]
    vectors: NDArray[np.float32]
    payloads: list[Payload]


def write_parquet(
    path: Path, teacher: Manifest, rows: Iterable[ParquetRow], *, with_vectors: bool, written: Callable[[int], None]
) -> int:
    """Write rows to a file, which is replaced once it is complete; returns the number of rows.

    `written(n)` is called with the number of rows so far after each row group. Raises OSError.
    """
    arrow, parquet = _pyarrow()
    schema = _schema(arrow, teacher, with_vectors)
    # Vectors do not compress; only the text columns do.
    compression = {"id": "zstd", "payload": "zstd", "photo_sha256": "zstd"}
    options = {"compression": compression, "use_dictionary": False, "write_page_checksum": True}
    count = 0
    with replacing(path) as part, parquet.ParquetWriter(part, schema, **options) as writer:
        for group in _groups(rows):
            writer.write_table(_table(arrow, schema, group, teacher.dim), row_group_size=ROWS_IN_GROUP)
            count += len(group)
            written(count)
    return count


class ParquetItems:
    """A Parquet file to import: one from `askew items export`, or any with the columns `id` and `vector`."""

    def __init__(self, path: Path) -> None:
        """Open the file and check its columns. Raises AskewError."""
        self._arrow, parquet = _pyarrow()
        self._path = path
        try:
            options = {"pre_buffer": False, "buffer_size": 1_048_576, "page_checksum_verification": True}
            self._file = parquet.ParquetFile(path, **options)
        except (OSError, self._arrow.ArrowException) as error:
            reason = str(error).splitlines()[0]
            raise AskewError(
                f"Expected a Parquet file, but {path} cannot be read ({reason}). Check the path and the file."
            ) from None
        names = set(self._file.schema_arrow.names)
        if not {"id", "vector"} <= names:
            raise AskewError(
                f"Expected the columns `id` and `vector` in {path}, got {', '.join(sorted(names)) or 'none'}. "
                "A file that was exported without vectors cannot be imported; export it with vectors."
            )
        self._columns = ["id", "vector", *(["payload"] if "payload" in names else [])]
        self._metadata: dict[bytes, bytes] = self._file.schema_arrow.metadata or {}

    @property
    def rows(self) -> int:
        """The number of items in the file."""
        return int(self._file.metadata.num_rows)

    @property
    def space(self) -> str | None:
        """The space of the vectors, as stated in the file; None if it states none."""
        space = self._metadata.get(b"askew.space")
        return None if space is None else space.decode(errors="replace")

    @property
    def teacher(self) -> Manifest | None:
        """The manifest of the teacher, as stated in the file; None if it states none. Raises AskewError."""
        text = self._metadata.get(b"askew.teacher")
        try:
            return None if text is None else Manifest.model_validate_json(text)
        except ValidationError:
            raise AskewError(
                f"The teacher's manifest in {self._path} is inconsistent. Was the file changed since its export? Export the "
                "items again."
            ) from None

    def batches(self, dim: int) -> Iterator[ParquetBatch]:
        """The items, up to a thousand at a time. Raises AskewError with the number of the first invalid row."""
        start = 0
        try:
            for batch in self._file.iter_batches(batch_size=_BATCH, columns=self._columns):
                yield self._read(batch, dim, start)
                start += batch.num_rows
        except (OSError, self._arrow.ArrowException) as error:
            reason = str(error).splitlines()[0]
            raise AskewError(f"{self._path} cannot be read from row {start} on: {reason}") from None

    def _read(self, batch: Any, dim: int, start: int) -> ParquetBatch:
        ids = self._ids(batch.column("id"), start)
        vectors = self._vectors(batch.column("vector"), dim, start)
        texts = batch.column("payload").to_pylist() if "payload" in self._columns else [None] * batch.num_rows
        payloads = [self._payload(text, start + row) for row, text in enumerate(texts)]
        return ParquetBatch(ids, vectors, payloads)

    def _ids(self, column: Any, start: int) -> list[str]:
        types = self._arrow.types
        if not (types.is_string(column.type) or types.is_large_string(column.type) or types.is_integer(column.type)):
            raise AskewError(f"Expected text or whole numbers in the column `id` of {self._path}, got {column.type}.")
        ids = [value if value is None else str(value) for value in column.to_pylist()]
        adapter: TypeAdapter[str] = TypeAdapter(ItemId)
        for row, value in enumerate(ids):
            try:
                adapter.validate_python(value)
            except ValidationError:
                raise AskewError(
                    f"Row {start + row} of {self._path} has the id {str(value)[:80]!r}; expected 1 to 512 characters without "
                    "control characters."
                ) from None
        return [str(value) for value in ids]

    def _vectors(self, column: Any, dim: int, start: int) -> NDArray[np.float32]:
        types = self._arrow.types
        kind = column.type
        is_list = types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind)
        if not is_list or not types.is_floating(kind.value_type):
            raise AskewError(
                f"Expected lists of float16, float32 or float64 in the column `vector` of {self._path}, got {kind}."
            )
        if column.null_count:
            raise AskewError(
                f"An item in rows {start} to {start + len(column) - 1} of {self._path} has no vector. Leave such items out."
            )
        if types.is_fixed_size_list(kind):
            lengths = np.full(len(column), kind.list_size)
        else:
            lengths = column.value_lengths().to_numpy(zero_copy_only=False)
        for row in np.flatnonzero(lengths != dim)[:1]:
            raise AskewError(
                f"Row {start + row} of {self._path} has a vector of {lengths[row]} values; the gallery's have {dim}. "
                "Was it described by the gallery's teacher?"
            )
        flat = column.flatten()
        if flat.null_count:
            raise AskewError(
                f"A vector in rows {start} to {start + len(column) - 1} of {self._path} has a missing value. Leave such "
                "items out."
            )
        # Huge values overflow to infinity, which the check below refuses.
        with np.errstate(over="ignore"):
            vectors = flat.to_numpy(zero_copy_only=False).astype(np.float32).reshape(len(column), dim)
            norms = np.linalg.norm(vectors, axis=1)
        for row in np.flatnonzero(~(np.abs(norms - 1.0) <= NORM_TOLERANCE))[:1]:
            try:
                check_vector(vectors[row])
            except WireError as error:
                raise AskewError(f"Row {start + row} of {self._path}: {error}") from None
        return np.ascontiguousarray(vectors)

    def _payload(self, text: object, row: int) -> Payload:
        if text is None:
            return {}
        try:
            return TypeAdapter(Payload).validate_json(text if isinstance(text, str | bytes) else str(text))
        except ValidationError as error:
            reason = describe_error(error)
            raise AskewError(f"Row {row} of {self._path}: expected a JSON object as payload. {reason}") from None


def _schema(arrow: Any, teacher: Manifest, with_vectors: bool) -> Any:
    fields = [
        arrow.field("id", arrow.string(), nullable=False),
        arrow.field("vector", arrow.list_(arrow.float16(), teacher.dim), nullable=False),
        arrow.field("payload", arrow.string(), nullable=False),
        arrow.field("photo_sha256", arrow.string()),
    ]
    metadata = {
        "askew.space": teacher.space_id,
        "askew.dim": str(teacher.dim),
        "askew.teacher": teacher.model_dump_json(exclude_none=True),
        "askew.version": version("askew-server"),
    }
    return arrow.schema([field for field in fields if with_vectors or field.name != "vector"], metadata=metadata)


def _table(arrow: Any, schema: Any, rows: list[ParquetRow], dim: int) -> Any:
    columns = {
        "id": arrow.array([row.id for row in rows], arrow.string()),
        "payload": arrow.array([row.payload for row in rows], arrow.string()),
        "photo_sha256": arrow.array([row.photo_sha256 for row in rows], arrow.string()),
    }
    if "vector" in schema.names:
        flat = np.frombuffer(b"".join(row.vector or b"" for row in rows), dtype="<f2")
        columns["vector"] = arrow.FixedSizeListArray.from_arrays(arrow.array(flat, arrow.float16()), dim)
    return arrow.table([columns[name] for name in schema.names], schema=schema)


def _groups(rows: Iterable[ParquetRow]) -> Iterator[list[ParquetRow]]:
    group: list[ParquetRow] = []
    for row in rows:
        group.append(row)
        if len(group) == ROWS_IN_GROUP:
            yield group
            group = []
    if group:
        yield group


def _pyarrow() -> tuple[Any, Any]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise AskewError(
            "Parquet files need pyarrow, which is not installed. pip install 'askew-server[parquet]'"
        ) from None
    return pyarrow, pyarrow.parquet
