# Generated from _async/pool.py by client/generate_sync.py: change that file, then run `make unasync`.
"""Connections that are kept for the next request: one httpx transport each.

httpcore's own pool looks at every connection, with a system call for each idle one, and at every waiting request,
whenever a request begins or ends. With 100 connections that costs more than the requests themselves (measured: 4.4 ms
of processor time for each search, instead of 0.6 ms). Here a request takes the connection that was used last and hands
it back.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator

import httpx

from askew_client._sync.blocking import Semaphore
from askew_client.transport.limits import IDLE_SECONDS, MAX_CONNECTIONS, ONE_CONNECTION


class Pool(httpx.BaseTransport):
    """Up to MAX_CONNECTIONS requests at once, from as many threads; the next ones wait for their turn."""

    def __init__(self, *, secure: bool, idle_seconds: float = IDLE_SECONDS) -> None:
        """`secure`: whether to verify certificates. `idle_seconds`: a connection that was idle for longer is closed."""
        self._idle_seconds = idle_seconds
        # Reading the trusted certificates takes 10 ms: done once, and only where TLS needs them.
        self._context = httpx.create_ssl_context(verify=secure)
        self._turns = Semaphore(MAX_CONNECTIONS)
        # The operations of a deque are atomic, so that the threads of a Client need no lock.
        self._idle: deque[tuple[float, httpx.HTTPTransport]] = deque()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request over a free connection, which returns to the pool when the response is closed."""
        self._turns.acquire()
        transport = self._take()
        try:
            response = transport.handle_request(request)
        except BaseException:
            self.hand_back(transport)
            raise
        assert isinstance(response.stream, httpx.SyncByteStream)
        response.stream = _PooledStream(response.stream, self, transport)
        return response

    def hand_back(self, transport: httpx.HTTPTransport) -> None:
        """Take a connection back for the next request, and close the oldest one if it was idle for too long."""
        now = time.monotonic()
        self._idle.append((now, transport))
        self._turns.release()
        try:
            oldest = self._idle.popleft()
        except IndexError:
            return
        if now - oldest[0] > self._idle_seconds:
            oldest[1].close()
        else:
            self._idle.appendleft(oldest)

    def close(self) -> None:
        """Close the connections that no request uses."""
        while self._idle:
            self._idle.pop()[1].close()

    def _take(self) -> httpx.HTTPTransport:
        try:
            return self._idle.pop()[1]
        except IndexError:
            return httpx.HTTPTransport(verify=self._context, limits=ONE_CONNECTION)


class _PooledStream(httpx.SyncByteStream):
    """The body of a response; hands the connection back once, when it is closed."""

    def __init__(self, stream: httpx.SyncByteStream, pool: Pool, transport: httpx.HTTPTransport) -> None:
        self._stream = stream
        self._pool: Pool | None = pool
        self._transport = transport

    def __iter__(self) -> Iterator[bytes]:
        return self._stream.__iter__()

    def close(self) -> None:
        pool, self._pool = self._pool, None
        if pool is not None:
            try:
                self._stream.close()
            finally:
                pool.hand_back(self._transport)
