"""Large answers share a room: whatever comes at once, one of them can always be read to its end."""

from __future__ import annotations

import asyncio
import random

import pytest

from askew_server.errors import Refusal
from askew_server.gallery import answer_size
from askew_server.gallery.answer_size import SMALL_ANSWER, AnswerSize, AnswersUnderWay, with_room

ROOM = 40 * SMALL_ANSWER
LARGEST = 16 * SMALL_ANSWER


async def _read(room: AnswersUnderWay, parts: list[int], *, sending: int = 0) -> str:
    """Count an answer's parts as a request does, with others in between; how that ends."""
    size = AnswerSize(LARGEST, room)
    held = 0
    try:
        for number, part in enumerate(parts, start=1):

            async def step(part: int = part, share: float = number / len(parts)) -> None:
                size.take(part, share)

            await with_room(size, step)
            held += part
            assert size.bytes == held
            assert room.bytes <= ROOM
            await asyncio.sleep(0)
        size.complete()
        for _ in range(sending):
            await asyncio.sleep(0)
        return "answered"
    except Refusal as refusal:
        return refusal.kind.slug
    finally:
        size.release()


@pytest.mark.parametrize("seed", range(20))
def test_answers_that_compete_are_all_given_sooner_or_later(seed: int) -> None:
    draw = random.Random(seed)

    async def compete() -> tuple[list[str], int]:
        room = AnswersUnderWay(ROOM, LARGEST)
        answers = [
            [draw.randint(1, LARGEST // 12) for _ in range(draw.randint(1, 12))] for _ in range(draw.randint(2, 60))
        ]
        ended = await asyncio.gather(*[_read(room, parts, sending=draw.randint(0, 30)) for parts in answers])
        return ended, room.bytes

    ended, left = asyncio.run(compete())
    assert set(ended) == {"answered"}
    assert left == 0


def test_what_finds_no_room_in_time_is_refused_and_leaves_nothing_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answer_size, "WAITING_SECONDS", 0.05)

    async def compete() -> tuple[list[str], int, str]:
        room = AnswersUnderWay(ROOM, LARGEST)
        stalled = [AnswerSize(LARGEST, room) for _ in range(2)]
        for each in stalled:
            each.take(LARGEST, 1)
            each.complete()
        refused = await asyncio.gather(*[_read(room, [LARGEST]) for _ in range(5)])
        held = room.bytes
        # A reader that has read most of its answer has given that room back.
        stalled[0].sent(LARGEST - 1)
        answered = await _read(room, [LARGEST])
        for each in stalled:
            each.release()
        assert room.bytes == 0
        return refused, held, answered

    refused, held, answered = asyncio.run(compete())
    assert refused == ["overloaded"] * 5
    assert held == 2 * LARGEST
    assert answered == "answered"


def test_an_answer_that_waits_gives_its_place_back_when_its_client_leaves() -> None:
    async def leave() -> str:
        room = AnswersUnderWay(ROOM, LARGEST)
        stalled = [AnswerSize(LARGEST, room) for _ in range(2)]
        for each in stalled:
            each.take(LARGEST, 1)
            each.complete()
        waiting = asyncio.create_task(_read(room, [LARGEST]))
        while len(room._waiting) == 0:
            await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        last = asyncio.create_task(_read(room, [LARGEST]))
        await asyncio.sleep(0)
        stalled[0].release()
        return await last

    assert asyncio.run(leave()) == "answered"


def test_small_answers_take_no_room() -> None:
    room = AnswersUnderWay(ROOM, LARGEST)
    for _ in range(1_000):
        AnswerSize(LARGEST, room).take(SMALL_ANSWER, 1)
    assert room.bytes == 0


def test_what_still_reads_for_a_released_answer_is_refused() -> None:
    room = AnswersUnderWay(ROOM, LARGEST)
    size = AnswerSize(LARGEST, room)
    size.take(LARGEST // 2, 1)
    size.release()
    with pytest.raises(Refusal):
        size.take(LARGEST // 2, 1)
    assert room.bytes == 0
