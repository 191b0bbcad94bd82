"""AsyncClient where it differs from Client: many calls at once, cancelled calls, event loops. And Client in threads."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from numpy.typing import NDArray

from askew_client import AsyncClient, Client
from askew_client.calls.batches import NewItem
from askew_client.errors import ClientMisused, ServerUnreachable
from askew_client.transport.limits import MAX_CONNECTIONS
from tests.support.scripted_server import ScriptedServer, scripted_server

SPACE = "sp1-" + "0" * 32
VECTOR = np.array([0.6, 0.8, 0, 0], dtype=np.float32)
ANSWER = {"hits": [], "space": SPACE, "gallery": "default", "index": "exact", "exact": True}
MORE_THAN_CONNECTIONS = MAX_CONNECTIONS + 20


async def search(client: AsyncClient, vector: NDArray[np.float32] = VECTOR) -> str:
    return (await client.search(vector, space=SPACE)).gallery


async def many(client: AsyncClient, count: int) -> list[str]:
    return await asyncio.gather(*[search(client) for _ in range(count)])


async def all_connections_are_busy(server: ScriptedServer) -> None:
    await asyncio.to_thread(server.wait_until, lambda: server.in_progress == MAX_CONNECTIONS)


# Many calls at once


@pytest.mark.slow
def test_a_hundred_searches_are_in_progress_at_once_and_the_next_ones_wait(server: ScriptedServer) -> None:
    server.answer(ANSWER)

    async def run() -> None:
        async with AsyncClient(server.url) as client:
            server.gate.clear()
            searches = asyncio.create_task(many(client, MORE_THAN_CONNECTIONS))
            await all_connections_are_busy(server)
            server.gate.set()
            assert await searches == ["default"] * MORE_THAN_CONNECTIONS

    asyncio.run(run())
    assert len(server.requests) == MORE_THAN_CONNECTIONS
    assert server.max_in_progress == server.connections == MAX_CONNECTIONS


@pytest.mark.slow
def test_a_client_in_many_threads_does_the_same(server: ScriptedServer) -> None:
    server.answer(ANSWER)
    server.gate.clear()
    with Client(server.url) as client, ThreadPoolExecutor(MORE_THAN_CONNECTIONS) as pool:
        searches = [pool.submit(client.search, VECTOR, space=SPACE) for _ in range(MORE_THAN_CONNECTIONS)]
        server.wait_until(lambda: server.in_progress == MAX_CONNECTIONS)
        server.gate.set()
        assert [each.result().gallery for each in searches] == ["default"] * MORE_THAN_CONNECTIONS
    assert server.max_in_progress == MAX_CONNECTIONS


def test_a_connection_is_used_again(server: ScriptedServer) -> None:
    server.answer(ANSWER)

    async def run() -> None:
        async with AsyncClient(server.url) as client:
            for _ in range(3):
                await search(client)

    asyncio.run(run())
    assert server.connections == 1


@pytest.mark.slow
def test_threads_share_connections(server: ScriptedServer) -> None:
    server.answer(ANSWER)
    with Client(server.url) as client, ThreadPoolExecutor(16) as pool:
        found = list(pool.map(lambda _: client.search(VECTOR, space=SPACE).gallery, range(200)))
    assert found == ["default"] * 200
    assert server.connections <= 16


def test_an_idle_connection_that_the_server_closed_is_replaced() -> None:
    with scripted_server() as server, Client(server.url) as client:
        server.answer(ANSWER, connection="close")
        client.search(VECTOR, space=SPACE)
        client.search(VECTOR, space=SPACE)
        assert server.connections == 2
    with pytest.raises(ServerUnreachable, match="No server answers"), Client(server.url, retries=0) as client:
        client.galleries()


# Cancelled calls


@pytest.mark.slow
def test_cancelled_searches_leave_the_client_usable(server: ScriptedServer) -> None:
    server.answer(ANSWER)

    async def run() -> None:
        async with AsyncClient(server.url) as client:
            server.gate.clear()
            # More than there are connections: searches that wait for their turn are cancelled too.
            tasks = [asyncio.create_task(search(client)) for _ in range(MORE_THAN_CONNECTIONS)]
            await all_connections_are_busy(server)
            for task in tasks:
                task.cancel()
            ended = await asyncio.gather(*tasks, return_exceptions=True)
            assert {type(each) for each in ended} == {asyncio.CancelledError}
            server.gate.set()
            assert await many(client, MORE_THAN_CONNECTIONS) == ["default"] * MORE_THAN_CONNECTIONS

    asyncio.run(run())


def test_a_timeout_of_the_caller_ends_a_search(server: ScriptedServer) -> None:
    server.answer(ANSWER)

    async def run() -> None:
        async with AsyncClient(server.url, timeout=600) as client:
            server.gate.clear()
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.1):
                    await search(client)
            server.gate.set()
            assert await search(client) == "default"

    asyncio.run(run())


# Items from an asynchronous iterator


def test_items_may_come_from_an_asynchronous_iterator(server: ScriptedServer) -> None:
    server.answer({"upserted": 2, "sequence": 2})
    items: list[NewItem] = [("a", VECTOR, {}), ("b", VECTOR, {})]

    async def produced(given: list[NewItem]) -> AsyncIterator[NewItem]:
        for each in given:
            await asyncio.sleep(0)
            yield each

    async def run() -> None:
        async with AsyncClient(server.url) as client:
            for source in (produced(items), iter(items)):
                assert (await client.upsert_items(source, gallery="demo", space=SPACE)).upserted == 2
            with pytest.raises(ValueError, match="at least one item"):
                await client.upsert_items(produced([]), gallery="demo", space=SPACE)

    asyncio.run(run())
    first, second = server.requests
    assert first.body == second.body


# Event loops


def test_another_event_loop_is_refused(server: ScriptedServer) -> None:
    server.answer(ANSWER, connection="close")
    client = AsyncClient(server.url)
    assert asyncio.run(search(client)) == "default"
    with pytest.raises(ClientMisused, match=r"another event loop.*async with AsyncClient"):
        asyncio.run(search(client))


def test_without_an_event_loop_the_error_says_what_to_do(server: ScriptedServer) -> None:
    call = search(AsyncClient(server.url))
    with pytest.raises(ClientMisused, match=r"no loop is running.*use Client"):
        call.send(None)
    with pytest.raises(TypeError, match="context manager"), AsyncClient(server.url):  # type: ignore[attr-defined]
        pass


def test_client_works_inside_an_event_loop(server: ScriptedServer) -> None:
    server.answer(ANSWER)

    async def run() -> str:
        with Client(server.url) as client:
            return client.search(VECTOR, space=SPACE).gallery

    assert asyncio.run(run()) == "default"


# Closed clients


def test_a_closed_client_refuses_calls(server: ScriptedServer) -> None:
    server.answer(ANSWER)
    with Client(server.url) as client:
        client.search(VECTOR, space=SPACE)
    with pytest.raises(ClientMisused, match="is closed"):
        client.search(VECTOR, space=SPACE)
    client.close()


def test_a_closed_async_client_refuses_calls(server: ScriptedServer) -> None:
    server.answer(ANSWER)

    async def run() -> None:
        async with AsyncClient(server.url) as client:
            await search(client)
        with pytest.raises(ClientMisused, match="is closed"):
            await search(client)
        await client.close()

    asyncio.run(run())
