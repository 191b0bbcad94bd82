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
    """One collection, for all threads of its gallery.

    `fault`: why it cannot be used now, a sentence with its address, for operators; None if it can. `changed`: the time, in
    microseconds, of the last change by this server, or of the start: others may have changed something before.
    """

    def __init__(
        self, gallery: str, place: MilvusPlace, token: str | None, space: str, dim: int, consequence: str | None = None
    ) -> None:
        """Begin to connect. Milvus need not be there. Raises EngineMissing without pymilvus.

        `consequence`: what follows from a fault, for a command that may be told where Milvus is; by default, requests are
        refused without saying that.
        """
        self.place = place
        self._gallery = gallery
        self._token = token
        self._space = space
        self._dim = dim
        self._consequence = consequence
        self._log = logging.getLogger(f"askew.milvus.{gallery}")
        self._client: MilvusClient | None = None
        self._checking = threading.RLock()
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
            raise self._no_answer()
        try:
            return task(client)
        except milvus_errors() as error:
            raise self._failure_of(error) from None

    def require(self) -> None:
        """Raise Refusal (not-ready) while Milvus cannot be used. Never blocks."""
        if self.fault is not None:
            raise self._no_answer()

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
            try:
                self._check()
            # Whatever it was, Milvus must be asked again.
            except Exception:  # noqa: BLE001
                self._log.exception("%s could not be checked", self.place)

    def _check(self) -> None:
        """Ask Milvus whether it is there with the right collection."""
        with self._checking:
            try:
                if self._client is None:
                    self._client = connect(self.place, self._token)
                fault = examine_collection(self._client, self.place, self._space, self._dim)
                if fault is None:
                    load_collection(self._client, self.place)
            except milvus_errors() as error:
                fault = f"Milvus at {self.place.address} does not answer ({describe_failure(error)})."
                # A channel that was cut off waits longer and longer before it tries again; a new one does not.
                self._disconnect()
            if fault != self.fault and not self._stopping.is_set():
                if fault is None:
                    self._log.warning("%s answers again", self.place)
                else:
                    self._log.error("gallery %s is not served: %s", self._gallery, fault)
            self.fault = fault

    def _check_unless_checking(self) -> None:
        """Many calls fail together, and each check takes seconds where Milvus hangs."""
        if self._checking.acquire(blocking=False):
            try:
                self._check()
            finally:
                self._checking.release()

    def _failure_of(self, error: Exception) -> AskewError:
        """What to raise for a failure of a call."""
        if is_overload(error):
            detail = f"The Milvus of gallery {self._gallery!r} has too much to do. Try again in a second."
            return Refusal(ProblemKind.OVERLOADED, detail, retry_after=1)
        # If it was there, somebody may have dropped the collection.
        self._check_unless_checking()
        if is_absence(error) or self.fault is not None:
            return self._no_answer()
        self._log.error("%s refused a request: %s", self.place, describe_failure(error))
        return AskewError(f"The Milvus of gallery {self._gallery!r} refused the request: {describe_failure(error)}.")

    def _no_answer(self) -> Refusal:
        if self._consequence is not None:
            reason = self.fault or f"Milvus at {self.place.address} did not answer in time."
            return Refusal(ProblemKind.NOT_READY, f"{reason} {self._consequence}", retry_after=RETRY_AFTER)
        return Refusal(
            ProblemKind.NOT_READY,
            f"The Milvus that holds the items of gallery {self._gallery!r} does not answer as it should. Nothing that was "
            f"acknowledged is lost. Try again in {RETRY_AFTER} seconds; a write that was not acknowledged may be sent again.",
            retry_after=RETRY_AFTER,
        )

    def _disconnect(self) -> None:
        with self._checking:
            client, self._client = self._client, None
        if client is not None:
            # Calls that are under way end with an error, and are refused.
            client.close()


def _microseconds() -> int:
    return time.time_ns() // 1_000
