"""Which role this server has, and so whether it takes changes. Every change of it is on the disk before it counts."""

from __future__ import annotations

import logging
import secrets
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

from askew_client.contract.health import Role
from askew_client.contract.problems import ProblemKind
from askew_client.errors import AskewError
from askew_server.errors import Refusal
from askew_server.replication.record import (
    Epoch,
    Fence,
    GalleryMark,
    ReplicationRecord,
    first_record,
    replication_record,
)


class Standing:
    """The role and the epoch of the server that owns a DATA directory. May be used from any thread."""

    def __init__(
        self,
        data: Path,
        follow: str | None,
        has_superseded: Callable[[str, ReplicationRecord], bool] = lambda follow, record: False,
    ) -> None:
        """`follow`: the address of the primary that it is to follow; None: it is to be a primary.

        A server that was promoted over the very primary that it is told to follow stays the primary: its start command
        was not changed yet. Unless the places were exchanged once more since: `has_superseded` asks the server at that
        address whether it is the primary of a later epoch than that of the record. Raises AskewError for a replica's DATA
        without `follow`, and for a record that is damaged.
        """
        self._file = replication_record(data)
        self._record = self._file.read()
        self._lock = threading.Lock()
        self._log = logging.getLogger("askew.replication")
        record = self._record
        if follow is None and record is not None and record.role == "replica":
            raise AskewError(
                f"{data} is a replica of {record.follows}. Start it with --follow {record.follows}, or make it the primary: "
                f"`askew replica promote {data}`."
            )
        if (
            follow is not None
            and record is not None
            and self._was_promoted_over(record, follow)
            and not has_superseded(follow, record)
        ):
            self._log.warning(
                "%s was promoted over %s in epoch %s, so --follow is ignored: start this server without it",
                data, follow, record.epoch.number,
            )  # fmt: skip
            follow = None
        self._follow = follow
        # An older record may lack its second copy.
        self._file.mend()

    @staticmethod
    def _was_promoted_over(record: ReplicationRecord, follow: str) -> bool:
        return record.role == "primary" and record.follows == follow and record.fence is None

    @property
    def follow(self) -> str | None:
        """The address of the primary that this server follows; None if it does not."""
        return self._follow

    @property
    def role(self) -> Role:
        """What this server is now."""
        if self._follow is not None:
            return "replica"
        return "superseded" if self._record is not None and self._record.fence is not None else "primary"

    @property
    def epoch(self) -> int:
        """The number of the epoch that this server is in."""
        return 1 if self._record is None else self._record.epoch.number

    @property
    def fence(self) -> Fence | None:
        """Who superseded this server; None if it was not superseded."""
        return None if self._record is None else self._record.fence

    @property
    def unfenced(self) -> str | None:
        """The address of the primary before this one that has not learned of it yet."""
        return None if self._record is None else self._record.unfenced

    @property
    def known(self) -> ReplicationRecord | None:
        """The record of DATA; None if it never replicated."""
        return self._record

    def record(self) -> ReplicationRecord:
        """The record of DATA, made now if it never replicated. Raises OSError."""
        with self._lock:
            return self._written(self._record or first_record())

    def refusal(self, sent: int | None = None) -> Refusal | None:
        """Why this server takes no changes; None if it does. `sent`: the epoch that the request names."""
        fence = self.fence
        if self._follow is not None:
            return Refusal(
                ProblemKind.READ_REPLICA,
                f"This server is a replica, and its copies change only as its primary does. Send changes to {self._follow}, or "
                "promote this server first (`askew replica promote`).",
                {"primary": self._follow, "epoch": self.epoch},
            )
        if fence is not None:
            return self._superseded(fence.number, fence.primary)
        if sent is not None and sent > self.epoch:
            return self._superseded(sent, None)
        return None

    def _superseded(self, epoch: int, primary: str | None) -> Refusal:
        where = f", {primary}," if primary else ""
        return Refusal(
            ProblemKind.SUPERSEDED,
            f"This server was the primary in epoch {self.epoch}, and another one{where} is it since epoch {epoch}. Send changes "
            f"there. To let this server follow it, start it with --follow {primary or 'and its address'}.",
            {"epoch": epoch, **({"primary": primary} if primary else {})},
        )

    # Changes of the role

    def adopt(self, lineage: str, epochs: list[Epoch], diverged: Mapping[str, str]) -> None:
        """Be a replica of a primary with this history. `diverged`: galleries that hold what it never had, by key."""
        with self._lock:
            known = self._record or first_record()
            self._written(
                known.model_copy(
                    update={
                        "lineage": lineage,
                        "role": "replica",
                        "epochs": epochs,
                        "follows": self._follow,
                        "fence": None,
                        "unfenced": None,
                        "diverged": {**known.diverged, **diverged},
                    }
                )
            )

    def note_diverged(self, diverged: Mapping[str, str]) -> None:
        """Replace the galleries that hold what the primary never had, by key, each with a sentence."""
        with self._lock:
            known = self._record or first_record()
            if known.diverged != diverged:
                self._written(known.model_copy(update={"diverged": dict(diverged)}))

    def superseded_by(self, fence: Fence) -> None:
        """Take no changes from now on, as another server is the primary. Raises Refusal (replica-refused).

        Nothing changes for a replica of that server, which takes none anyway. One of another server refuses: what it
        acknowledged as a primary may be there.
        """
        with self._lock:
            known = self._record or first_record()
            if self._follow is not None:
                if any((each.number, each.token) == (fence.number, fence.token) for each in known.epochs):
                    return
                raise Refusal(
                    ProblemKind.REPLICA_REFUSED,
                    f"This server is no primary: it follows {self._follow}, and knows nothing of epoch {fence.number} of another "
                    f"primary. Follow {self._follow}, and promote then.",
                    {"primary": self._follow, "epoch": known.epoch.number},
                )
            own = known.epoch
            if fence.number == own.number and fence.token != own.token:
                self._log.critical(
                    "two servers were promoted to be the primary of epoch %s, this one and %s: stop one of them, and start it "
                    "with --follow", own.number, fence.primary or "another one",
                )  # fmt: skip
            newest = known.fence or Fence(number=own.number, token=own.token)
            if fence.number < newest.number or (fence.number == newest.number and fence.token != newest.token):
                raise Refusal(
                    ProblemKind.REPLICA_REFUSED,
                    f"Epoch {fence.number} does not supersede epoch {newest.number}, which this server knows already. If two "
                    "servers were promoted, stop one and start it with --follow.",
                    {"epoch": newest.number},
                )
            if fence.token == newest.token and (known.fence is None or known.fence.primary or not fence.primary):
                return
            self._written(known.model_copy(update={"fence": fence}))
        self._log.critical(
            "this server takes no more changes: %s is the primary since epoch %s", fence.primary or "another server",
            fence.number,
        )  # fmt: skip

    def propose(self, beyond: int = 0) -> Fence:
        """The epoch that this server begins if it becomes the primary now; the same one until it does.

        `beyond`: the number of an epoch that it must come after.
        """
        with self._lock:
            known = self._record or first_record()
            number = max(known.epoch.number, 0 if known.fence is None else known.fence.number, beyond) + 1
            if known.proposed is not None and known.proposed.number == number:
                return known.proposed
            proposed = Fence(number=number, token=secrets.token_hex(8))
            self._written(known.model_copy(update={"proposed": proposed}))
            return proposed

    def promote(self, begun: Fence, starts: Mapping[str, GalleryMark], superseded: str | None) -> None:
        """Be the primary. `starts`: where the galleries are now, by key. `superseded`: who has not learned of it yet."""
        with self._lock:
            known = self._record or first_record()
            epoch = Epoch(number=begun.number, token=begun.token, starts=dict(starts))
            self._written(
                known.model_copy(
                    update={
                        "role": "primary",
                        "epochs": [*known.epochs, epoch],
                        "follows": self._follow or known.follows,
                        "fence": None,
                        "proposed": None,
                        "unfenced": superseded,
                    }
                )
            )
            self._follow = None

    def note_fenced(self) -> None:
        """The primary before this one has learned of it."""
        with self._lock:
            if self._record is not None:
                self._written(self._record.model_copy(update={"unfenced": None}))

    def _written(self, record: ReplicationRecord) -> ReplicationRecord:
        if record is not self._record:
            self._file.write(record)
            self._record = record
        return record
