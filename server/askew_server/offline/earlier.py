"""The pack that a new one follows: what was coded and drawn once is taken from it.

So the codes and thumbnails of an unchanged item stay the same bytes, and a device fetches only what is new.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from askew_client.contract.offline_pack import PackHeader
from askew_client.errors import DamagedPack
from askew_client.offline.codes import Codes
from askew_client.offline.layout import LENGTH, SCALE, labels_of
from askew_client.offline.sections import PackBytes, open_pack
from askew_server.index.types import Labels


@dataclass(frozen=True)
class EarlierPack:
    """An intact pack of the same gallery. `labels`: int64 [items], ascending."""

    file: PackBytes
    labels: Labels
    _thumbnail_ends: NDArray[np.int64]

    @classmethod
    def open(cls, path: Path, space: str) -> Self | None:
        """The pack at a path; None if it is damaged or gone, or in another space."""
        try:
            file = open_pack(path)
            labels = labels_of(bytes(file.section("labels")), file.header.items, file.name)
        except (DamagedPack, OSError):
            return None
        header = file.header
        if header.space != space:
            return None
        lengths = file.section("thumbnail_lengths") if header.thumbnail_size else b""
        return cls(file, labels, np.cumsum(np.frombuffer(lengths, dtype=LENGTH), dtype=np.int64))

    @property
    def header(self) -> PackHeader:
        """What the pack says about itself."""
        return self.file.header

    def places(self, labels: Labels) -> tuple[NDArray[np.bool_], Labels]:
        """Which of these labels the pack has, and the positions of those."""
        places = np.searchsorted(self.labels, labels)
        if not len(self.labels):
            return np.zeros(len(labels), dtype=np.bool_), places[:0]
        known = self.labels[np.minimum(places, len(self.labels) - 1)] == labels
        return known, places[known]

    def codes(self, positions: Labels) -> tuple[Codes, NDArray[np.float32]]:
        """Codes, u8 [n, bytes], and factors, float32 [n], at these positions."""
        codes = np.frombuffer(self.file.section("codes"), dtype=np.uint8)
        scales = np.frombuffer(self.file.section("scales"), dtype=SCALE)
        return codes.reshape(len(self.labels), self.header.codec.bytes)[positions], scales[positions]

    def thumbnail(self, position: int) -> bytes:
        """The thumbnail at a position of a pack with thumbnails; empty if there is none."""
        begin = int(self._thumbnail_ends[position - 1]) if position else 0
        return bytes(self.file.section("thumbnails")[begin : int(self._thumbnail_ends[position])])
