"""The connection to one collection. It survives that Milvus goes away: requests are refused at once until it is back.

A thread asks Milvus every two seconds whether it is there, and whether its collection is still this gallery's. So nobody
waits for a Milvus that is known to be gone, /readyz knows it without asking, and its return is noticed without a request.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, TypeVar

from askew_client.contract.problems import ProblemKind
from askew_client.errors import AskewError
from askew_server.errors import Refusal
from askew_server.milvus.library import (
    connect,
    describe_failure,
    is_absence,
    is_overload,
    milvus_errors,
)
from askew_server.milvus.place import MilvusPlace
from askew_server.milvus.schema import examine_collection, load_collection

if TYPE_CHECKING:
    from pymilvus import MilvusClient

Result = TypeVar("Result")

SECONDS_BETWEEN_CHECKS = 2.0
RETRY_AFTER: Final = 3
"""Seconds, in the answers while Milvus is away."""


class MilvusConnection:
    """One collection, for all threads of its gallery. `fault`: why it cannot be used now, a sentence; None if it can.

    `changed`: the time, in microseconds, of the last change by this server, or of the start: others may have changed
    something before.
    """

    def __init__(
        self, gallery: str, place: MilvusPlace, token: str | None, space: str, dim: int, consequence: str | None = None
    ) -> None:
        """Begin to connect. Milvus need not be there. Raises EngineMissing without pymilvus.

        `consequence`: the sentences that follow the reason why it cannot be used; by default, those for a server.
        """
        self._consequence = consequence or (
            f"Gallery {gallery!r} has its items there, so it is not served now. Nothing that was acknowledged is lost. Try "
            f"again in {RETRY_AFTER} seconds."
        )
        self.place = place
        self._token = token
        self._space = space
        self._dim = dim
        self._log = logging.getLogger(f"askew.milvus.{gallery}")
        self._client: MilvusClient | None = None
        self._connecting = threading.Lock()
        self._stopping = threading.Event()
        self.fault: str | None = None
        self.changed = _microseconds()
        self._check()
        self._watching = threading.Thread(target=self._watch, name=f"milvus-{gallery}", daemon=True)
        self._watching.start()

    def call(self, task: Callable[[MilvusClient], Result]) -> Result:
        """Run a task with the client. Raises Refusal (not-ready with Retry-After; overloaded), AskewError."""
        self.require()
        client = self._client
        if client is None:
            # Another thread has just found that Milvus is gone.
            raise self._no_answer("the connection was lost")
        try:
            return task(client)
        except milvus_errors() as error:
            raise self._refusal_of(error) from None

    def require(self) -> None:
        """Raise Refusal (not-ready) while Milvus cannot be used. Never blocks."""
        fault = self.fault
        if fault is not None:
            raise Refusal(ProblemKind.NOT_READY, fault, retry_after=RETRY_AFTER)

    def note_change(self) -> int:
        """Note that this server has changed something; the number of the change. Used by one thread at a time."""
        self.changed = max(self.changed + 1, _microseconds())
        return self.changed

    def close(self) -> None:
        """End the thread and the connection."""
        self._stopping.set()
        self._watching.join()
        self._disconnect()

    def _watch(self) -> None:
        while not self._stopping.wait(SECONDS_BETWEEN_CHECKS):
            self._check()

    def _check(self) -> None:
        """Ask Milvus whether it is there with the right collection."""
        try:
            with self._connecting:
                if self._client is None:
                    self._client = connect(self.place, self._token)
                fault = examine_collection(self._client, self.place, self._space, self._dim)
                if fault is None:
                    load_collection(self._client, self.place)
        except milvus_errors() as error:
            fault = f"Milvus at {self.place.address} does not answer ({describe_failure(error)})."
            # A channel that was cut off waits longer and longer before it tries again; a new one does not.
            self._disconnect()
        if fault is not None:
            fault = f"{fault} {self._consequence}"
        if fault != self.fault and not self._stopping.is_set():
            if fault is None:
                self._log.warning("%s answers again", self.place)
            else:
                self._log.error("%s", fault)
        self.fault = fault

    def _refusal_of(self, error: Exception) -> AskewError:
        """What to raise for a failure of a call."""
        if is_absence(error):
            self._check_unless_checking()
            return self._no_answer(describe_failure(error))
        if is_overload(error):
            return Refusal(
                ProblemKind.OVERLOADED,
                f"Milvus at {self.place.address} has too much to do ({describe_failure(error)}). Try again in a second.",
                retry_after=1,
            )
        # Somebody may have dropped the collection.
        self._check_unless_checking()
        if self.fault is not None:
            return self._no_answer(describe_failure(error))
        return AskewError(f"Milvus at {self.place.address} refused the request: {describe_failure(error)}.")

    def _check_unless_checking(self) -> None:
        """Many calls fail together, and each check takes seconds where Milvus hangs."""
        if not self._connecting.locked():
            self._check()

    def _no_answer(self, reason: str) -> Refusal:
        detail = self.fault or (
            f"Milvus at {self.place.address} did not answer in time ({reason}). Try again in {RETRY_AFTER} seconds; a write "
            "that was not acknowledged may be sent again."
        )
        return Refusal(ProblemKind.NOT_READY, detail, retry_after=RETRY_AFTER)

    def _disconnect(self) -> None:
        with self._connecting:
            client, self._client = self._client, None
        if client is not None:
            # Calls that are under way end with an error, and are refused.
            client.close()


def _microseconds() -> int:
    return time.time_ns() // 1_000
