"""What a primary tells its replicas, read from its files by connections of its own: searches and writes wait for none of it."""

from __future__ import annotations

import hashlib
import re
import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from askew_client.contract.problems import ProblemKind
from askew_server.auth.keys import KeyStore
from askew_server.errors import Refusal
from askew_server.gallery.catalog import Catalog
from askew_server.index.types import Labels
from askew_server.replication.keys import key_rows
from askew_server.replication.record import Fence
from askew_server.replication.standing import Standing
from askew_server.replication.tables import (
    beside_digest,
    beside_of,
    items_after,
    key_in,
    labels_of,
    open_gallery,
    sequence_in,
    summary_of,
)
from askew_server.replication.wire import (
    FORMAT,
    WHAT_FITS,
    Beside,
    ChangePage,
    GalleryState,
    LabelList,
    PrimaryState,
    Summary,
    askew_version,
    is_understood,
)
from askew_server.storage.commit_mark import gallery_mark
from askew_server.storage.encoders import encoder_member
from askew_server.storage.errors import DatabaseError
from askew_server.storage.facts import MILVUS_PLACE, read_fact, read_origin
from askew_server.storage.photos import is_photo_name, photo_member
from askew_server.storage.sqlite import Database

_ENCODER = re.compile(r"[0-9a-f]{64}")

_SECONDS_BELIEVED = 5.0
"""How long a gallery counts as unchanged by its signature alone, which a full disk may leave behind the database."""

Signature = tuple[int, int, bytes]
"""Of the file that counts the commits of a gallery: another one means that the gallery may have changed."""


class Feed:
    """The galleries of a primary as its replicas see them. May be used from any thread."""

    def __init__(self, galleries: Catalog, keys: KeyStore, standing: Standing) -> None:
        self._galleries = galleries
        self._keys = keys
        self._standing = standing
        self._run = secrets.token_hex(8)
        self._lock = threading.Lock()
        self._known: dict[str, tuple[Signature | None, float, GalleryState]] = {}

    def check(self, version: str, feed_format: int, lineage: str, epoch: int, token: str) -> None:
        """Check that a replica can follow this server. `lineage`: its history; empty: none. `epoch`, `token`: the newest one
        that it knows of; 0: none.

        Raises Refusal: replica-refused for another version, if this server is a replica itself, or if the replica has
        another history; superseded if the replica knows a newer primary, whom this server then makes way for.
        """
        if not is_understood(version, feed_format):
            raise Refusal(
                ProblemKind.REPLICA_REFUSED,
                f"This primary runs Askew {askew_version()} (feed {FORMAT}), the replica {version[:20]} (feed {feed_format}). "
                f"{WHAT_FITS}",
                {"expected": askew_version(), "received": version[:20]},
            )
        if self._standing.follow is not None:
            raise Refusal(
                ProblemKind.REPLICA_REFUSED,
                f"This server is a replica itself. Follow its primary, {self._standing.follow}.",
                {"primary": self._standing.follow},
            )
        if lineage:
            self.check_lineage(lineage)
        own = self._standing.record().epochs
        if epoch and not any((each.number, each.token) == (epoch, token) for each in own):
            if epoch > own[-1].number:
                self._standing.superseded_by(Fence(number=epoch, token=token))
                refusal = self._standing.refusal()
                assert refusal is not None
                raise refusal
            raise Refusal(
                ProblemKind.REPLICA_REFUSED,
                f"The replica has followed an epoch {epoch} of another server, which this primary (epoch {own[-1].number}) never "
                "was. Two servers were promoted: keep one, and start the other with --follow.",
                {"epoch": own[-1].number},
            )

    def check_lineage(self, lineage: str) -> None:
        """Check that another server has the history of this one. Raises Refusal (replica-refused)."""
        if lineage != self._standing.record().lineage:
            raise Refusal(
                ProblemKind.REPLICA_REFUSED,
                "The other server holds galleries of another history than this one. Let it follow the primary that it belongs to, "
                "or start it with an empty DATA.",
            )

    def state(self) -> PrimaryState:
        """Everything that is not in the galleries, and where these are."""
        record = self._standing.record()
        # Before the galleries: a change of teacher fills one, and then lets an alias name it. A replica that has the
        # galleries of this state may so switch the alias, and lacks nothing that was written before it was switched here.
        aliases = self._galleries.aliases()
        with self._lock:
            galleries, unreadable, elsewhere = self._all_galleries()
        state = PrimaryState(
            format=FORMAT,
            version=askew_version(),
            lineage=record.lineage,
            run=self._run,
            epochs=record.epochs,
            fence=record.fence,
            galleries=galleries,
            unavailable=sorted({*unreadable, *self._galleries.damaged()}),
            elsewhere=elsewhere,
            aliases=aliases,
            keys=key_rows(self._keys),
        )
        return state.model_copy(update={"mark": hashlib.sha256(state.model_dump_json().encode()).hexdigest()[:32]})

    def look_again(self) -> None:
        """Believe nothing that was seen of the galleries before: the next state is read from their databases."""
        with self._lock:
            self._known = {}

    def changes(self, name: str, key: str, after: int, removed_after: int) -> ChangePage:
        """The next items of a gallery after a sequence number, and, once these are all, which labels were removed.

        `removed_after`: the sequence number up to which the replica knows the removed ones. Raises Refusal.
        """
        with self._reading(name, key) as database:
            sequence = sequence_in(database)
            rows, are_all = items_after(database, after)
        removed: Labels | None = np.empty(0, dtype=np.int64)
        if are_all and removed_after != sequence:
            # On the writer's thread, which has told by then what it committed.
            removed = self._galleries.get(name).run(
                lambda gallery: gallery.removals.between(removed_after, sequence, gallery.store.sequence)
            )
        return ChangePage(sequence if are_all else rows[-1].label, sequence, rows, removed)

    def summary(self, name: str, key: str, through: int) -> Summary:
        """The items with labels up to one, summed up. Raises Refusal."""
        with self._reading(name, key) as database:
            return summary_of(database, through)

    def labels(self, name: str, key: str, range_number: int) -> LabelList:
        """The items of one range of labels. Raises Refusal."""
        with self._reading(name, key) as database:
            return labels_of(database, range_number)

    def beside(self, name: str, key: str) -> Beside:
        """What a gallery has beside its items. Raises Refusal."""
        with self._reading(name, key) as database:
            return beside_of(database)

    def file(self, name: str, kind: str, file: str) -> Path:
        """The path of a photo, of a probe's photo or of an encoder. Raises Refusal (unknown-item) if it is not there."""
        folder = self._galleries.folder(name)
        path = None
        if kind == "encoders" and _ENCODER.fullmatch(file):
            path = folder / encoder_member(file)
        elif kind in {"photos", "probes"} and is_photo_name(file):
            path = folder / (photo_member(file) if kind == "photos" else f"probes/{file}")
        if path is None or not path.is_file():
            raise Refusal(ProblemKind.UNKNOWN_ITEM, f"Gallery {name!r} has no file {kind[:20]}/{file[:80]}.")
        return path

    @contextmanager
    def _reading(self, name: str, key: str) -> Iterator[Database]:
        """A connection that sees one moment of a gallery, which must be the one of this key. Raises Refusal."""
        folder = self._galleries.folder(name)
        with open_gallery(folder) as database, database.reading():
            if key_in(database, name) != key:
                raise Refusal(
                    ProblemKind.UNKNOWN_GALLERY, f"Gallery {name!r} was deleted, and another one has its name now."
                )
            yield database

    def _all_galleries(self) -> tuple[dict[str, GalleryState], list[str], list[str]]:
        """The galleries to copy, and the names of those that cannot be read now, and of those whose items are in Milvus."""
        found: dict[str, GalleryState] = {}
        unreadable, elsewhere = [], []
        names = self._galleries.names()
        for name in names:
            try:
                state = self._gallery(name)
                if state is None:
                    elsewhere.append(name)
                else:
                    found[name] = state
            except (DatabaseError, OSError, ValueError):
                unreadable.append(name)
            except Refusal:
                # Deleted, or set aside, since it was listed.
                continue
        self._known = {name: known for name, known in self._known.items() if name in found}
        return found, unreadable, elsewhere

    def _gallery(self, name: str) -> GalleryState | None:
        """A gallery's state; None if its items are in Milvus."""
        folder = self._galleries.folder(name)
        # Before the database: what is committed after it is seen the next time.
        signature = _signature(folder)
        known = self._known.get(name)
        now = time.monotonic()
        if known is not None and signature is not None and known[0] == signature and now - known[1] < _SECONDS_BELIEVED:
            return known[2]
        with open_gallery(folder) as database, database.reading():
            if read_fact(database, MILVUS_PLACE) is not None:
                return None
            state = GalleryState(
                created_at=read_fact(database, "created_at"),
                sequence=sequence_in(database),
                beside=beside_digest(database),
                origin=read_origin(folder),
            )
        self._known[name] = (signature, now, state)
        return state


def _signature(folder: Path) -> Signature | None:
    path = gallery_mark(folder).path
    try:
        return path.stat().st_ino, folder.stat().st_ino, path.read_bytes()
    except OSError:
        return None
