"""An item as a row of a collection, and what a row cannot hold."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from askew_client.contract.problems import ProblemKind
from askew_server.errors import Refusal
from askew_server.index.types import Vectors
from askew_server.milvus.tokens import payload_tokens
from askew_server.storage.filtering.predicates import read_payload
from askew_server.storage.items import ItemBatch
from askew_server.storage.vectors import STORED_DTYPE

MAX_PAYLOAD_BYTES = 65_535
"""Milvus's limit on a text."""
MAX_TOKENS = 4_096
"""Milvus's limit on the elements of an array."""
MAX_ID_BYTES = 2_048

_ID = re.compile(r"[^\x00-\x1f\x7f]{1,512}")
_BYTES_AT_ONCE = 8_000_000
_ROWS_AT_ONCE = 1_000

Row = dict[str, Any]


@dataclass(frozen=True)
class ItemFault:
    """Why Milvus cannot hold an item: `reason` groups the items of a migration, `detail` is about this one."""

    reason: str
    detail: str


def row_of(item_id: str, vector: NDArray[np.float16], payload: str, photo: str | None, field: str) -> Row | ItemFault:
    """The row of an item, or why there can be none. `vector`: float16 [D]; `field`: the name of the vectors' field."""
    if _ID.fullmatch(item_id) is None:
        return ItemFault("an id that is empty, too long, or has control characters", repr(item_id[:80]))
    size = len(payload.encode())
    if size > MAX_PAYLOAD_BYTES:
        return ItemFault(f"a payload of more than {MAX_PAYLOAD_BYTES:,} bytes", f"{size:,} bytes")
    tokens = payload_tokens(read_payload(payload))
    if len(tokens) > MAX_TOKENS:
        return ItemFault(f"a payload of more than {MAX_TOKENS:,} facts to filter by", f"{len(tokens):,} facts")
    content = np.ascontiguousarray(vector, dtype=STORED_DTYPE)
    return {
        "id": item_id,
        "label": label_of(item_id, payload, photo, content.tobytes()),
        "photo": photo or "",
        "payload": payload,
        "tokens": tokens,
        # Milvus holds them as float32, which every float16 is.
        field: content.astype(np.float32),
    }


def label_of(item_id: str, payload: str, photo: str | None, vector: bytes) -> int:
    """The label of an item: of what it holds, so that writing it again changes nothing, on whichever server.

    62 bits. Should two items of a large collection have the same label, a search that finds one shows both, each with its
    own score.
    """
    digest = hashlib.sha256()
    for part in (item_id.encode(), payload.encode(), (photo or "").encode(), vector):
        digest.update(len(part).to_bytes(8, "big"))
        digest.update(part)
    return int.from_bytes(digest.digest()[:8], "big") >> 2


def rows_of(batch: ItemBatch, photos: dict[str, str], field: str) -> list[Row]:
    """The rows of a batch; of a repeated id, the last one. `photos`: by id. Raises Refusal (validation), and none is written."""
    positions = {item_id: position for position, item_id in enumerate(batch.ids)}
    rows = []
    for item_id, position in positions.items():
        row = row_of(item_id, batch.vectors[position], batch.payloads[position], photos.get(item_id), field)
        if isinstance(row, ItemFault):
            raise Refusal(
                ProblemKind.VALIDATION,
                f"Item {item_id[:200]!r} has {row.reason} ({row.detail}), which this gallery's Milvus cannot hold. Nothing was "
                "written. Shorten it and send the items again.",
            )
        rows.append(row)
    return rows


def parts_of(rows: Sequence[Row], dim: int) -> Iterator[list[Row]]:
    """Rows in parts that one call takes."""
    part: list[Row] = []
    size = 0
    for row in rows:
        part.append(row)
        size += 4 * dim + len(row["payload"]) + (TOKEN_BYTES * len(row["tokens"]))
        if size >= _BYTES_AT_ONCE or len(part) == _ROWS_AT_ONCE:
            yield part
            part, size = [], 0
    if part:
        yield part


TOKEN_BYTES = 22


def stored_vector(values: Sequence[float]) -> bytes:
    """A vector from Milvus as the bytes of SQLite's: little-endian float16."""
    return np.asarray(values, dtype=np.float32).astype(STORED_DTYPE).tobytes()


def stored_vectors(rows: Sequence[Row], field: str) -> Vectors:
    """The vectors of rows, float32 [n, D]."""
    return np.array([row[field] for row in rows], dtype=np.float32)
