"""qdrant-client's local mode, which compares every vector. The server's graph is not part of it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from stores.store import BATCH, LIMIT, Setting, Store


class QdrantLocal(Store):
    """A collection in qdrant-client's local mode."""

    label = "qdrant-client, local (every vector)"
    threads = 1
    configurations: Sequence[Setting] = (Setting("exact", ()),)
    first = 0
    efforts: Sequence[Setting] = (Setting("every vector", ()),)

    def insert(self, stored: NDArray[np.float32]) -> None:
        from qdrant_client import QdrantClient, models

        self.client = QdrantClient(path=str(self.folder / "qdrant"))
        self.client.create_collection(
            "bench", vectors_config=models.VectorParams(size=stored.shape[1], distance=models.Distance.DOT)
        )
        for start in range(0, len(stored), BATCH):
            rows = range(start, min(start + BATCH, len(stored)))
            points = [models.PointStruct(id=n, vector=stored[n].tolist(), payload={"title": f"Item {n}"}) for n in rows]
            self.client.upsert("bench", points)

    def set_effort(self, effort: Setting) -> None:
        """There is only one."""

    def search(self, query: NDArray[np.float32]) -> list[int]:
        return [int(p.id) for p in self.client.query_points("bench", query.tolist(), limit=LIMIT).points]
