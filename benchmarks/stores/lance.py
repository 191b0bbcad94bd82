"""LanceDB in the process, with its files on the disk: partitions of coded vectors, or a graph, refined from the vectors."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stores.store import LIMIT, Setting, Store, graph

GRAPH = graph(32, 400)
CODES = Setting("IVF-PQ, a byte for 16 dimensions", (16,))
BITS = Setting("IVF-RQ, 4 bits a dimension", (4,))
BYTES = Setting("IVF-SQ", (8,))
FLAT = Setting("IVF-flat", (32,))
CONNECTED = Setting(f"HNSW-SQ, {GRAPH.name}", GRAPH.values)


class Lance(Store):
    """A table with one of LanceDB's indexes. An effort is the share of the partitions, the factor of refinement, and ef."""

    label = "LanceDB"
    configurations: Sequence[Setting] = (CODES, BITS, BYTES, FLAT, CONNECTED)
    first = 1

    def insert(self, stored: NDArray[np.float32]) -> None:
        import lancedb
        import pyarrow as pa

        self.dim = stored.shape[1]
        self.partitions = max(1, math.isqrt(len(stored)))
        self.efforts = self._efforts()
        vectors = pa.FixedSizeListArray.from_arrays(pa.array(stored.ravel()), self.dim)
        titles = pa.array([f"Item {n}" for n in range(len(stored))])
        table = pa.table({"id": pa.array(np.arange(len(stored))), "vector": vectors, "title": titles})
        self.table = lancedb.connect(str(self.folder / "lance")).create_table("bench", table)

    def build(self) -> None:
        self.table.create_index("vector", config=self._index())
        assert self.table.index_stats("vector_idx").num_unindexed_rows == 0

    def set_effort(self, effort: Setting) -> None:
        self.probes, self.factor, self.ef = effort.values

    def search(self, query: NDArray[np.float32]) -> list[int]:
        asked = self.table.search(query).distance_type("dot").nprobes(self.probes).limit(LIMIT)
        if self.factor:
            asked = asked.refine_factor(self.factor)
        if self.ef:
            asked = asked.ef(self.ef)
        return [int(each) for each in asked.select(["id", "title", "_distance"]).to_arrow()["id"].to_pylist()]

    def _efforts(self) -> list[Setting]:
        if self.configuration == CONNECTED:
            # SQ alone stops short of 0.99; the ten-fold candidates are scored again with the vectors.
            return [Setting(f"ef {ef}, refined 10", (1, 10, ef)) for ef in (128, 256, 512, 1024, 2048, 4096)]
        shares = (16, 8, 4, 2, 1)
        factors = (0,) if self.configuration == FLAT else (10, 20, 50, 100, 200)
        # More partitions first, with little refinement, then more refinement of all partitions.
        tried = [(share, factors[0]) for share in shares] + [(1, factor) for factor in factors[1:]]
        return [self._effort(max(1, math.ceil(self.partitions / share)), factor) for share, factor in tried]

    def _effort(self, probes: int, factor: int) -> Setting:
        refined = f", refined {factor}" if factor else ""
        return Setting(f"{probes} of {self.partitions} probes{refined}", (probes, factor, 0))

    def _index(self) -> Any:
        from lancedb.index import HnswSq, IvfFlat, IvfPq, IvfRq, IvfSq

        partitions = self.partitions
        if self.configuration == CONNECTED:
            neighbours, construction = GRAPH.values
            return HnswSq(distance_type="dot", num_partitions=1, m=neighbours, ef_construction=construction)
        if self.configuration == CODES:
            return IvfPq(distance_type="dot", num_partitions=partitions, num_sub_vectors=self.dim // 16)
        if self.configuration == BITS:
            return IvfRq(distance_type="dot", num_partitions=partitions, num_bits=4)
        if self.configuration == BYTES:
            return IvfSq(distance_type="dot", num_partitions=partitions)
        return IvfFlat(distance_type="dot", num_partitions=partitions)
