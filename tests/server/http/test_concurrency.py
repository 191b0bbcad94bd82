"""Threads for slow work: places are given back, whatever happens."""

from __future__ import annotations

import asyncio
import threading
from typing import NoReturn

import pytest

from askew_server.errors import Refusal
from askew_server.http.concurrency import SlowWork


def test_a_thread_that_cannot_be_started_costs_no_place(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: threading.Thread) -> NoReturn:
        raise RuntimeError("can't start new thread")

    async def run() -> None:
        pool = SlowWork("test", threads=1, places=1, busy="Busy.")
        with monkeypatch.context() as broken:
            broken.setattr(threading.Thread, "start", fail)
            for _ in range(3):
                with pytest.raises(RuntimeError):
                    await pool.run(lambda _: 1)
        assert await pool.run(lambda _: 2) == 2
        pool.close()

    asyncio.run(run())


def test_one_more_than_there_are_places_is_refused_and_places_come_back() -> None:
    async def run() -> None:
        pool, go = SlowWork("test", threads=1, places=1, busy="Busy."), threading.Event()
        first = asyncio.create_task(pool.run(lambda _: go.wait(60)))
        await asyncio.sleep(0)
        with pytest.raises(Refusal, match="Busy"):
            await pool.run(lambda _: True)
        go.set()
        assert await first
        await asyncio.sleep(0)
        assert await pool.run(lambda _: 3) == 3
        pool.close()

    asyncio.run(run())
