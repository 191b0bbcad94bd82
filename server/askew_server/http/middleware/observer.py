"""Begins the record of a request, matches its route, and reports it when it is answered: metrics, log line, trace."""

from __future__ import annotations

import logging
import random
import re
import time
from collections.abc import Callable

import structlog
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from askew_server.auth.access import Access
from askew_server.http.context import RequestContext
from askew_server.http.routing import RouteTable, decode_path
from askew_server.observability.metrics import NO_NAME, Metrics
from askew_server.observability.request_record import RequestRecord
from askew_server.observability.tracing import Tracing

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_QUIET = {"/healthz", "/livez", "/readyz", "/metrics"}


class Observer:
    """The outermost ASGI app."""

    def __init__(
        self,
        app: ASGIApp,
        routes: RouteTable,
        existing_gallery: Callable[[str], str | None],
        metrics: Metrics,
        tracing: Tracing | None,
        *,
        slow_seconds: float,
    ) -> None:
        """`existing_gallery`: the name of a gallery if there is one of that name, else None."""
        self._app = app
        self._routes = routes
        self._existing_gallery = existing_gallery
        self._metrics = metrics
        self._tracing = tracing
        self._slow_seconds = slow_seconds
        self._log = logging.getLogger("askew.requests")
        # Not `secrets`: an id is no secret, and reading the system's random numbers hands the interpreter to another thread.
        self._random = random.Random()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        received = Headers(scope=scope)
        record = RequestRecord(self._request_id(received), scope["method"])
        path = decode_path(scope)
        match = self._routes.match(record.method, path, scope["query_string"])
        record.route, record.searches = match.template, match.rules.is_search
        span = None if self._tracing is None else self._tracing.begin(record, received)
        known = {"request_id": record.request_id} | ({} if record.trace_id is None else {"trace_id": record.trace_id})

        async def counted_receive() -> Message:
            message = await receive()
            record.bytes_in += len(message.get("body", b""))
            return message

        async def counted_send(message: Message) -> None:
            if message["type"] == "http.response.start":
                record.status = message["status"]
                headers = [*message.get("headers", ()), (b"server-timing", record.timing(time.perf_counter()).encode())]
                if record.index is not None and message["status"] == 200:
                    headers.append((b"askew-index", record.index.encode()))
                message["headers"] = headers
            record.bytes_out += len(message.get("body", b""))
            await send(message)

        scope = {**scope, "path": path, "askew": RequestContext(record, match, Access())}
        self._metrics.request_began()
        with structlog.contextvars.bound_contextvars(**known):
            try:
                await self._app(scope, counted_receive, counted_send)
            finally:
                record.ended = time.perf_counter()
                # Asked at the end: the request may have made the gallery.
                record.gallery = None if match.gallery is None else self._existing_gallery(match.gallery)
                self._report(record)
                if self._tracing is not None and span is not None:
                    self._tracing.end(span, record)

    def _request_id(self, headers: Headers) -> str:
        """The client's own request id where it is a plain one."""
        given = headers.get("x-request-id", "")
        return given if _REQUEST_ID.fullmatch(given) else f"{self._random.getrandbits(64):016x}"

    def _report(self, record: RequestRecord) -> None:
        seconds = record.ended - record.began
        gallery = record.gallery or NO_NAME
        self._metrics.request_ended(record.method, record.route, record.status, seconds)
        if record.problem is not None:
            self._metrics.refused(gallery, record.problem, record.key)
        if record.searches:
            outcome = record.problem or ("ok" if record.status < 400 else "client-has-gone")
            self._metrics.search_ended(gallery, outcome, ((name, end - begin) for name, begin, end in record.stages))
        is_slow = seconds >= self._slow_seconds
        level = _level(record, is_slow)
        if self._log.isEnabledFor(level):
            self._log.log(level, "request", extra=_fields(record, seconds, is_slow))


def _level(record: RequestRecord, is_slow: bool) -> int:
    if record.status >= 500 and record.problem != "not-ready":
        return logging.ERROR
    if is_slow:
        return logging.WARNING
    return logging.DEBUG if record.route in _QUIET else logging.INFO


def _fields(record: RequestRecord, seconds: float, is_slow: bool) -> dict[str, object]:
    fields: dict[str, object] = {
        "method": record.method[:20],
        "route": record.route,
        "gallery": record.gallery,
        "status": record.status,
        "milliseconds": round(1000 * seconds, 2),
        "bytes_in": record.bytes_in,
        "bytes_out": record.bytes_out,
        "key": record.key,
        "problem": record.problem,
        "slow": is_slow or None,
        "stages": {name: round(1000 * (ended - began), 2) for name, began, ended in record.stages} or None,
    }
    return {name: value for name, value in fields.items() if value is not None}
