"""AsyncClient where it differs from Client: many calls at once, calls that are cancelled, event loops."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator

import numpy as np
import pytest
from numpy.typing import NDArray

from askew_client import AsyncClient, Client
from askew_client._sync.pool import MAX_CONNECTIONS
from askew_client.calls.batches import NewItem
from askew_client.errors import ClientMisused, ServerUnreachable
from tests.support.scripted_server import ScriptedServer

SPACE = "sp1-" + "0" * 32
VECTOR = np.array([0.6, 0.8, 0, 0], dtype=np.float32)
ANSWER = {"hits": [], "space": SPACE, "gallery": "default", "index": "exact", "exact": True}


async def search(client: AsyncClient, vector: NDArray[np.float32] = VECTOR) -> str:
    return (await client.search(vector, space=SPACE)).gallery


def test_a_hundred_searches_at_once(server: ScriptedServer) -> None:
    server.answer(ANSWER)
    server.seconds = 0.3

    async def run() -> float:
        async with AsyncClient(server.url) as client:
            started = time.perf_counter()
            assert set(await asyncio.gather(*[search(client) for _ in range(100)])) == {"default"}
            return time.perf_counter() - started

    took = asyncio.run(run())
    # One after the other they would take 30 s.
    assert took < 10
    assert len(server.requests) == 100


def test_connections_are_used_again_and_bounded(server: ScriptedServer) -> None:
    server.answer(ANSWER)
    server.seconds = 0.05

    async def run() -> None:
        async with AsyncClient(server.url) as client:
            for _ in range(3):
                await search(client)
            assert server.connections == 1
            await asyncio.gather(*[search(client) for _ in range(2 * MAX_CONNECTIONS)])
            assert server.connections <= MAX_CONNECTIONS

    asyncio.run(run())


def test_a_search_that_is_cancelled_leaves_the_client_whole(server: ScriptedServer) -> None:
    server.answer(ANSWER)
    server.seconds = 0.5

    async def run() -> None:
        async with AsyncClient(server.url) as client:
            # More than there are connections: those that wait for their turn are cancelled too.
            tasks = [asyncio.create_task(search(client)) for _ in range(MAX_CONNECTIONS + 20)]
            await asyncio.sleep(0.1)
            for task in tasks:
                task.cancel()
            assert {type(each) for each in await asyncio.gather(*tasks, return_exceptions=True)} == {
                asyncio.CancelledError
            }
            server.seconds = 0
            assert (
                len(await asyncio.gather(*[search(client) for _ in range(MAX_CONNECTIONS + 20)]))
                == MAX_CONNECTIONS + 20
            )

    asyncio.run(run())


def test_a_time_limit_of_the_callers_ends_a_search(server: ScriptedServer) -> None:
    server.answer(ANSWER)
    server.seconds = 1

    async def run() -> None:
        async with AsyncClient(server.url) as client:
            started = time.perf_counter()
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.2):
                    await search(client)
            assert time.perf_counter() - started < 0.8

    asyncio.run(run())


def test_items_are_sent_as_they_come(server: ScriptedServer) -> None:
    server.answer({"upserted": 2, "sequence": 2})

    async def made() -> AsyncIterator[NewItem]:
        for name in ("a", "b"):
            await asyncio.sleep(0)
            yield name, VECTOR, {}

    async def run() -> None:
        async with AsyncClient(server.url) as client:
            for items in (made(), iter([("a", VECTOR, {}), ("b", VECTOR, {})])):
                assert (await client.upsert_items(items, gallery="demo", space=SPACE)).upserted == 2

            async def none() -> AsyncIterator[NewItem]:
                for each in ():
                    yield each

            with pytest.raises(ValueError, match="at least one item"):
                await client.upsert_items(none(), gallery="demo", space=SPACE)

    asyncio.run(run())
    assert server.requests[0].body == server.requests[1].body


def test_another_event_loop_is_refused(server: ScriptedServer) -> None:
    server.answer(ANSWER, connection="close")
    client = AsyncClient(server.url)
    assert asyncio.run(search(client)) == "default"
    with pytest.raises(ClientMisused, match=r"another event loop.*async with AsyncClient"):
        asyncio.run(search(client))


def test_without_an_event_loop_there_is_a_sentence(server: ScriptedServer) -> None:
    call = search(AsyncClient(server.url))
    with pytest.raises(ClientMisused, match=r"none runs here.*use Client"):
        call.send(None)
    with pytest.raises(TypeError, match="context manager"), AsyncClient(server.url):  # type: ignore[attr-defined]
        pass


def test_the_other_client_may_be_used_inside_of_a_loop(server: ScriptedServer) -> None:
    server.answer(ANSWER)

    async def run() -> str:
        with Client(server.url) as client:
            return client.search(VECTOR, space=SPACE).gallery

    assert asyncio.run(run()) == "default"


def test_a_closed_client_says_so(server: ScriptedServer) -> None:
    server.answer(ANSWER)
    with Client(server.url) as client:
        client.search(VECTOR, space=SPACE)
    with pytest.raises(ClientMisused, match="is closed"):
        client.search(VECTOR, space=SPACE)
    client.close()

    async def run() -> None:
        async with AsyncClient(server.url) as opened:
            await search(opened)
        with pytest.raises(ClientMisused, match="is closed"):
            await search(opened)
        await opened.close()

    asyncio.run(run())


def test_a_client_of_many_threads(server: ScriptedServer) -> None:
    from concurrent.futures import ThreadPoolExecutor

    server.answer(ANSWER)
    server.seconds = 0.02
    with Client(server.url) as client, ThreadPoolExecutor(16) as pool:
        found = list(pool.map(lambda _: client.search(VECTOR, space=SPACE).gallery, range(200)))
    assert found == ["default"] * 200
    assert server.connections <= 16


def test_an_idle_connection_that_the_server_closed_is_no_error() -> None:
    from tests.support.scripted_server import scripted_server

    def twice() -> Iterator[None]:
        with scripted_server() as first, Client(first.url) as client:
            first.answer(ANSWER, connection="close")
            client.search(VECTOR, space=SPACE)
            client.search(VECTOR, space=SPACE)
            assert first.connections == 2
            yield
        with pytest.raises(ServerUnreachable, match=r"is closed|No server answers"):
            Client(first.url, retries=0).galleries()

    list(twice())
