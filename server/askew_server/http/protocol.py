"""HTTP connections with limits against clients that send slowly, endlessly or too much, which uvicorn does not limit.

This subclasses uvicorn's HTTP protocol and uses attributes that uvicorn does not document. server/pyproject.toml pins
uvicorn's minor version for that reason, and tests/server/http/test_protocol.py lists the attributes.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from typing import Any

from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol
from uvicorn.server import ServerState

from askew_client.contract.problems import MEDIA_TYPE, ProblemKind, problem_of
from askew_server.settings import Settings

MAX_HEADERS = 100
MAX_REFUSED_CONNECTIONS = 256
"""Connections beyond `max_connections` that still get an answer, 429; further ones are dropped."""
DISCARD_SECONDS = 5.0
"""How long the rest of a body is read and discarded after the answer: closing at once could lose the answer."""
STALL_SECONDS = 60.0
"""How long a client may leave an answer unread."""
_REFUSAL_SECONDS = 1.0
"""How long the body of a request is read that is refused because of too many connections."""


def protocol_with_limits(settings: Settings, connections: int) -> type[asyncio.Protocol]:
    """The protocol class for uvicorn, with a server's limits. `connections`: how many it accepts."""

    class Limited(LimitedProtocol):
        limits = settings
        max_connections = connections

    return Limited


class _Refused(Exception):
    """Stops the parsing of a request that the protocol itself answers."""


class LimitedProtocol(HttpToolsProtocol):
    """uvicorn's protocol with limits on headers, the time they take, unread answers, and connections."""

    limits: Settings
    max_connections: int

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._problem: tuple[ProblemKind, int, str] | None = None
        self._in_headers = False
        self._messages_begun = 0
        self._message_ended = True
        self._header_bytes = 0
        self._header_count = 0
        self._body_bytes = 0
        self._other_bytes = 0
        self._header_timer: asyncio.TimerHandle | None = None
        self._discard_timer: asyncio.TimerHandle | None = None
        self._stall_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > self.max_connections + MAX_REFUSED_CONNECTIONS:
            transport.abort()
            return
        self._header_timer = self.loop.call_later(self.limits.header_seconds, self._end_waiting_for_headers)

    def connection_lost(self, exc: Exception | None) -> None:
        for timer in (self._header_timer, self._discard_timer, self._stall_timer, self.timeout_keep_alive_task):
            if timer is not None:
                timer.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        was_idle, body_before = self._message_ended, self._body_bytes
        self._messages_begun = 0
        super().data_received(data)
        if self.transport.is_closing():
            return
        if self._messages_begun == 0:
            self._other_bytes += len(data) - (self._body_bytes - body_before)
        elif self._messages_begun == 1 and was_idle:
            self._other_bytes = len(data) - self._body_bytes
        else:
            # Which bytes belong to which message is not known here. It is one read at most.
            self._other_bytes = 0
        self._check_padding()
        if self._message_ended and self.timeout_keep_alive_task is None and not self._answering:
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )

    # Called by the parser

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._messages_begun += 1
        self._message_ended = False
        self._in_headers = True
        self._header_bytes = self._header_count = self._body_bytes = 0
        if self._header_timer is None:
            self._header_timer = self.loop.call_later(self.limits.header_seconds, self._end_waiting_for_headers)

    def on_url(self, url: bytes) -> None:
        self._count_headers(len(url), 0)
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        # Trailers come after the body. The application must not take one for a header.
        if self._in_headers:
            self._count_headers(len(name) + len(value), 1)
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._in_headers = False
        if self._header_timer is not None:
            self._header_timer.cancel()
            self._header_timer = None
        version = self.parser.get_http_version()
        if version not in {"1.0", "1.1"}:
            self._refuse(ProblemKind.HTTP, 505, f"Expected HTTP/1.0 or HTTP/1.1, got {version}.")
        is_refused = len(self.connections) > self.max_connections
        self.app = self._refuse_connection if is_refused else self.config.loaded_app
        super().on_headers_complete()
        if self.parser.should_upgrade():
            # No upgrade is supported, so what follows is not HTTP and cannot be read.
            self.cycle.keep_alive = False

    def on_body(self, body: bytes) -> None:
        self._body_bytes += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._message_ended = True
        if self._discard_timer is not None:
            self._discard_timer.cancel()
            self._discard_timer = None
        super().on_message_complete()

    # Called by uvicorn's side of the answer

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.transport.is_closing():
            self._abort_if_unread()
        elif not self._message_ended and self._discard_timer is None:
            self._discard_timer = self.loop.call_later(DISCARD_SECONDS, self._close)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._abort_if_unread()

    def resume_writing(self) -> None:
        if self._stall_timer is not None and not self.transport.is_closing():
            self._stall_timer.cancel()
            self._stall_timer = None
        super().resume_writing()

    def timeout_keep_alive_handler(self) -> None:
        self._close()

    def send_400_response(self, msg: str) -> None:
        """Answer a request that cannot be parsed, or was refused during parsing, with a problem, and close."""
        if self._answering and self.cycle.response_started:
            # The answer to an earlier request has begun; another answer cannot be put into it.
            self.transport.abort()
            return
        kind, status, detail = self._problem or (ProblemKind.HTTP, 400, f"Expected an HTTP/1.1 request. {msg}")
        self._answer(kind, status, detail)

    # Limits

    @property
    def _answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _count_headers(self, size: int, count: int) -> None:
        self._header_bytes += size
        self._header_count += count
        limit = self.limits.max_header_bytes
        if self._header_bytes > limit:
            self._refuse(ProblemKind.HEADERS_TOO_LARGE, 431, _too_large(limit))
        if self._header_count > MAX_HEADERS:
            self._refuse(
                ProblemKind.HEADERS_TOO_LARGE, 431, f"Expected at most {MAX_HEADERS} headers, got more. Send fewer."
            )

    def _check_padding(self) -> None:
        """Refuse endless bytes that are not the body: a header without an end, chunk extensions, trailers."""
        limit = self.limits.max_header_bytes
        if self._other_bytes <= 2 * limit + self._body_bytes:
            return
        if self._in_headers or not self._answering or not self.cycle.response_started:
            self._answer(ProblemKind.HEADERS_TOO_LARGE, 431, _too_large(limit))
        else:
            self.transport.abort()

    def _refuse(self, kind: ProblemKind, status: int, detail: str) -> None:
        self._problem = (kind, status, detail)
        raise _Refused(detail)

    def _end_waiting_for_headers(self) -> None:
        self._header_timer = None
        if self._answering:
            self.transport.abort()
        elif self._in_headers:
            seconds = self.limits.header_seconds
            self._answer(
                ProblemKind.REQUEST_TIMEOUT, 408, f"Expected the headers within {seconds:g} s. Send the request again."
            )
        else:
            self._close()

    async def _refuse_connection(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer a request with 429, as an ASGI app."""
        # Closing a connection with unread bytes resets it, and the client does not see the answer.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_REFUSAL_SECONDS):
                while (await receive()).get("more_body", False):
                    pass
        limit = self.max_connections
        headers, body = _problem(
            self.limits,
            ProblemKind.OVERLOADED,
            429,
            f"The server has {limit} connections open, which is its limit. Try again in a second.",
        )
        headers.append((b"retry-after", b"1"))
        await send({"type": "http.response.start", "status": 429, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    def _answer(self, kind: ProblemKind, status: int, detail: str) -> None:
        """Write a whole answer without the application, and close."""
        headers, body = _problem(self.limits, kind, status, detail)
        lines = b"".join(name + b": " + value + b"\r\n" for name, value in headers)
        self.transport.write(STATUS_LINE[status] + lines + b"\r\n" + body)
        self._close()

    def _close(self) -> None:
        if not self.transport.is_closing():
            self.transport.close()
        self._abort_if_unread()

    def _abort_if_unread(self) -> None:
        if self._stall_timer is None:
            self._stall_timer = self.loop.call_later(STALL_SECONDS, self.transport.abort)


def _too_large(limit: int) -> str:
    return f"Expected a URL and headers of at most {limit} bytes together, got more. Send fewer or shorter headers."


def _problem(
    settings: Settings, kind: ProblemKind, status: int, detail: str
) -> tuple[list[tuple[bytes, bytes]], bytes]:
    """The headers and the body of a problem after which the connection is closed."""
    request_id = secrets.token_hex(8)
    problem = problem_of(kind, detail, {}, request_id, settings.root_path).model_copy(update={"status": status})
    body = problem.model_dump_json(exclude_none=True).encode()
    headers = [
        (b"content-type", MEDIA_TYPE.encode()),
        (b"content-length", str(len(body)).encode()),
        (b"x-request-id", request_id.encode()),
        (b"connection", b"close"),
    ]
    return headers, body
