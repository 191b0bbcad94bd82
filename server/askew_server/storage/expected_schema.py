"""Compares the schema of a gallery's database with the one that Askew makes.

A database may come from anyone, in a snapshot. What it may contain is not listed as bad: anything that Askew's own
statements would not have made is refused. A trigger, an index or a generated column can change what a write does.
"""

from __future__ import annotations

from pathlib import Path

from askew_server.storage.encoders import ENCODERS_SCHEMA
from askew_server.storage.facts import FACTS_SCHEMA, read_fact
from askew_server.storage.probes import PROBES_SCHEMA
from askew_server.storage.schema import SCHEMA, SCHEMA_OF_LAYOUT_1
from askew_server.storage.sqlite import Database

LAYOUTS = {"1": SCHEMA_OF_LAYOUT_1, "2": SCHEMA}
"""The tables of items by layout, of every layout that this Askew opens."""

_REQUIRED = {"facts", "items", "vectors"}
"""Tables that are in every gallery of a layout that has them; opening makes the others."""
_HEADER = {"user_version": 0, "application_id": 0, "encoding": "UTF-8", "auto_vacuum": 0}

Entry = tuple[str, str, str, str | None]
"""Type, name, table and SQL of an entry of sqlite_master, the SQL without differences in white space."""


def schema_fault(database: Database) -> str | None:
    """How a gallery's database differs from one that Askew made, as the end of a sentence; None if it does not.

    Raises DatabaseError.
    """
    found = _entries(database)
    if not any(name == "facts" for _, name, _, _ in found):
        return "it is not the database of a gallery"
    facts = {entry for entry in found if entry[2] == "facts"}
    fault = _difference(facts, _made(FACTS_SCHEMA))
    if fault is not None:
        return fault
    layout = read_fact(database, "layout")
    if layout not in LAYOUTS:
        return f"its layout is {str(layout)[:20]!r}; this Askew reads {' and '.join(LAYOUTS)}. If it is newer, upgrade Askew"
    fault = _difference(found, _made(FACTS_SCHEMA + LAYOUTS[layout] + ENCODERS_SCHEMA + PROBES_SCHEMA))
    if fault is not None:
        return fault
    for name, expected in _HEADER.items():
        value = database.value(f"PRAGMA {name}")
        if value != expected:
            return f"its {name} is {str(value)[:20]}, not {expected}"
    return None


def _difference(found: set[Entry], made: set[Entry]) -> str | None:
    foreign = sorted(found - made, key=str)
    if foreign:
        kind, name, _, _ = foreign[0]
        is_ours = any(name == other for _, other, _, _ in made)
        what = "is not as Askew makes it" if is_ours else "is none that Askew makes"
        return f"the {kind[:20]} {name[:80]!r} {what}"
    missing = sorted(name for kind, name, _, _ in made - found if kind == "table" and name in _REQUIRED)
    return f"it has no table {missing[0]!r}" if missing else None


def _made(schema: str) -> set[Entry]:
    """What Askew's own statements make, by this SQLite."""
    with Database.open(Path(":memory:")) as database:
        database.execute_script(schema)
        return _entries(database)


def _entries(database: Database) -> set[Entry]:
    rows = database.rows("SELECT type, name, tbl_name, sql FROM sqlite_master")
    return {
        (str(kind), str(name), str(table), None if sql is None else " ".join(str(sql).split()))
        for kind, name, table, sql in rows
    }
