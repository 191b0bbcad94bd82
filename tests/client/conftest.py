"""A scripted server, and each of the two clients to call it with."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from types import TracebackType
from typing import Any, Self, cast

import pytest

from askew_client import AsyncClient, Client
from tests.support.scripted_server import ScriptedServer, scripted_server


class WaitingClient:
    """An AsyncClient that waits for each call: with it, a test of `Client` is a test of `AsyncClient` too."""

    def __init__(self, url: str, **options: Any) -> None:
        self._runner = asyncio.Runner()
        self._client = AsyncClient(url, **options)

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._client, name)

        def call(*arguments: Any, **named: Any) -> Any:
            called = method(*arguments, **named)
            if inspect.isasyncgen(called):
                return iter(self._runner.run(_all(called)))
            return self._runner.run(called)

        return call if callable(method) else method

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._runner.run(self._client.close())
        self._runner.close()


async def _all(items: Any) -> list[Any]:
    return [item async for item in items]


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with scripted_server() as script:
        yield script


@pytest.fixture(params=["Client", "AsyncClient"])
def connect(request: pytest.FixtureRequest) -> Iterator[Callable[..., Client]]:
    """Opens a client, in one run of the test a Client and in the other an AsyncClient. It is closed after the test."""
    with ExitStack() as stack:

        def opened(url: str, **options: Any) -> Client:
            kind = Client if request.param == "Client" else WaitingClient
            return cast(Client, stack.enter_context(kind(url, **options)))

        yield opened


@pytest.fixture
def client(server: ScriptedServer, connect: Callable[..., Client]) -> Client:
    return connect(server.url, timeout=5, key="secret")
