"""The two pools: which connections they keep, and which they close."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import httpx

from askew_client._async.pool import AsyncPool
from askew_client._sync.pool import Pool
from tests.support.scripted_server import ScriptedServer


def send(pool: Pool, server: ScriptedServer) -> None:
    response = pool.handle_request(request_to(server))
    response.read()
    response.close()


async def send_async(pool: AsyncPool, server: ScriptedServer) -> None:
    response = await pool.handle_async_request(request_to(server))
    await response.aread()
    await response.aclose()


def test_a_connection_that_was_idle_for_too_long_is_closed(server: ScriptedServer) -> None:
    server.answer({})
    pool = Pool(secure=False, idle_seconds=-1)
    with two_in_progress(pool, server):
        pass
    server.wait_until(lambda: server.open_connections == 0)
    pool.close()


def test_the_async_pool_closes_it_too(server: ScriptedServer) -> None:
    server.answer({})

    async def run() -> None:
        pool = AsyncPool(secure=False, idle_seconds=-1)
        await send_two(pool, server)
        await asyncio.to_thread(server.wait_until, lambda: server.open_connections == 0)
        await pool.aclose()

    asyncio.run(run())


def test_a_response_that_is_closed_twice_hands_its_connection_back_once(server: ScriptedServer) -> None:
    server.answer({})
    pool = Pool(secure=False)
    response = pool.handle_request(request_to(server))
    response.read()
    assert isinstance(response.stream, httpx.SyncByteStream)
    response.stream.close()
    # Two requests that shared one connection could not be in progress together.
    with two_in_progress(pool, server):
        assert server.connections == 2
    pool.close()


def test_the_async_pool_takes_it_back_once_too(server: ScriptedServer) -> None:
    server.answer({})

    async def run() -> None:
        pool = AsyncPool(secure=False)
        response = await pool.handle_async_request(request_to(server))
        await response.aread()
        assert isinstance(response.stream, httpx.AsyncByteStream)
        await response.stream.aclose()
        await send_two(pool, server)
        await pool.aclose()

    asyncio.run(run())
    assert server.connections == 2


def request_to(server: ScriptedServer) -> httpx.Request:
    return httpx.Request("GET", server.url, headers={"Host": "test"})


@contextmanager
def two_in_progress(pool: Pool, server: ScriptedServer) -> Iterator[None]:
    """Two requests that wait for their answers; they end when the block ends."""

    def send() -> None:
        response = pool.handle_request(request_to(server))
        response.read()
        response.close()

    server.gate.clear()
    with ThreadPoolExecutor(2) as threads:
        sent = [threads.submit(send) for _ in range(2)]
        try:
            server.wait_until(lambda: server.in_progress == 2)
            yield
        finally:
            server.gate.set()
        for each in sent:
            each.result()


async def send_two(pool: AsyncPool, server: ScriptedServer) -> None:
    """Send two requests that are in progress together."""

    async def send() -> None:
        response = await pool.handle_async_request(request_to(server))
        await response.aread()
        await response.aclose()

    server.gate.clear()
    sent = asyncio.gather(send(), send())
    try:
        await asyncio.to_thread(server.wait_until, lambda: server.in_progress == 2)
    finally:
        server.gate.set()
        await sent
