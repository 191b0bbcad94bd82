"""An offline pack on the disk: verified when it is opened, then searched as a phone without a network does it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray
from pydantic import JsonValue

from askew_client.contract.common import Payload
from askew_client.contract.errors import DamagedPack
from askew_client.contract.offline_pack import PackHeader, SectionName
from askew_client.contract.wire import check_vector
from askew_client.offline.codes import Int8Codes, ProductCodes
from askew_client.offline.layout import LENGTH, SCALE, codec_id, labels_of
from askew_client.offline.sections import PackBytes, open_pack

SCORE_DECIMALS = 6


@dataclass(frozen=True)
class PackHit:
    """An item found in a pack. `score`: the inner product that its code stands for, in [-1, 1]. `position`: in the pack."""

    id: str
    score: float
    payload: Payload
    position: int


class Pack:
    """A gallery without its server: compressed vectors, the payload fields that may leave, and thumbnails.

    `header`: what the pack says about itself. `labels`: int64 [items], ascending; a label names one version of an item.
    May be used from several threads.
    """

    def __init__(self, file: PackBytes) -> None:
        self._file = file
        self.header: PackHeader = file.header
        codec, items = self.header.codec, self.header.items
        self.labels = labels_of(bytes(file.section("labels")), items, file.name)
        self._codec = self._read_codec()
        self._codes = np.frombuffer(file.section("codes"), dtype=np.uint8).reshape(items, codec.bytes)
        self._scales = np.frombuffer(file.section("scales"), dtype=SCALE)
        if not np.isfinite(self._scales).all():
            raise DamagedPack(f"{file.name} is damaged: a factor in its scales is not a finite number. Fetch it again.")
        self._row_ends = self._ends("row_lengths", "rows")
        self._thumbnail_ends = (
            self._ends("thumbnail_lengths", "thumbnails") if self.header.thumbnail_size else np.zeros(0, np.int64)
        )

    @classmethod
    def open(cls, path: str | Path) -> Self:
        """Open a pack and verify every digest in it.

        Raises DamagedPack for a file that is damaged, cut, or not a pack, OSError if it cannot be opened.
        """
        return cls(open_pack(Path(path)))

    def __len__(self) -> int:
        """The number of items."""
        return self.header.items

    def search(self, vector: NDArray[np.float32], limit: int = 10) -> list[PackHit]:
        """The nearest items of a float32 [D] unit vector, made by the gallery's teacher or by one of its students.

        The vector is rounded to float16 first, as it would be when it is sent to a server. Hits are ordered by falling
        score, rounded to six decimals, then by id. Raises WireError if it is not a unit vector, ValueError for another
        length or a limit below 1.
        """
        if limit < 1:
            raise ValueError(f"expected a limit of at least 1, got {limit}")
        if vector.shape != (self.header.dim,):
            raise ValueError(
                f"expected a vector of {self.header.dim} values (space {self.header.space}), got {list(vector.shape)}"
            )
        check_vector(np.asarray(vector, dtype=np.float32))
        if not len(self):
            return []
        query = vector.astype("<f2").astype(np.float32)
        scores = np.round(np.clip(self.scores(query), -1.0, 1.0).astype(np.float64), SCORE_DECIMALS) + 0.0
        wanted = min(limit, len(scores))
        worst = np.partition(scores, len(scores) - wanted)[len(scores) - wanted]
        # All items of the last score, so that their ids decide which of them are hits.
        found = []
        for position in np.flatnonzero(scores >= worst).tolist():
            item_id, payload = self.item(position)
            found.append(PackHit(item_id, float(scores[position]), payload, position))
        return sorted(found, key=lambda hit: (-hit.score, hit.id))[:limit]

    def scores(self, query: NDArray[np.float32]) -> NDArray[np.float32]:
        """The inner product of a float32 [D] query with every item, by its code: float32 [items], not clipped."""
        return self._codec.scores(query, self._codes, self._scales)

    def item(self, position: int) -> tuple[str, Payload]:
        """Id and payload of the item at a position, which counts from 0 in the order of labels. Raises DamagedPack."""
        text = self._slice("rows", self._row_ends, position)
        try:
            row: JsonValue = json.loads(text.decode(), parse_constant=_refuse_constant)
            if not isinstance(row, list) or not row or not isinstance(row[0], str):
                raise ValueError("no id")
            item_id, values = row[0], row[1:]
        # A row may be nested more deeply than Python can read.
        except (ValueError, RecursionError):
            raise DamagedPack(f"{self._file.name} is damaged: item {position} has no readable row.") from None
        named = zip(self.header.fields, values, strict=False)
        return item_id, {field: value for field, value in named if value is not None}

    def thumbnail(self, position: int) -> bytes | None:
        """The thumbnail of the item at a position, a WebP file; None if it has none."""
        if not self.header.thumbnail_size:
            return None
        return bytes(self._slice("thumbnails", self._thumbnail_ends, position)) or None

    def _slice(self, section: SectionName, ends: NDArray[np.int64], position: int) -> bytes:
        if not 0 <= position < len(self):
            raise IndexError(f"expected a position from 0 to {len(self) - 1}, got {position}")
        begin = int(ends[position - 1]) if position else 0
        return bytes(self._file.section(section)[begin : int(ends[position])])

    def _ends(self, lengths: SectionName, content: SectionName) -> NDArray[np.int64]:
        """Where each item's part of a section ends, int64 [items]."""
        ends = np.cumsum(np.frombuffer(self._file.section(lengths), dtype=LENGTH), dtype=np.int64)
        if (int(ends[-1]) if len(ends) else 0) != self.header.section(content).size:
            raise DamagedPack(f"{self._file.name} is damaged: its {content} are not as long as its {lengths} say.")
        return ends

    def _read_codec(self) -> ProductCodes | Int8Codes:
        codec, dim = self.header.codec, self.header.dim
        section = bytes(self._file.section("codec"))
        if codec_id(codec.kind, codec.bytes, dim, section) != codec.id:
            raise DamagedPack(f"{self._file.name} is damaged: its codec has not the id that its header names.")
        if codec.kind == "int8":
            return Int8Codes(dim)
        try:
            return ProductCodes.read(section, codec.bytes, dim)
        except ValueError as error:
            raise DamagedPack(f"{self._file.name} is damaged: its codec is wrong: {error}. Fetch it again.") from None


def _refuse_constant(name: str) -> JsonValue:
    """Refuse NaN and Infinity, which Python reads and JSON does not have."""
    raise ValueError(name)
