"""Reads of a gallery's database that primary and replica make alike, so that they can compare what they have.

Every function takes a connection and raises DatabaseError; those that need one moment are called inside `reading()`.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from askew_server.replication.record import gallery_key
from askew_server.replication.wire import Beside, ItemLine, LabelList, RangeSummary, Summary
from askew_server.storage.facts import read_fact, read_facts
from askew_server.storage.sqlite import Database

RANGE_BITS = 16
"""Labels are compared in ranges of 65,536."""
NEWEST = 1_000
"""Of so many items, those with the highest labels, the vectors are compared too: a history that forked differs there."""

_BYTES_OF_A_PAGE = 8_000_000
_ROWS_OF_A_PAGE = 4_096
_ITEMS_AFTER = """
SELECT items.label, id, payload, photo, items.checksum, vector, vectors.checksum
FROM items JOIN vectors USING (label) WHERE items.label > ? ORDER BY items.label
"""
_ENCODERS = "SELECT id, sha256, manifest, size, has_file, admitted_at, report FROM encoders ORDER BY id"
_RETIRED = "SELECT id, sha256, retired_at FROM retired_encoders ORDER BY id"
_DEFAULTS = "SELECT runtime, id FROM default_encoders ORDER BY runtime"


def open_gallery(folder: Path) -> Database:
    """A connection of its own to the gallery in a folder, which reads only and never waits for a write."""
    return Database.open_read_only(folder / "gallery.db")


def key_in(database: Database, name: str) -> str:
    """The key of the gallery in a database."""
    return gallery_key(name, read_fact(database, "created_at"))


def sequence_in(database: Database) -> int:
    """The number of the last change of an item."""
    return int(read_fact(database, "sequence") or 0)


def items_after(database: Database, label: int) -> tuple[list[ItemLine], bool]:
    """The items with higher labels, oldest first, as many as a page holds, and whether these are all there are."""
    rows: list[ItemLine] = []
    size = 0
    for item_label, item_id, payload, photo, checksum, vector, vector_checksum in database.each(_ITEMS_AFTER, (label,)):
        rows.append(ItemLine(item_label, item_id, payload, photo, checksum, vector, vector_checksum))
        size += len(payload) + len(vector)
        if size >= _BYTES_OF_A_PAGE or len(rows) >= _ROWS_OF_A_PAGE:
            return rows, False
    return rows, True


def summary_of(database: Database, through: int) -> Summary:
    """The items with labels up to one, summed up by range. Call it inside `reading()`."""
    rows = database.rows(
        f"SELECT label >> {RANGE_BITS}, count(*), sum(label), sum(checksum) FROM items WHERE label <= ? GROUP BY 1",
        (through,),
    )
    newest = database.rows(
        "SELECT label, checksum FROM vectors WHERE label <= ? ORDER BY label DESC LIMIT ?", (through, NEWEST)
    )
    return Summary(
        sequence=sequence_in(database),
        ranges={each: RangeSummary(count=count, labels=labels, checksums=sums) for each, count, labels, sums in rows},
        newest=newest,
    )


def labels_of(database: Database, range_number: int) -> LabelList:
    """Label and checksum of the items of one range."""
    first = range_number << RANGE_BITS
    sql = "SELECT label, checksum FROM items WHERE label >= ? AND label < ?"
    return LabelList(rows=database.rows(sql, (first, first + (1 << RANGE_BITS))))


def beside_of(database: Database) -> Beside:
    """The encoders, probes and facts of a gallery. Call it inside `reading()`."""
    probes = database.rows("SELECT id, hex(vector), photo, added_at FROM probes ORDER BY id")
    return Beside(
        facts=read_facts(database),
        encoders=database.rows(_ENCODERS),
        retired=database.rows(_RETIRED),
        defaults=database.rows(_DEFAULTS),
        probes=probes,
    )


def beside_digest(database: Database) -> str:
    """A digest of the encoders and probes; a probe that is replaced has another date. Call it inside `reading()`."""
    if not database.has_table("probes"):
        return ""
    rows = [
        database.rows("SELECT id, sha256, has_file, admitted_at FROM encoders ORDER BY id"),
        database.rows(_RETIRED),
        database.rows(_DEFAULTS),
        database.rows("SELECT id, photo, added_at FROM probes ORDER BY id"),
    ]
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()[:32]
