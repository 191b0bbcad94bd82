"""Connections kept for the next request: one httpx transport each.

httpcore's own pool looks at every connection, with a system call for each idle one, and at every waiting request,
whenever a request begins or ends: with 100 of them that costs more than the requests (measured: 4.4 ms of processor time
a search, instead of 0.6 ms). Here a request takes the connection that was used last, and hands it back.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator

import httpx

MAX_CONNECTIONS = 100
_IDLE_SECONDS = 10.0
_ONE = httpx.Limits(max_connections=1, max_keepalive_connections=1)


class Pool(httpx.BaseTransport):
    """Up to MAX_CONNECTIONS requests at once, from as many threads; the next ones wait for their turn."""

    def __init__(self, *, secure: bool) -> None:
        # Trusted certificates take 10 ms to read: once, and only where they are needed.
        self._context = httpx.create_ssl_context(verify=secure)
        self._turns = threading.Semaphore(MAX_CONNECTIONS)
        self._idle: deque[tuple[float, httpx.HTTPTransport]] = deque()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """See httpx.BaseTransport."""
        self._turns.acquire()
        transport = self._take()
        try:
            response = transport.handle_request(request)
        except BaseException:
            self._hand_back(transport)
            raise
        assert isinstance(response.stream, httpx.SyncByteStream)
        response.stream = _Stream(response.stream, lambda: self._hand_back(transport))
        return response

    def close(self) -> None:
        """Close the connections that no request uses."""
        while self._idle:
            self._idle.pop()[1].close()

    def _take(self) -> httpx.HTTPTransport:
        try:
            return self._idle.pop()[1]
        except IndexError:
            return httpx.HTTPTransport(verify=self._context, limits=_ONE)

    def _hand_back(self, transport: httpx.HTTPTransport) -> None:
        now = time.monotonic()
        self._idle.append((now, transport))
        self._turns.release()
        try:
            oldest = self._idle.popleft()
        except IndexError:
            return
        if now - oldest[0] > _IDLE_SECONDS:
            oldest[1].close()
        else:
            self._idle.appendleft(oldest)


class AsyncPool(httpx.AsyncBaseTransport):
    """As Pool, for the requests of one event loop."""

    def __init__(self, *, secure: bool) -> None:
        self._context = httpx.create_ssl_context(verify=secure)
        self._turns = asyncio.Semaphore(MAX_CONNECTIONS)
        self._idle: deque[tuple[float, httpx.AsyncHTTPTransport]] = deque()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """See httpx.AsyncBaseTransport."""
        await self._turns.acquire()
        transport = self._take()
        try:
            await self._close_oldest()
            response = await transport.handle_async_request(request)
        except BaseException:
            self._hand_back(transport)
            raise
        assert isinstance(response.stream, httpx.AsyncByteStream)
        response.stream = _AsyncStream(response.stream, lambda: self._hand_back(transport))
        return response

    async def aclose(self) -> None:
        """Close the connections that no request uses."""
        while self._idle:
            await self._idle.pop()[1].aclose()

    def _take(self) -> httpx.AsyncHTTPTransport:
        if self._idle:
            return self._idle.pop()[1]
        return httpx.AsyncHTTPTransport(verify=self._context, limits=_ONE)

    def _hand_back(self, transport: httpx.AsyncHTTPTransport) -> None:
        self._idle.append((time.monotonic(), transport))
        self._turns.release()

    async def _close_oldest(self) -> None:
        if self._idle and time.monotonic() - self._idle[0][0] > _IDLE_SECONDS:
            await self._idle.popleft()[1].aclose()


class _Stream(httpx.SyncByteStream):
    """The body of an answer; hands the connection back once, when it is closed."""

    def __init__(self, stream: httpx.SyncByteStream, hand_back: Callable[[], None]) -> None:
        self._stream = stream
        self._hand_back: Callable[[], None] | None = hand_back

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._stream)

    def close(self) -> None:
        hand_back, self._hand_back = self._hand_back, None
        if hand_back is not None:
            try:
                self._stream.close()
            finally:
                hand_back()


class _AsyncStream(httpx.AsyncByteStream):
    """As _Stream."""

    def __init__(self, stream: httpx.AsyncByteStream, hand_back: Callable[[], None]) -> None:
        self._stream = stream
        self._hand_back: Callable[[], None] | None = hand_back

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._stream.__aiter__()

    async def aclose(self) -> None:
        hand_back, self._hand_back = self._hand_back, None
        if hand_back is not None:
            try:
                await self._stream.aclose()
            finally:
                hand_back()
