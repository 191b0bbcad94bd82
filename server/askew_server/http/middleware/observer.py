"""What is noticed of each request: one record, from which come its metrics, its log line, its trace and Server-Timing."""

from __future__ import annotations

import logging
import re
import secrets
import time
from collections.abc import Callable, Sequence

import structlog
from fastapi.routing import APIRoute
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.routing import BaseRoute, Mount
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from askew_server.observability.metrics import NO_NAME, Metrics
from askew_server.observability.request_record import RequestRecord
from askew_server.observability.tracing import Tracing

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_QUIET = {"/healthz", "/livez", "/readyz", "/metrics"}


class Observer:
    """An ASGI app around everything: it begins the record of a request and, when that is answered, tells of it."""

    def __init__(self, app: ASGIApp, metrics: Metrics, tracing: Tracing | None, *, slow_seconds: float) -> None:
        self._app = app
        self._metrics = metrics
        self._tracing = tracing
        self._slow_seconds = slow_seconds
        self._log = logging.getLogger("askew.requests")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        call = RequestRecord(_request_id(headers), scope["method"])
        span = None if self._tracing is None else self._tracing.begin(call, headers)
        known = {"request_id": call.request_id} | ({} if call.trace_id is None else {"trace_id": call.trace_id})

        async def counted_receive() -> Message:
            message = await receive()
            call.bytes_in += len(message.get("body", b""))
            return message

        async def counted_send(message: Message) -> None:
            if message["type"] == "http.response.start":
                call.status = message["status"]
                MutableHeaders(scope=message).append("Server-Timing", call.timing(time.perf_counter()))
            call.bytes_out += len(message.get("body", b""))
            await send(message)

        scope = {**scope, "askew_call": call, "askew_request_id": call.request_id}
        self._metrics.request_began()
        with structlog.contextvars.bound_contextvars(**known):
            try:
                await self._app(scope, counted_receive, counted_send)
            finally:
                call.ended = time.perf_counter()
                self._tell(call)
                if self._tracing is not None and span is not None:
                    self._tracing.end(span, call)

    def _tell(self, call: RequestRecord) -> None:
        seconds = call.ended - call.began
        gallery = call.gallery or NO_NAME
        self._metrics.request_ended(call.method, call.route, call.status, seconds)
        if call.problem is not None:
            self._metrics.refused(gallery, call.problem, call.key)
        if call.searches:
            outcome = call.problem or ("ok" if call.status < 400 else "client-has-gone")
            self._metrics.search_ended(gallery, outcome, ((name, end - begin) for name, begin, end in call.stages))
        is_slow = seconds >= self._slow_seconds
        level = self._level(call, is_slow)
        if self._log.isEnabledFor(level):
            self._log.log(level, "request", extra=_fields(call, seconds, is_slow))

    def _level(self, call: RequestRecord, is_slow: bool) -> int:
        if call.status >= 500 and call.problem != "not-ready":
            return logging.ERROR
        if is_slow:
            return logging.WARNING
        return logging.DEBUG if call.route in _QUIET else logging.INFO


class RouteNoted:
    """An ASGI app around guard and routes: it notes which route took the request, or would have, and of which gallery it is.

    `gallery_of` turns the gallery of a path, or None where it names none, into the name of one that exists, or None.
    """

    def __init__(
        self, app: ASGIApp, routes: Sequence[BaseRoute], gallery_of: Callable[[str | None], str | None]
    ) -> None:
        self._app = app
        self._routes = [route for route in routes if isinstance(route, APIRoute)]
        self._gallery_of = gallery_of

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        try:
            await self._app(scope, receive, send)
        finally:
            call = scope.get("askew_call")
            if isinstance(call, RequestRecord):
                self._note(call, scope)

    def _note(self, call: RequestRecord, scope: Scope) -> None:
        route, parameters = scope.get("route"), scope.get("path_params", {})
        if route is None:
            route, parameters = self._refused_route(scope["method"], scope["path"])
        if isinstance(route, Mount):
            call.route = route.path_format
        if not isinstance(route, APIRoute):
            return
        call.route = route.path_format
        is_search = "search" in route.tags or route.path_format.endswith("/similar")
        call.searches = is_search and scope["method"] in (route.methods or ())
        named = parameters.get("gallery")
        if named is not None or call.searches:
            call.gallery = self._gallery_of(named)

    def _refused_route(self, method: str, path: str) -> tuple[APIRoute | None, dict[str, str]]:
        """The route of a request that got no further than the guard, and the parameters of its path."""
        for route in self._routes:
            found = route.path_regex.match(path)
            if found is not None and method in (route.methods or ()):
                return route, found.groupdict()
        return None, {}


def _request_id(headers: Headers) -> str:
    """The client's own request id where it is a plain one."""
    given = headers.get("x-request-id", "")
    return given if _REQUEST_ID.fullmatch(given) else secrets.token_hex(8)


def call_of(request: Request) -> RequestRecord:
    """The record of a request."""
    call = request.scope["askew_call"]
    assert isinstance(call, RequestRecord)
    return call


def _fields(call: RequestRecord, seconds: float, is_slow: bool) -> dict[str, object]:
    fields: dict[str, object] = {
        "method": call.method[:20],
        "route": call.route,
        "gallery": call.gallery,
        "status": call.status,
        "milliseconds": round(1000 * seconds, 2),
        "bytes_in": call.bytes_in,
        "bytes_out": call.bytes_out,
        "key": call.key,
        "problem": call.problem,
        "slow": is_slow or None,
        "stages": {name: round(1000 * (ended - began), 2) for name, began, ended in call.stages} or None,
    }
    return {name: value for name, value in fields.items() if value is not None}
