"""Writes what a primary has into a replica's gallery, under the primary's own labels and sequence numbers."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Collection, Iterable
from pathlib import Path

import numpy as np

from askew_client.contract.encoder_file import read_encoder_file
from askew_client.errors import AskewError, EncoderError
from askew_client.files import PartialFile, write_atomically
from askew_server.gallery.gallery import Gallery
from askew_server.index.types import Labels
from askew_server.replication.source import Source
from askew_server.replication.wire import Beside, BrokenAnswer, ChangePage, ItemLine
from askew_server.storage.checksums import item_checksum, vector_checksum
from askew_server.storage.encoders import encoder_member
from askew_server.storage.facts import write_fact
from askew_server.storage.photos import is_photo_name, photo_member, photo_sha256, write_photo
from askew_server.storage.sqlite import Database
from askew_server.storage.vectors import unpack_vectors

_LABELS_AT_ONCE = 500
_PHOTOS = "SELECT label, photo FROM items WHERE label IN (SELECT value FROM json_each(?))"
_LABELS_OF_IDS = "SELECT label, photo FROM items WHERE id IN (SELECT value FROM json_each(?))"


class DamagedPrimary(AskewError):
    """The primary sent an item that is damaged on its disk."""


def check_rows(rows: Iterable[ItemLine], dim: int) -> None:
    """Check that items are as the primary once stored them. Raises DamagedPrimary."""
    for row in rows:
        of_item = item_checksum(row.label, row.id, row.payload, row.photo)
        if (of_item, vector_checksum(row.label, row.vector), len(row.vector)) != (
            row.checksum, row.vector_checksum, 2 * dim,
        ):  # fmt: skip
            raise DamagedPrimary(
                f"Item {row.id[:80]!r} (label {row.label}) is damaged on the primary's disk, so it is not copied. Run `askew "
                "doctor` on the primary."
            )


def fetch_photos(
    folder: Path, source: Source, name: str, rows: Iterable[ItemLine], stopped: Callable[[], bool]
) -> set[str]:
    """Have the photos of these items in a gallery's folder; returns those that the primary has no more, which are logged.

    Raises AskewError once `stopped()`: a page may have thousands, and a promotion waits for this.
    """
    lacking = set()
    for photo in dict.fromkeys(row.photo for row in rows if row.photo is not None):
        if stopped():
            raise AskewError("The server stops.")
        if (folder / photo_member(photo)).exists():
            continue
        content = source.photo(name, "photos", photo)
        if content is None:
            logging.getLogger("askew.replication").info("the primary has photo %s of gallery %s no more", photo, name)
            lacking.add(photo)
            continue
        _check_photo(photo, content)
        write_photo(folder, content, Path(photo).suffix)
    return lacking


def _check_photo(photo: str, content: bytes) -> None:
    if not is_photo_name(photo) or hashlib.sha256(content).hexdigest() != photo_sha256(photo):
        raise BrokenAnswer(f"The photo {photo[:80]} arrived damaged, or is damaged on the primary's disk.")


def apply_page(gallery: Gallery, page: ChangePage, gone: Collection[int]) -> None:
    """Write the items of a page, and remove those of the labels `gone`, in one transaction. Called on the gallery's writer.

    An item that is replaced stays until its new version is written; doing it twice changes nothing.
    """
    store, database = gallery.store, gallery.store.connection
    with database.transaction():
        present = {label for label, _ in _stored(database, _PHOTOS, [row.label for row in page.rows])}
        new = [row for row in page.rows if row.label not in present]
        replaced = _stored(database, _LABELS_OF_IDS, [row.id for row in new])
        removed = dict([*replaced, *_stored(database, _PHOTOS, [int(label) for label in gone])])
        labels = [(label,) for label in sorted(removed)]
        database.execute_many("DELETE FROM items WHERE label = ?", labels)
        database.execute_many("DELETE FROM vectors WHERE label = ?", labels)
        database.execute_many(
            "INSERT INTO items VALUES (?, ?, ?, ?, ?)",
            ((row.label, row.id, row.payload, row.photo, row.checksum) for row in new),
        )
        database.execute_many(
            "INSERT INTO vectors VALUES (?, ?, ?)", ((row.label, row.vector, row.vector_checksum) for row in new)
        )
        write_fact(database, "sequence", str(max(store.sequence, page.through)))
    # First of what follows the commit: a second attempt finds these rows in the database, and adds them to no index.
    if new:
        added = np.array([row.label for row in new], dtype=np.int64)
        gallery.index.add(added, unpack_vectors([row.vector for row in new], gallery.dim))
        gallery.written += len(new)
    if removed:
        gone_now: Labels = np.array(sorted(removed), dtype=np.int64)
        gallery.index.remove(gone_now)
        gallery.deleted += len(removed) - len(replaced)
    for photo in dict.fromkeys(photo for photo in removed.values() if photo is not None):
        if not database.row("SELECT 1 FROM items WHERE photo = ? LIMIT 1", (photo,)):
            store.photo_path(photo).unlink(missing_ok=True)


def _stored(database: Database, sql: str, values: list[int] | list[str]) -> list[tuple[int, str | None]]:
    """Label and photo of the items that exist among these labels or ids."""
    parts = (values[start : start + _LABELS_AT_ONCE] for start in range(0, len(values), _LABELS_AT_ONCE))
    return [row for part in parts for row in database.rows(sql, (json.dumps(part),))]


def fetch_beside(folder: Path, source: Source, name: str, beside: Beside) -> None:
    """Have the files of a gallery's encoders and probes in its folder. Raises BrokenAnswer for one that is damaged."""
    for identity, sha256, _, _, has_file, _, _ in beside.encoders:
        path = folder / encoder_member(sha256)
        if not has_file or path.exists():
            continue
        path.parent.mkdir(exist_ok=True)
        with PartialFile(path) as file:
            if not source.encoder(name, sha256, file):
                raise BrokenAnswer(f"The primary has no file of encoder {identity[:140]!r} any more. Asking again.")
            file.commit(lambda part, sha256=sha256: _check_encoder(part, sha256))  # type: ignore[misc]
    for _, _, photo, _ in beside.probes:
        path = folder / "probes" / photo
        if path.exists():
            continue
        content = source.photo(name, "probes", photo)
        if content is None:
            raise BrokenAnswer(f"The primary has the probe's photo {photo[:80]} no more. Asking again.")
        _check_photo(photo, content)
        path.parent.mkdir(exist_ok=True)
        write_atomically(path, content)


def _check_encoder(path: Path, sha256: str) -> None:
    try:
        is_intact = read_encoder_file(path).sha256 == sha256
    except EncoderError:
        is_intact = False
    if not is_intact:
        raise BrokenAnswer(f"The encoder file {sha256[:12]}… arrived damaged, or is damaged on the primary's disk.")


def apply_beside(gallery: Gallery, beside: Beside) -> None:
    """Have the encoders and probes of a primary, whose files are in the folder. Called on the gallery's writer."""
    database, folder = gallery.store.connection, gallery.store.folder
    with database.transaction():
        for table in ("encoders", "retired_encoders", "default_encoders", "probes"):
            database.execute(f"DELETE FROM {table}")
        database.execute_many("INSERT INTO encoders VALUES (?, ?, ?, ?, ?, ?, ?)", beside.encoders)
        database.execute_many("INSERT INTO retired_encoders VALUES (?, ?, ?)", beside.retired)
        database.execute_many("INSERT INTO default_encoders VALUES (?, ?)", beside.defaults)
        probes = ((each, bytes.fromhex(vector), photo, added) for each, vector, photo, added in beside.probes)
        database.execute_many("INSERT INTO probes VALUES (?, ?, ?, ?)", probes)
    gallery.encoders.read_again()
    files = {encoder_member(sha256) for _, sha256, *_ in beside.encoders} | {
        f"probes/{each[2]}" for each in beside.probes
    }
    for kept in ("encoders", "probes"):
        for path in (folder / kept).iterdir():
            if path.is_file() and not path.name.startswith(".") and f"{kept}/{path.name}" not in files:
                path.unlink(missing_ok=True)
