"""The bytes of an answer, counted as they are read; and of all large answers that are under way.

A limit on the number of hits or items does not bound an answer: a payload may have megabytes. So whatever reads
payloads for an answer counts their stored bytes first, and an answer that would exceed its limit is refused before more
of it is held.
"""

from __future__ import annotations

import threading

from askew_client.contract.problems import ProblemKind
from askew_server.errors import Refusal

SMALL_ANSWER = 256 * 1024
"""Bytes. An answer up to this size is written in one step, and does not count among those under way."""


class AnswersUnderWay:
    """The bytes of all large answers that are being read or sent. May be used from any thread."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._bytes = 0
        self._lock = threading.Lock()

    @property
    def bytes(self) -> int:
        """How many there are now."""
        return self._bytes

    def take(self, count: int) -> bool:
        """Add bytes; False, and none are added, if they would exceed the limit. A single answer always fits."""
        with self._lock:
            if self._bytes and self._bytes + count > self._limit:
                return False
            self._bytes += count
            return True

    def release(self, count: int) -> None:
        """Forget bytes that were taken."""
        with self._lock:
            self._bytes -= count


class AnswerSize:
    """The size of one answer. One thread at a time counts; `release` may be called from another one meanwhile."""

    def __init__(self, limit: int, under_way: AnswersUnderWay) -> None:
        """`limit`: bytes of the largest answer."""
        self.limit = limit
        self.bytes = 0
        self._under_way = under_way
        self._held = 0
        self._is_released = False
        self._lock = threading.Lock()

    @property
    def is_small(self) -> bool:
        """Whether the answer is written in one step."""
        return self.bytes <= SMALL_ANSWER

    def take(self, count: int, share: float) -> None:
        """Count bytes that the answer will hold. `share`: the part of the answer that is counted with them, in (0, 1].

        Raises Refusal: answer-too-large; overloaded if there is no room beside the other answers.
        """
        self.bytes += count
        if self.bytes > self.limit:
            raise self.too_large(share, self.bytes)
        if self.bytes > SMALL_ANSWER:
            self._hold()

    def release(self) -> None:
        """The answer was sent, or will not be. What still reads for it is refused from now on."""
        with self._lock:
            self._is_released = True
            if self._held:
                self._under_way.release(self._held)
                self._held = 0

    def too_large(self, share: float, counted: int) -> Refusal:
        """The refusal of an answer of which `share` has `counted` bytes."""
        estimate = round(counted / share)
        about = "" if share == 1 else "about "
        return Refusal(
            ProblemKind.ANSWER_TOO_LARGE,
            f"Expected an answer of at most {self.limit:,} bytes; this one would have {about}{estimate:,}. Ask for less at "
            "once: a smaller limit, fewer queries, only some payload fields (with_payload) or no vectors (with_vectors).",
            {"bytes": estimate, "limit": self.limit},
        )

    def _hold(self) -> None:
        with self._lock:
            has_room = not self._is_released and self._under_way.take(self.bytes - self._held)
            if has_room:
                self._held = self.bytes
        if not has_room:
            raise Refusal(
                ProblemKind.OVERLOADED,
                "The large answers that are being sent are together at the server's limit. Try again in a second, or "
                "ask for less at once.",
                retry_after=1,
            )
