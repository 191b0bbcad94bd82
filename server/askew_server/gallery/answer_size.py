"""The bytes of an answer, counted as they are read; and of all large answers that are under way.

A limit on the number of hits or items does not bound an answer: a payload may have megabytes. So whatever reads
payloads for an answer counts their stored bytes first, and an answer that would exceed its limit is refused before more
of it is held.

Large answers share a room. While several are read at once, one of them, the eldest, can always be read to its end: the
others leave it the room of a whole answer. What finds no room waits a few seconds for its turn, holding no thread.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from typing import TypeVar

from askew_client.contract.problems import ProblemKind
from askew_server.errors import Refusal

Result = TypeVar("Result")

SMALL_ANSWER = 256 * 1024
"""Bytes. An answer up to this size is written in one step, and does not count among those under way."""

WAITING_SECONDS = 5.0
"""How long an answer waits for room, in all."""


class NoRoom(Refusal):
    """There is no room for an answer beside the others. `with_room` waits and tries again."""

    def __init__(self) -> None:
        super().__init__(
            ProblemKind.OVERLOADED,
            "The large answers that are being sent are together at the server's limit. Try again in a second, or ask for "
            "less at once.",
            retry_after=1,
        )


class AnswersUnderWay:
    """The bytes of all large answers that are being read or sent. May be used from any thread."""

    def __init__(self, limit: int, largest: int | None = None) -> None:
        """`limit`: bytes of all together. `largest`: of one; `limit` by default."""
        self._limit = limit
        self._largest = limit if largest is None else largest
        self._bytes = 0
        # Those that are being read, the eldest first.
        self._growing: dict[AnswerSize, None] = {}
        self._waiting: dict[AnswerSize, tuple[int, asyncio.Future[None]]] = {}
        self._lock = threading.Lock()

    @property
    def bytes(self) -> int:
        """How many there are now."""
        return self._bytes

    def take(self, answer: AnswerSize, count: int) -> bool:
        """Add bytes to what an answer holds; False, and none are added, if there is no room. A single answer always fits."""
        with self._lock:
            if answer.is_released:
                return False
            self._growing.setdefault(answer)
            if not self._has_room(answer, count, self._bytes):
                return False
            self._bytes += count
            answer.held += count
            return True

    def give_back(self, answer: AnswerSize, held: int, *, is_read: bool = False, is_released: bool = False) -> None:
        """Let an answer hold at most `held` bytes. `is_read`: it grows no more; `is_released`: it never may again."""
        with self._lock:
            self._bytes -= max(0, answer.held - held)
            answer.held = min(answer.held, held)
            answer.is_released = answer.is_released or is_released
            if is_read:
                self._growing.pop(answer, None)
            self._wake()

    async def wait(self, answer: AnswerSize, wanted: int, seconds: float) -> bool:
        """Wait on the event loop until an answer of `wanted` bytes is likely to fit; False if it was not in time."""
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        with self._lock:
            self._waiting[answer] = min(wanted, self._largest), turn
            self._wake()
        try:
            async with asyncio.timeout(seconds):
                await turn
        except TimeoutError:
            return False
        finally:
            with self._lock:
                self._waiting.pop(answer, None)
        return True

    def _has_room(self, answer: AnswerSize, count: int, held: int) -> bool:
        """Whether `count` more bytes fit beside `held` ones, those of the answer included."""
        if held == answer.held:
            return True
        eldest = next(iter(self._growing))
        kept_free = 0 if eldest is answer else max(0, self._largest - eldest.held)
        return held + count + kept_free <= self._limit

    def _wake(self) -> None:
        """Let those go on for which there is room now, in the order in which they began to be large."""
        if not self._waiting:
            return
        held = self._bytes
        for answer in [each for each in self._growing if each in self._waiting]:
            wanted, turn = self._waiting[answer]
            count = max(0, wanted - answer.held)
            if not self._has_room(answer, count, held):
                return
            held += count
            del self._waiting[answer]
            turn.get_loop().call_soon_threadsafe(_end, turn)


class AnswerSize:
    """The size of one answer. One thread at a time counts; `release` may be called from another one meanwhile.

    `held`, `is_released`: belong to the AnswersUnderWay.
    """

    def __init__(self, limit: int, under_way: AnswersUnderWay) -> None:
        """`limit`: bytes of the largest answer."""
        self.limit = limit
        self.bytes = 0
        self.held = 0
        self.is_released = False
        self._under_way = under_way
        self._wanted = 0
        self._seconds_left = WAITING_SECONDS

    @property
    def is_small(self) -> bool:
        """Whether the answer is written in one step."""
        return self.bytes <= SMALL_ANSWER

    def take(self, count: int, share: float) -> None:
        """Count bytes that the answer will hold. `share`: the part of the answer that is counted with them, in (0, 1].

        Raises Refusal (answer-too-large); NoRoom if there is none beside the other answers.
        """
        self.bytes += count
        if self.bytes > self.limit:
            raise self.too_large(share, self.bytes)
        if self.bytes > SMALL_ANSWER and not self._under_way.take(self, self.bytes - self.held):
            self._wanted = round(self.bytes / share)
            raise NoRoom

    async def wait_for_room(self, counted: int) -> bool:
        """After NoRoom: forget what was counted beyond `counted` bytes, and wait; whether there may be room now."""
        self.bytes = counted
        self._under_way.give_back(self, counted)
        loop = asyncio.get_running_loop()
        began = loop.time()
        has_room = await self._under_way.wait(self, self._wanted, self._seconds_left)
        self._seconds_left -= loop.time() - began
        return has_room and self._seconds_left > 0

    def complete(self) -> None:
        """The answer is read, and is sent from now on."""
        if self.bytes > SMALL_ANSWER:
            self._under_way.give_back(self, self.held, is_read=True)

    def sent(self, count: int) -> None:
        """Bytes of the answer were sent, and are held no more."""
        if self.held:
            self._under_way.give_back(self, max(0, self.held - count))

    def release(self) -> None:
        """The answer was sent, or will not be. What still reads for it is refused from now on."""
        self._under_way.give_back(self, 0, is_read=True, is_released=True)

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


async def with_room(size: AnswerSize, step: Callable[[], Awaitable[Result]]) -> Result:
    """The result of a step that counts bytes for an answer, begun anew once there is room. Raises what the step raises."""
    counted = size.bytes
    while True:
        try:
            return await step()
        except NoRoom:
            if not await size.wait_for_room(counted):
                raise


def _end(turn: asyncio.Future[None]) -> None:
    if not turn.done():
        turn.set_result(None)
