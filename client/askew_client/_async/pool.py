"""Connections that are kept for the next request: one httpx transport each.

httpcore's own pool looks at every connection, with a system call for each idle one, and at every waiting request,
whenever a request begins or ends. With 100 connections that costs more than the requests themselves (measured: 4.4 ms
of processor time for each search, instead of 0.6 ms). Here a request takes the connection that was used last and hands
it back.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import AsyncIterator

import httpx

from askew_client._async.blocking import Semaphore
from askew_client.transport.limits import IDLE_SECONDS, MAX_CONNECTIONS, ONE_CONNECTION


class AsyncPool(httpx.AsyncBaseTransport):
    """Up to MAX_CONNECTIONS requests at once, in one event loop; the next ones wait for their turn."""

    def __init__(self, *, secure: bool, idle_seconds: float = IDLE_SECONDS) -> None:
        """`secure`: whether to verify certificates. `idle_seconds`: a connection that was idle for longer is closed."""
        self._idle_seconds = idle_seconds
        # Reading the trusted certificates takes 10 ms: done once, and only where TLS needs them.
        self._context = httpx.create_ssl_context(verify=secure)
        self._turns = Semaphore(MAX_CONNECTIONS)
        # The operations of a deque are atomic, so that the threads of a Client need no lock.
        self._idle: deque[tuple[float, httpx.AsyncHTTPTransport]] = deque()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request over a free connection, which returns to the pool when the response is closed."""
        await self._turns.acquire()
        transport = self._take()
        try:
            response = await transport.handle_async_request(request)
        except BaseException:
            await self.hand_back(transport)
            raise
        assert isinstance(response.stream, httpx.AsyncByteStream)
        response.stream = _PooledStream(response.stream, self, transport)
        return response

    async def hand_back(self, transport: httpx.AsyncHTTPTransport) -> None:
        """Take a connection back for the next request, and close the oldest one if it was idle for too long."""
        now = time.monotonic()
        self._idle.append((now, transport))
        self._turns.release()
        try:
            oldest = self._idle.popleft()
        except IndexError:
            return
        if now - oldest[0] > self._idle_seconds:
            await oldest[1].aclose()
        else:
            self._idle.appendleft(oldest)

    async def aclose(self) -> None:
        """Close the connections that no request uses."""
        while self._idle:
            await self._idle.pop()[1].aclose()

    def _take(self) -> httpx.AsyncHTTPTransport:
        try:
            return self._idle.pop()[1]
        except IndexError:
            return httpx.AsyncHTTPTransport(verify=self._context, limits=ONE_CONNECTION)


class _PooledStream(httpx.AsyncByteStream):
    """The body of a response; hands the connection back once, when it is closed."""

    def __init__(self, stream: httpx.AsyncByteStream, pool: AsyncPool, transport: httpx.AsyncHTTPTransport) -> None:
        self._stream = stream
        self._pool: AsyncPool | None = pool
        self._transport = transport

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._stream.__aiter__()

    async def aclose(self) -> None:
        pool, self._pool = self._pool, None
        if pool is not None:
            try:
                await self._stream.aclose()
            finally:
                await pool.hand_back(self._transport)
