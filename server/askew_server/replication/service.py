"""The replication of one server: its role, the feed that it offers, the primary that it follows, and its promotion."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from pathlib import Path

from askew_client.contract.health import Promotion, ReplicatedGallery, ReplicationStatus
from askew_client.contract.problems import ProblemKind
from askew_client.errors import AskewError
from askew_server.auth.keys import KeyStore
from askew_server.errors import Refusal
from askew_server.gallery.catalog import Catalog
from askew_server.replication.feed import Feed
from askew_server.replication.follower import Follower, Progress
from askew_server.replication.history import LocalGallery, UnreadableCopy
from askew_server.replication.record import Fence, GalleryMark, ReplicationRecord
from askew_server.replication.source import Address, PrimaryRefused, PrimaryUnreachable, Source
from askew_server.replication.standing import Standing
from askew_server.replication.wire import BrokenAnswer

_SECONDS_BETWEEN_NOTICES = 1.0
_SECONDS_TO_STOP = 5.0
_SECONDS_TO_COPY = 600.0
"""That a promotion waits for the last changes; what is here by then stays, and another promotion goes on there."""
_SECONDS_TO_ASK = 5.0
"""That a server waits at its start for the one that it is told to follow, and was promoted over before."""
_ATTEMPTS_TO_COPY = 3
"""To copy the last changes of a primary that has made way."""


class Replication:
    """What a server is among its replicas. May be used from any thread, but for `start` and `close`."""

    def __init__(
        self, data: Path, galleries: Catalog, keys: KeyStore, *, follow: str | None = None, key_file: Path | None = None
    ) -> None:
        """`follow`: the address of the primary; None: this server is a primary. `key_file`: with the key for that address.

        Raises AskewError for an address or a key file that cannot be used, and what Standing raises.
        """
        self.standing = Standing(data, follow, lambda url, record: _has_superseded(Address(url, key_file), record))
        self.feed = Feed(galleries, keys, self.standing)
        self._galleries = galleries
        self._key_file = key_file
        self._promoting = threading.Lock()
        self._stopping = threading.Event()
        self._notifier: threading.Thread | None = None
        self._follower: Follower | None = None
        self._log = logging.getLogger("askew.replication")
        self._promoted: Callable[[], None] = lambda: None
        if self.standing.follow is not None:
            address = Address(self.standing.follow, key_file)
            # A key that is missing is said at the start.
            address.key()
            self._follower = Follower(Source(address), galleries, keys, self.standing)

    @property
    def progress(self) -> Progress | None:
        """How far a replica is; None on a primary."""
        return None if self._follower is None else self._follower.progress

    def start(self, promoted: Callable[[], None]) -> None:
        """Begin to follow. `promoted`: called once this server has become the primary."""
        self._promoted = promoted
        if self._follower is not None:
            self._follower.start()
        self._notify_superseded()

    def close(self) -> None:
        """Stop following."""
        self._stopping.set()
        with self._promoting:
            if self._follower is not None:
                self._follower.close()
        if self._notifier is not None:
            self._notifier.join(_SECONDS_TO_STOP)

    def trouble(self, most_seconds: float) -> str | None:
        """Why a replica's answers may be too old, a sentence without names; None if they are not, and on a primary.

        `most_seconds`: how old they may be.
        """
        progress = self.progress
        if progress is None:
            return None
        staleness = progress.staleness()
        if staleness is None:
            return "This replica has not copied everything from its primary yet."
        if staleness > most_seconds:
            return (
                f"This replica had everything of its primary {staleness:.0f} seconds ago; it is ready up to {most_seconds:g} "
                "seconds (--ready-staleness)."
            )
        return None

    def status(self) -> ReplicationStatus:
        """What this server is, and how far behind each gallery is."""
        standing, progress = self.standing, self.progress
        fence = standing.fence
        if progress is None:
            return ReplicationStatus(
                role=standing.role, epoch=standing.epoch, primary=None if fence is None else fence.primary
            )
        local, unreadable = self._local_galleries()
        marks = {gallery.name: gallery.mark for gallery in local}
        troubles = {**unreadable, **progress.troubles}
        names = sorted(marks.keys() | progress.behind.keys() | troubles.keys())
        return ReplicationStatus(
            role=standing.role,
            epoch=standing.epoch,
            primary=standing.follow,
            staleness_seconds=progress.staleness(),
            trouble=progress.trouble,
            galleries=[
                ReplicatedGallery(
                    name=name,
                    sequence=marks[name].sequence if name in marks else 0,
                    behind=progress.behind.get(name),
                    trouble=troubles.get(name),
                )
                for name in names
            ],
        )

    # Becoming the primary, and making way for another one

    def supersede(self, fence: Fence, lineage: str) -> None:
        """Take no changes from now on. `lineage`: of the new primary. Raises Refusal (replica-refused)."""
        self.feed.check_lineage(lineage)
        self.standing.superseded_by(fence)

    def promote(self, *, accept_loss: bool, address: str | None) -> Promotion:
        """Make this replica the primary. If the old one answers, it is fenced first, and its last changes are copied.

        `accept_loss`: also if changes are known to be missing. `address`: of this server. Raises Refusal: replica-refused
        on a primary, replica-behind.
        """
        with self._promoting:
            follower = self._follower
            if follower is None:
                raise Refusal(
                    ProblemKind.REPLICA_REFUSED,
                    f"Expected a replica, but this server is {self._called()}. Nothing was changed.",
                    {"epoch": self.standing.epoch},
                )
            follower.pause()
            try:
                promotion = self._promote(follower, accept_loss=accept_loss, address=address)
            except BaseException:
                follower.start()
                raise
            follower.close()
            self._follower = None
        self._log.warning("this server is the primary since epoch %s", promotion.epoch)
        self._promoted()
        self._notify_superseded()
        return promotion

    def _promote(self, follower: Follower, *, accept_loss: bool, address: str | None) -> Promotion:
        old = self.standing.follow
        begun, is_fenced = self._fence(follower.source, accept_loss=accept_loss, address=address)
        # Everything that the old primary acknowledged is there once it is fenced, and nothing is added any more.
        missing = (self._copy_the_rest(follower) if is_fenced else None) or _known_missing(follower.progress)
        local, unreadable = self._local_galleries()
        if missing is None and unreadable:
            missing = " ".join(unreadable.values())[:1000]
        if missing is not None and not accept_loss:
            raise Refusal(
                ProblemKind.REPLICA_BEHIND,
                f"{missing} They would be lost. Let it catch up, promote another replica, or repeat with --accept-loss.",
                {"behind": dict(follower.progress.behind)},
            )
        # One that cannot be read has no mark: what the old primary has of it is never taken for a part of this history.
        starts: dict[str, GalleryMark] = {each.key: each.mark for each in local}
        staleness = follower.progress.staleness()
        self.standing.promote(begun, starts, None if is_fenced else old)
        has_everything = is_fenced and missing is None
        return Promotion(epoch=begun.number, superseded=old, is_fenced=has_everything, staleness_seconds=staleness)

    def _fence(self, source: Source, *, accept_loss: bool, address: str | None) -> tuple[Fence, bool]:
        """The epoch that this server begins, and whether the old primary knows of it. Raises Refusal (replica-refused)."""
        source.name(self.standing.known)
        begun = self.standing.propose()
        for _ in range(2):
            begun = begun.model_copy(update={"primary": address})
            try:
                source.fence(begun)
            except (PrimaryUnreachable, BrokenAnswer) as error:
                self._log.warning("the old primary does not know of its successor yet: %s", error)
                return begun, False
            except PrimaryRefused as error:
                if not accept_loss:
                    raise Refusal(
                        ProblemKind.REPLICA_REFUSED,
                        f"The old primary answers, and does not make way: {error} Repeat with --accept-loss to become the "
                        "primary all the same.",
                    ) from None
                known = error.extras.get("epoch")
                if not isinstance(known, int):
                    return begun, False
                begun = self.standing.propose(known)
            # Such as a key's file that is gone: nobody knows whether the old primary would answer.
            except AskewError as error:
                if not accept_loss:
                    raise Refusal(
                        ProblemKind.REPLICA_REFUSED,
                        f"The old primary cannot be asked to make way: {error} Mend that, or repeat with --accept-loss to "
                        "become the primary all the same.",
                    ) from None
                return begun, False
            else:
                return begun, True
        return begun, False

    def _copy_the_rest(self, follower: Follower) -> str | None:
        """Copy the last changes of an old primary that takes no more; a sentence if that cannot be done."""
        failure = ""
        with follower.source.within(_SECONDS_TO_COPY):
            for attempt in range(_ATTEMPTS_TO_COPY):
                if attempt:
                    self._stopping.wait(_SECONDS_BETWEEN_NOTICES)
                try:
                    follower.follow_once(0)
                # Whatever fails, nobody knows what is missing.
                except Exception as error:  # noqa: BLE001
                    failure = str(error) or type(error).__name__
                    self._log.warning("the last changes of the old primary were not copied: %s", failure)
                else:
                    return None
        return f"The old primary takes no more changes, but its last changes could not be copied: {failure}"

    def _called(self) -> str:
        return "a primary that was superseded" if self.standing.role == "superseded" else "a primary already"

    def _local_galleries(self) -> tuple[list[LocalGallery], dict[str, str]]:
        """The galleries here, and a sentence about each one that cannot be read, by name."""
        found, unreadable = [], {}
        for name in self._galleries.names():
            try:
                found.append(LocalGallery.read(name, self._galleries.folder(name)))
            except UnreadableCopy as error:
                unreadable[name] = str(error)
            except Refusal:
                # Deleted, or set aside, since it was listed.
                continue
        return found, {name: sentence for name, sentence in unreadable.items() if name in self._galleries.names()}

    def _notify_superseded(self) -> None:
        """Tell the old primary, until it knows, that this server has taken its place."""
        old = self.standing.unfenced
        if old is None or (self._notifier is not None and self._notifier.is_alive()):
            return
        self._notifier = threading.Thread(target=self._notify, args=(old,), name="fence", daemon=True)
        self._notifier.start()

    def _notify(self, old: str) -> None:
        record = self.standing.record()
        source = Source(Address(old, self._key_file))
        source.name(record)
        said = ""
        try:
            while not self._stopping.is_set():
                try:
                    source.fence(Fence(number=record.epoch.number, token=record.epoch.token))
                except (AskewError, OSError) as error:
                    if isinstance(error, PrimaryRefused) and str(error) != said:
                        said = str(error)
                        self._log.error("the old primary at %s does not make way: %s", old, said)
                    self._stopping.wait(_SECONDS_BETWEEN_NOTICES)
                else:
                    self.standing.note_fenced()
                    self._log.warning("the old primary at %s takes no more changes", old)
                    return
        finally:
            source.close()


def _has_superseded(address: Address, record: ReplicationRecord) -> bool:
    """Whether the server at an address is the primary of a later epoch in the record's history. One that does not answer is not."""
    try:
        source = Source(address)
    except AskewError:
        return False
    source.name(record)
    try:
        with source.within(_SECONDS_TO_ASK):
            state = source.state("", 0)
    except (AskewError, OSError):
        return False
    finally:
        source.close()
    own = record.epoch
    later = [each for each in state.epochs if each.number > own.number]
    return state.lineage == record.lineage and bool(later) and own.token in {each.token for each in state.epochs}


def _known_missing(progress: Progress) -> str | None:
    """A sentence about what a replica is known to lack; None if it had everything when it last asked."""
    if progress.complete_at is None:
        return "This replica never had everything that its primary has."
    behind = {name: count for name, count in progress.behind.items() if count}
    if behind:
        listed = ", ".join(f"{count:,} of gallery {name!r}" for name, count in sorted(behind.items())[:10])
        return f"This replica lacks changes of its primary: {listed}."
    if progress.troubles:
        return f"This replica does not follow everywhere: {' '.join(progress.troubles.values())[:1000]}"
    return None
