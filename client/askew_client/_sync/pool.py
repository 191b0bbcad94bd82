# Generated from _async/pool.py by client/generate_sync.py: change that file, then run `make unasync`.
"""Connections that are kept for the next request: one httpx transport each.

httpcore's own pool looks at every connection, with a system call for each idle one, and at every waiting request,
whenever a request begins or ends. With 100 connections that costs more than the requests themselves (measured: 4.4 ms
of processor time for each search, instead of 0.6 ms). Here a request takes the connection that was used last and hands
it back.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path

import httpx

from askew_client._sync.blocking import BACKEND, Semaphore
from askew_client.transport.certificates import tls_context
from askew_client.transport.imports import import_for_requests
from askew_client.transport.limits import IDLE_SECONDS, MAX_CONNECTIONS, ONE_CONNECTION


class _Kept:
    """The connections of one process, and its turns.

    A process that was forked starts with none: what it inherits belongs to its parent, which goes on using it, and a
    lock among it may be held by a thread that only the parent has.
    """

    def __init__(self, parent: _Kept | None = None) -> None:
        """`parent`: what was inherited. It is neither used nor closed, and so is kept from being collected."""
        self.process = os.getpid()
        self.parent = parent
        self.turns = Semaphore(MAX_CONNECTIONS)
        # The operations of a deque are atomic, so that the threads of a Client need no lock.
        self.idle: deque[tuple[float, httpx.HTTPTransport]] = deque()


class Pool(httpx.BaseTransport):
    """Up to MAX_CONNECTIONS requests at once, from as many threads; the next ones wait for their turn.

    After a fork, parent and child each have connections of their own.
    """

    def __init__(
        self,
        *,
        secure: bool,
        ca: str | Path | None = None,
        proxy: httpx.Proxy | None = None,
        idle_seconds: float = IDLE_SECONDS,
    ) -> None:
        """`secure`: whether anything goes over TLS. `ca`: a PEM file of certificates to trust too.

        `idle_seconds`: a connection that was idle for longer is closed. Raises ClientMisused for an unusable `ca`.
        """
        import_for_requests(BACKEND)
        self._idle_seconds = idle_seconds
        self._context = tls_context(verify=secure, ca=ca)
        self._proxy = proxy
        if proxy is not None and proxy.url.scheme == "https":
            proxy.ssl_context = self._context
        self._kept = _Kept()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request over a free connection, which returns to the pool when the response is closed."""
        kept = self._of_this_process()
        kept.turns.acquire()
        transport = self._take(kept)
        try:
            response = transport.handle_request(request)
        except BaseException:
            self.hand_back(transport, kept)
            raise
        assert isinstance(response.stream, httpx.SyncByteStream)
        response.stream = _PooledStream(response.stream, self, transport, kept)
        return response

    def hand_back(self, transport: httpx.HTTPTransport, kept: _Kept) -> None:
        """Take a connection back for the next request, and close the oldest one if it was idle for too long."""
        now = time.monotonic()
        kept.idle.append((now, transport))
        kept.turns.release()
        try:
            oldest = kept.idle.popleft()
        except IndexError:
            return
        if now - oldest[0] > self._idle_seconds:
            oldest[1].close()
        else:
            kept.idle.appendleft(oldest)

    def close(self) -> None:
        """Close the connections of this process that no request uses."""
        idle = self._of_this_process().idle
        while idle:
            idle.pop()[1].close()

    def _of_this_process(self) -> _Kept:
        kept = self._kept
        if kept.process != os.getpid():
            # Two threads that come here together make one each; either is good, and each request hands back to its own.
            kept = self._kept = _Kept(parent=kept)
        return kept

    def _take(self, kept: _Kept) -> httpx.HTTPTransport:
        try:
            return kept.idle.pop()[1]
        except IndexError:
            return httpx.HTTPTransport(verify=self._context, limits=ONE_CONNECTION, proxy=self._proxy)


class _PooledStream(httpx.SyncByteStream):
    """The body of a response; hands the connection back once, when it is closed."""

    def __init__(self, stream: httpx.SyncByteStream, pool: Pool, transport: httpx.HTTPTransport, kept: _Kept) -> None:
        self._stream = stream
        self._pool: Pool | None = pool
        self._transport = transport
        self._kept = kept

    def __iter__(self) -> Iterator[bytes]:
        return self._stream.__iter__()

    def close(self) -> None:
        pool, self._pool = self._pool, None
        # In a forked process, an answer that the parent was receiving stays the parent's.
        if pool is not None and self._kept.process == os.getpid():
            try:
                self._stream.close()
            finally:
                pool.hand_back(self._transport, self._kept)
