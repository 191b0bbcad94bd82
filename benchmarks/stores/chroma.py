"""Chroma in the process, with its files on the disk. One thread builds its graph: 1.5 has no setting for more."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from stores.store import BATCH, LIMIT, Setting, Store


class Chroma(Store):
    """A collection with the configuration given at its creation."""

    label = "Chroma (HNSW)"
    threads = 1

    def insert(self, stored: NDArray[np.float32]) -> None:
        neighbours, construction = self.configuration.values
        # After how many vectors the graph is written to the disk: the default, 1,000, writes it a hundred times.
        wanted = {
            "space": "ip",
            "ef_construction": construction,
            "max_neighbors": neighbours,
            "sync_threshold": len(stored),
        }
        self._open()
        collection = self.client.create_collection("bench", configuration={"hnsw": wanted}, embedding_function=None)
        given = collection.configuration["hnsw"]
        assert all(given[name] == value for name, value in wanted.items()), given
        for start in range(0, len(stored), BATCH):
            rows = range(start, min(start + BATCH, len(stored)))
            collection.add(
                ids=[str(n) for n in rows],
                embeddings=stored[start : start + BATCH],
                metadatas=[{"title": f"Item {n}"} for n in rows],
            )
        self.collection = collection

    def set_effort(self, effort: Setting) -> None:
        # A graph that is open keeps the ef it was opened with (1.5.9), so the database is closed and opened again.
        self.collection.modify(configuration={"hnsw": {"ef_search": effort.values[0]}})
        self.client.close()
        self._open()
        self.collection = self.client.get_collection("bench", embedding_function=None)
        assert self.collection.configuration["hnsw"]["ef_search"] == effort.values[0]

    def search(self, query: NDArray[np.float32]) -> list[int]:
        answer = self.collection.query(query_embeddings=[query], n_results=LIMIT, include=["metadatas", "distances"])
        return [int(each) for each in answer["ids"][0]]

    def _open(self) -> None:
        import chromadb
        from chromadb.config import Settings

        self.client = chromadb.PersistentClient(str(self.folder / "chroma"), Settings(anonymized_telemetry=False))
