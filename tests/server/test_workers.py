"""Tasks in child processes, each within its limits: what one uses, breaks or holds up costs no other its answer."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import CancelledError, Future
from contextlib import closing
from typing import NoReturn

import psutil
import pytest

from askew_server.processes import (
    ChildLost,
    ChildStopped,
    LimitExceeded,
    Limits,
    Say,
    bounded_address_space,
    run_in_child,
)
from askew_server.workers import Workers
from tests.support.waiting import DEADLINE, in_thread, wait_until

pytestmark = pytest.mark.slow

MEGABYTE = 1_000_000


def _number(_: Say, number: int) -> tuple[int, int]:
    return number, os.getpid()


def _spin(say: Say, seconds: float) -> str:
    say(os.getpid())
    until = time.process_time() + seconds
    while time.process_time() < until:
        pass
    return "spun"


def _sleep(say: Say, seconds: float) -> str:
    say(os.getpid())
    time.sleep(seconds)
    return "slept"


def _grow(_: Say, megabytes: int) -> int:
    held = [os.urandom(MEGABYTE) for _ in range(megabytes)]
    time.sleep(2)
    return len(held)


def _spin_in_a_child_of_its_own(_: Say) -> None:
    if os.fork() == 0:
        while True:
            pass
    time.sleep(1_000)


def _say_often(say: Say, times: int) -> str:
    for number in range(times):
        say(number)
        _spin(say, 0.3)
    return "said"


def _length(_: Say, content: bytes) -> int:
    return len(content)


def _die(_: Say, signal_number: int) -> None:
    os.kill(os.getpid(), signal_number)


def _raise(_: Say) -> None:
    raise FileNotFoundError(2, "No such file", "gone.jpg")


def _allocate(_: Say, megabytes: int) -> str:
    with bounded_address_space(200 * MEGABYTE):
        try:
            bytearray(megabytes * MEGABYTE)
        except MemoryError:
            return "refused"
    # Outside of the block there is no limit.
    bytearray(1_000 * MEGABYTE)
    return "allocated"


@pytest.fixture
def workers() -> Iterator[Workers]:
    with closing(Workers("test")) as made:
        yield made


def _ignore(_: object) -> None:
    pass


UNLIMITED = Limits()


@pytest.mark.parametrize(
    ("work", "argument", "limits", "words"),
    [
        (_spin, 1_000, Limits(processor_seconds=0.5), "more than 0.5 s of processor time"),
        (_sleep, 1_000, Limits(seconds=0.5), "more than 0.5 s"),
        (_grow, 600, Limits(memory_bytes=200 * MEGABYTE), "more than 200 MB of memory"),
    ],
)
def test_a_task_beyond_a_limit_is_ended_and_the_next_one_is_done(
    workers: Workers, work: object, argument: int, limits: Limits, words: str
) -> None:
    beyond: Future[object] = workers.submit(work, limits, "", 2, _ignore, argument)  # type: ignore[arg-type]
    waiting = workers.submit(_number, UNLIMITED, "", 1, _ignore, 7)
    with pytest.raises(LimitExceeded, match=words):
        beyond.result(DEADLINE)
    assert waiting.result(DEADLINE)[0] == 7


def test_what_a_task_starts_counts_and_ends_with_it() -> None:
    before = set(psutil.Process().children(recursive=True))
    with pytest.raises(LimitExceeded, match="processor time"):
        run_in_child(_spin_in_a_child_of_its_own, _ignore, lambda: False, Limits(processor_seconds=1))
    wait_until(lambda: not set(psutil.Process().children(recursive=True)) - before, "the children to end")


def test_the_limits_are_for_each_task_and_not_for_all_of_them(workers: Workers) -> None:
    limits = Limits(processor_seconds=1)
    done = [workers.submit(_spin, limits, "", 1, _ignore, 0.3) for _ in range(8)]
    assert [each.result(DEADLINE) for each in done] == ["spun"] * 8


def test_the_limits_may_be_for_each_message(workers: Workers) -> None:
    limits = Limits(processor_seconds=1, for_each_message=True)
    assert workers.submit(_say_often, limits, "", 1, _ignore, 8).result(DEADLINE) == "said"


def test_a_task_whose_child_dies_is_tried_as_often_as_it_may_be(workers: Workers) -> None:
    with pytest.raises(ChildLost, match="ended by signal 9"):
        workers.submit(_die, UNLIMITED, "", 2, _ignore, signal.SIGKILL).result(DEADLINE)
    heard: list[int] = []
    again = workers.submit(_sleep, UNLIMITED, "", 2, heard.append, 1.5)
    wait_until(lambda: len(heard) == 1, "the task to begin")
    os.kill(heard[0], signal.SIGKILL)
    assert again.result(DEADLINE) == "slept"
    assert len(set(heard)) == 2


def test_what_the_work_raises_is_raised_and_its_child_lives_on(workers: Workers) -> None:
    before = workers.submit(_number, UNLIMITED, "", 1, _ignore, 1).result(DEADLINE)
    with pytest.raises(FileNotFoundError, match=r"gone\.jpg"):
        workers.submit(_raise, UNLIMITED, "", 1, _ignore).result(DEADLINE)
    assert workers.submit(_number, UNLIMITED, "", 1, _ignore, 2).result(DEADLINE)[1] == before[1]


def test_a_cancelled_task_is_ended_and_one_that_waits_is_dropped(workers: Workers) -> None:
    heard: list[int] = []
    running = workers.submit(_spin, UNLIMITED, "", 2, heard.append, 1_000)
    waiting = workers.submit(_spin, UNLIMITED, "", 2, heard.append, 1_000)
    wait_until(lambda: len(heard) == 1, "the first task to begin")
    assert waiting.cancel()
    assert running.cancel()
    with pytest.raises(CancelledError):
        running.result(DEADLINE)
    assert workers.submit(_number, UNLIMITED, "", 1, _ignore, 7).result(DEADLINE)[0] == 7
    assert len(heard) == 1
    wait_until(lambda: not psutil.pid_exists(heard[0]), "its child to end")


def test_behind_a_long_task_another_child_takes_over_and_no_group_holds_all() -> None:
    heard: list[int] = []
    with closing(Workers("test", most=3)) as workers:
        for _ in range(4):
            workers.submit(_sleep, UNLIMITED, "slow", 1, heard.append, 1_000)
        wait_until(lambda: len(heard) == 2, "two children to take the slow tasks")
        for number in range(3):
            assert workers.submit(_number, UNLIMITED, "other", 1, _ignore, number).result(DEADLINE)[0] == number
        assert len(heard) == 2
    wait_until(lambda: not any(map(psutil.pid_exists, heard)), "the children to end")


def test_one_task_after_another_is_done_by_one_child() -> None:
    with closing(Workers("test", most=3)) as workers:
        done = [workers.submit(_number, UNLIMITED, str(n), 1, _ignore, n).result(DEADLINE) for n in range(50)]
        assert [number for number, _ in done] == list(range(50))
        assert len({child for _, child in done}) == 1


@pytest.mark.parametrize("error", [OSError(12, "no memory"), RuntimeError("can't start new thread"), MemoryError()])
def test_a_child_or_thread_that_cannot_be_started_costs_one_task(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> NoReturn:
        raise error

    with closing(Workers("test", most=2)) as workers:
        with monkeypatch.context() as broken:
            broken.setattr("askew_server.workers.Child", fail)
            with pytest.raises(type(error)):
                workers.submit(_number, UNLIMITED, "", 1, _ignore, 1).result(DEADLINE)
        assert workers.submit(_number, UNLIMITED, "", 1, _ignore, 2).result(DEADLINE)[0] == 2
    with closing(Workers("test", most=2)) as workers:
        with monkeypatch.context() as broken:
            broken.setattr(threading.Thread, "start", fail)
            with pytest.raises(type(error)):
                workers.submit(_number, UNLIMITED, "", 1, _ignore, 1)
        assert workers.submit(_number, UNLIMITED, "", 1, _ignore, 2).result(DEADLINE)[0] == 2


def test_closing_ends_everything_at_once() -> None:
    workers, begun = Workers("test", most=2), threading.Event()
    running = workers.submit(_spin, UNLIMITED, "", 2, lambda _: begun.set(), 1_000)
    waiting = workers.submit(_spin, UNLIMITED, "", 2, _ignore, 1_000)
    assert begun.wait(DEADLINE)
    in_thread(workers.close).result(DEADLINE)
    for each in (running, waiting):
        with pytest.raises(ChildStopped):
            each.result(DEADLINE)
    with pytest.raises(ChildStopped):
        workers.submit(_number, UNLIMITED, "", 1, _ignore, 1)


@pytest.mark.parametrize("limits", [UNLIMITED, Limits(seconds=0.5)])
def test_a_child_that_reads_no_more_is_ended_with_its_task(limits: Limits) -> None:
    """Stopped, or hanging, it takes no large photo from the connection."""
    with closing(Workers("test")) as workers:
        _, process_id = workers.submit(_number, UNLIMITED, "", 1, _ignore, 1).result(DEADLINE)
        os.kill(process_id, signal.SIGSTOP)
        held_up = workers.submit(_length, limits, "", 1, _ignore, bytes(3 * MEGABYTE))
        if limits == UNLIMITED:
            wait_until(_is_sending, "the photo to be sent")
            in_thread(workers.close).result(DEADLINE)
        with pytest.raises(ChildStopped if limits == UNLIMITED else LimitExceeded):
            held_up.result(DEADLINE)
        assert not psutil.pid_exists(process_id)
        if limits != UNLIMITED:
            large = workers.submit(_length, UNLIMITED, "", 1, _ignore, bytes(3 * MEGABYTE))
            assert large.result(DEADLINE) == 3 * MEGABYTE


def _is_sending() -> bool:
    return any(thread.name == "send-to-child" for thread in threading.enumerate())


def test_the_bound_on_address_space_is_moved_for_each_block_and_taken_away_behind_it(workers: Workers) -> None:
    # On top of the bound, each core's threads may reserve what they do not use.
    too_much = 200 + 160 * (os.cpu_count() or 1)
    for _ in range(2):
        assert workers.submit(_allocate, UNLIMITED, "", 1, _ignore, too_much).result(DEADLINE) == "refused"
        assert workers.submit(_allocate, UNLIMITED, "", 1, _ignore, 100).result(DEADLINE) == "allocated"
