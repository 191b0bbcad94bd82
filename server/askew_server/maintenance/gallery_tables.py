"""Copies what a gallery's database holds besides its items: encoders and probes."""

from __future__ import annotations

from askew_server.storage.encoders import ENCODERS_SCHEMA
from askew_server.storage.probes import PROBES_SCHEMA
from askew_server.storage.sqlite import Database

_TABLES = ("encoders", "retired_encoders", "default_encoders", "probes")


def copy_encoders_and_probes(source: Database, target: Database) -> None:
    """Copy these tables into a database without them, all or nothing. Their files are not copied. Raises DatabaseError."""
    target.execute_script(ENCODERS_SCHEMA)
    target.execute_script(PROBES_SCHEMA)
    with target.transaction():
        for table in _TABLES:
            if source.has_table(table):
                rows = source.rows(f"SELECT * FROM {table}")
                if rows:
                    target.execute_many(f"INSERT INTO {table} VALUES ({','.join('?' * len(rows[0]))})", rows)
