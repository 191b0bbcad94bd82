"""Items into a Parquet file, for export and for any tool that reads Parquet. Needs pyarrow.

Columns: `id` (string), `vector` (fixed_size_list of float16: the stored bytes), `payload` (JSON text), `photo_sha256`
(string). The schema's metadata names the space of the vectors: `askew.space`, `askew.dim`, `askew.teacher` (its manifest
as JSON), `askew.version`. At most one row group at a time is in memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from askew_client.contract.manifest import Manifest
from askew_client.errors import AskewError
from askew_server.files import replacing

ROWS_IN_GROUP = 2_048
"""8 MB of 2048-d vectors."""


@dataclass(frozen=True)
class ParquetRow:
    """An item to write. `vector`: little-endian float16, None if vectors are left out; `payload`: JSON text."""

    id: str
    vector: bytes | None
    payload: str
    photo_sha256: str | None


def write_parquet(
    path: Path, teacher: Manifest, rows: Iterable[ParquetRow], *, with_vectors: bool, written: Callable[[int], None]
) -> int:
    """Write rows to a file, which is replaced once it is complete; returns the number of rows.

    `written(n)` is called with the number of rows so far after each row group. Raises OSError.
    """
    arrow, parquet = load_pyarrow()
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


def load_pyarrow() -> tuple[Any, Any]:
    """The modules pyarrow and pyarrow.parquet. Raises AskewError where they are not installed."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise AskewError(
            "Parquet files need pyarrow, which is not installed. Install it: pip install pyarrow"
        ) from None
    return pyarrow, pyarrow.parquet


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
