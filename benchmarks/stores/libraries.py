"""Bare libraries: a graph in the process's memory, without payloads and without a file. Searches use one thread."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from stores.store import CORES, LIMIT, Setting, Store


class Hnswlib(Store):
    """hnswlib's own graph, float32."""

    label = "hnswlib (bare library)"

    def insert(self, stored: NDArray[np.float32]) -> None:
        import hnswlib

        neighbours, construction = self.configuration.values
        self.index = hnswlib.Index(space="ip", dim=stored.shape[1])
        self.index.init_index(max_elements=len(stored), M=neighbours, ef_construction=construction)
        self.index.add_items(stored, np.arange(len(stored)), num_threads=CORES)

    def set_effort(self, effort: Setting) -> None:
        self.index.set_ef(effort.values[0])

    def search(self, query: NDArray[np.float32]) -> list[int]:
        return [int(label) for label in self.index.knn_query(query, k=LIMIT, num_threads=1)[0][0]]


class Usearch(Store):
    """usearch's graph, float16. Its `connectivity` is M, its `expansion_add` is efConstruction."""

    label = "usearch (bare library, f16)"

    def insert(self, stored: NDArray[np.float32]) -> None:
        from usearch.index import Index

        neighbours, construction = self.configuration.values
        self.index = Index(
            ndim=stored.shape[1], metric="ip", dtype="f16", connectivity=neighbours, expansion_add=construction
        )
        assert (self.index.connectivity, self.index.expansion_add) == (neighbours, construction)
        self.index.add(np.arange(len(stored)), stored, threads=CORES)

    def set_effort(self, effort: Setting) -> None:
        self.index.expansion_search = effort.values[0]

    def search(self, query: NDArray[np.float32]) -> list[int]:
        return [int(key) for key in self.index.search(query, LIMIT, threads=1).keys]
