"""Milvus Lite: FAISS's graphs, one for each segment."""

from __future__ import annotations

import json

import numpy as np
from numpy.typing import NDArray

from stores.store import BATCH, LIMIT, Setting, Store

_INDEX_EXISTS = 35
"""Milvus Lite's code."""

_MINUTES = 3600.0
"""Seconds that a call may take: peers.py ends the process before."""


class MilvusLite(Store):
    """A collection with an HNSW index. It is built when the collection is loaded, so that loading counts as building."""

    label = "Milvus Lite (HNSW)"

    def insert(self, stored: NDArray[np.float32]) -> None:
        from pymilvus import DataType, MilvusClient

        self.client = MilvusClient(str(self.folder / "milvus.db"))
        schema = MilvusClient.create_schema(auto_id=False)
        schema.add_field("id", DataType.INT64, is_primary=True)
        schema.add_field("vector", DataType.FLOAT_VECTOR, dim=stored.shape[1])
        schema.add_field("title", DataType.VARCHAR, max_length=64)
        self.client.create_collection("bench", schema=schema)
        for start in range(0, len(stored), BATCH):
            rows = range(start, min(start + BATCH, len(stored)))
            self.client.insert("bench", [{"id": n, "vector": stored[n], "title": f"Item {n}"} for n in rows])
        self.client.flush("bench")

    def build(self) -> None:
        from pymilvus.exceptions import MilvusException

        neighbours, construction = self.configuration.values
        parameters = self.client.prepare_index_params()
        wanted = {"M": neighbours, "efConstruction": construction}
        # pymilvus 3.0 sends what is in `params` one by one, and Milvus Lite 3.2 reads a parameter of the name `params`.
        parameters.add_index("vector", index_type="HNSW", metric_type="IP", params={"params": wanted})
        try:
            self.client.create_index("bench", parameters)
        except MilvusException as error:
            # pymilvus repeats a call whose answer it lost, which happens to a call of minutes; the index exists by then.
            if error.code != _INDEX_EXISTS:
                raise
        self.client.load_collection("bench", timeout=_MINUTES)
        described = self.client.describe_index("bench", "vector")
        given = described.get("params", described)
        assert (json.loads(given) if isinstance(given, str) else given) == wanted, described

    def set_effort(self, effort: Setting) -> None:
        self.ef = effort.values[0]

    def search(self, query: NDArray[np.float32]) -> list[int]:
        parameters = {"metric_type": "IP", "params": {"ef": self.ef}}
        found = self.client.search("bench", [query], limit=LIMIT, search_params=parameters, output_fields=["title"])
        return [int(hit["id"]) for hit in found[0]]
