"""Follows a primary: galleries, aliases and keys come to be here as they are there, and this says how far behind it is."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from askew_client.errors import AskewError
from askew_server.auth.keys import KeyStore
from askew_server.gallery.catalog import Catalog
from askew_server.replication.catalog_copy import CatalogCopy
from askew_server.replication.history import LocalGallery, diverged_galleries, foreign_galleries, is_older
from askew_server.replication.keys import take_over_keys
from askew_server.replication.record import gallery_key
from askew_server.replication.source import Source
from askew_server.replication.standing import Standing
from askew_server.replication.wire import FORMAT, WHAT_FITS, PrimaryState, askew_version, is_understood

POLL_SECONDS = 1.0
"""How long the primary may wait before it answers that nothing has changed: what is known is never much older."""
_SECONDS_BEFORE_NEXT_TRY = 0.5
_SECONDS_TO_STOP = 5.0


class CannotFollow(AskewError):
    """This server cannot follow that primary, however often it tries."""


@dataclass(frozen=True)
class Progress:
    """How far a replica is. `complete_at`: when it last had everything, in seconds of the monotonic clock; None: never.

    `behind`: by gallery, the changes that the primary had and the replica had not, when it last asked. `troubles`: by
    gallery, a sentence. `trouble`: a sentence if it does not follow at all.
    """

    complete_at: float | None = None
    behind: Mapping[str, int] = field(default_factory=dict)
    troubles: Mapping[str, str] = field(default_factory=dict)
    trouble: str | None = None

    def staleness(self) -> float | None:
        """How many seconds ago the replica had everything; None if it never had."""
        return None if self.complete_at is None else max(0.0, time.monotonic() - self.complete_at)


class Follower:
    """The thread that follows. `progress` may be read from any thread."""

    def __init__(self, source: Source, galleries: Catalog, keys: KeyStore, standing: Standing) -> None:
        self.progress = Progress()
        self._source = source
        self._galleries = galleries
        self._keys = keys
        self._standing = standing
        self._copies = CatalogCopy(galleries, source)
        self._known = ""
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        # Held while the primary is asked and what it has is copied: by the thread, and by the last round of a promotion.
        self._following = threading.Lock()
        self._log = logging.getLogger("askew.replication")

    @property
    def source(self) -> Source:
        """The primary."""
        return self._source

    def start(self) -> None:
        """Begin to follow."""
        self._thread = threading.Thread(target=self._run, name="follow", daemon=True)
        self._thread.start()

    def pause(self) -> None:
        """Stop following, until `start`. `follow_once` works meanwhile. A primary that does not answer is not waited for."""
        self._stopping.set()
        self._source.stop()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        self._source.go_on()
        self._stopping.clear()

    def close(self) -> None:
        """Stop following. A primary that does not answer is not waited for."""
        self._stopping.set()
        self._source.stop()
        if self._thread is not None:
            self._thread.join(_SECONDS_TO_STOP)
        self._source.close()

    def follow_once(self, wait: float) -> bool:
        """Ask the primary once and copy what is new; whether everything is here now. Raises AskewError, OSError.

        `wait`: seconds that the primary may wait for a change.
        """
        with self._following:
            record = self._standing.known
            # An old primary is to be told of the newer ones first, and an empty DATA may follow anybody.
            is_replica = record is not None and record.role == "replica" and bool(self._galleries.names())
            self._source.name(record if is_replica else None)
            asked = time.monotonic()
            state = self._source.state(self._known, wait)
            self._check(state)
            take_over_keys(self._keys, state.keys)
            diverged = self._standing.record().diverged
            troubles = self._copies.bring_to(state, diverged, self._stopping.is_set)
            new = {self._key_of(state, name): text for name, text in self._copies.newly_diverged.items()}
            if new:
                self._standing.note_diverged({**diverged, **new})
            is_complete = not troubles
            self._known = state.mark if is_complete else ""
            self.progress = Progress(
                complete_at=asked + state.waited if is_complete else self.progress.complete_at,
                behind=self._copies.behind(state),
                troubles=troubles,
                trouble=_superseded(state),
            )
            return is_complete

    def _run(self) -> None:
        said = ""
        while not self._stopping.is_set():
            try:
                is_complete = self.follow_once(POLL_SECONDS)
                said = self._say(said, " ".join(self.progress.troubles.values()))
            # Whatever fails, the replica answers from what it has, says so, and tries again.
            except Exception as error:  # noqa: BLE001
                if self._stopping.is_set():
                    return
                if not isinstance(error, AskewError):
                    self._log.exception("following %s failed", self._source.url)
                self._known = ""
                sentence = str(error) or type(error).__name__
                old = self.progress
                self.progress = Progress(old.complete_at, old.behind, old.troubles, sentence)
                said = self._say(said, sentence)
                is_complete = False
            if not is_complete:
                self._stopping.wait(_SECONDS_BEFORE_NEXT_TRY)

    def _say(self, said: str, sentence: str) -> str:
        if sentence and sentence != said:
            self._log.error("%s", sentence)
        elif said and not sentence:
            self._log.warning("following %s again", self._source.url)
        return sentence

    def _check(self, state: PrimaryState) -> None:
        """Check that this server may follow, and remember whose history it holds. Raises CannotFollow."""
        if not is_understood(state.version, state.format):
            raise CannotFollow(
                f"The primary at {self._source.url} runs Askew {state.version} (feed {state.format}), this replica "
                f"{askew_version()} (feed {FORMAT}). {WHAT_FITS}"
            )
        record = self._standing.known
        if record is not None and record.role == "replica" and (record.lineage, record.epochs) == (
            state.lineage, state.epochs,
        ):  # fmt: skip
            return
        local = self._local_galleries()
        if record is not None and record.lineage != state.lineage and (local or self._galleries.damaged()):
            raise CannotFollow(
                f"This DATA holds galleries of another history than the primary at {self._source.url}. Follow the primary that it "
                "belongs to, or start the replica with an empty DATA."
            )
        if record is None or record.lineage != state.lineage:
            self._check_foreign(state, local)
            record = None
        elif is_older(record.epochs, state.epochs):
            raise CannotFollow(
                f"The server at {self._source.url} is in epoch {state.epochs[-1].number} and was superseded: this DATA has seen "
                f"epoch {record.epoch.number}. Follow the newer primary."
            )
        diverged = diverged_galleries(record, state, local)
        self._standing.adopt(state.lineage, state.epochs, diverged)

    def _check_foreign(self, state: PrimaryState, local: list[LocalGallery]) -> None:
        foreign = foreign_galleries(state, {each.name: each.key for each in local})
        if foreign:
            raise CannotFollow(
                f"This DATA holds galleries that the primary at {self._source.url} does not have: {', '.join(foreign[:10])}. A "
                "replica would remove them. Start it with an empty DATA, or with snapshots of the primary's galleries."
            )

    def _local_galleries(self) -> list[LocalGallery]:
        return [LocalGallery.read(name, self._galleries.folder(name)) for name in self._galleries.names()]

    @staticmethod
    def _key_of(state: PrimaryState, name: str) -> str:
        return gallery_key(name, state.galleries[name].created_at)


def _superseded(state: PrimaryState) -> str | None:
    """What to say of a primary that was superseded; it can be followed still, to its last change."""
    if state.fence is None:
        return None
    return (
        f"The primary that this replica follows was superseded in epoch {state.fence.number}. Start it with --follow "
        f"{state.fence.primary or 'and the address of the new primary'}."
    )
