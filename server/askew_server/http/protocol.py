"""Connections within bounds: what uvicorn's own protocol leaves open to whoever sends slowly, endlessly or too much."""

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

MOST_HEADERS = 100
DRAIN_SECONDS = 5.0
"""How long the rest of a body is read and thrown away once the answer is out, so that the answer is seen."""
STALL_SECONDS = 60.0
"""How long a client may leave an answer unread."""
_REFUSAL_SECONDS = 1.0
ABORTED_BEYOND = 256
"""Connections above the bound that still get an answer, which says to come back; the next are dropped."""


def protocol_within(settings: Settings) -> type[asyncio.Protocol]:
    """The protocol for uvicorn with a server's bounds."""

    class Bounded(BoundedProtocol):
        bounds = settings

    return Bounded


class _Refused(Exception):
    """Ends the parsing of a request that is answered by the protocol itself."""


class BoundedProtocol(HttpToolsProtocol):
    """uvicorn's protocol with bounds on headers, on the time they take, on what is left unread, and on connections."""

    bounds: Settings

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
        self._drain_timer: asyncio.TimerHandle | None = None
        self._stall_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > self.bounds.max_connections + ABORTED_BEYOND:
            transport.abort()
            return
        self._header_timer = self.loop.call_later(self.bounds.header_seconds, self._headers_are_late)

    def connection_lost(self, exc: Exception | None) -> None:
        for timer in (self._header_timer, self._drain_timer, self._stall_timer, self.timeout_keep_alive_task):
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
            # What belongs to which message is not told apart; it is one read at most.
            self._other_bytes = 0
        self._refuse_padding()
        if self._message_ended and self.timeout_keep_alive_task is None and not self._answering:
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )

    # What the parser tells

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._messages_begun += 1
        self._message_ended = False
        self._in_headers = True
        self._header_bytes = self._header_count = self._body_bytes = 0
        if self._header_timer is None:
            self._header_timer = self.loop.call_later(self.bounds.header_seconds, self._headers_are_late)

    def on_url(self, url: bytes) -> None:
        self._count_headers(len(url), 0)
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        # Trailers come behind the body, when nobody reads headers any more.
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
        is_one_too_many = len(self.connections) > self.bounds.max_connections
        self.app = self._refuse_connection if is_one_too_many else self.config.loaded_app
        super().on_headers_complete()
        if self.parser.should_upgrade():
            # Nothing is upgraded here; what follows would be in a protocol that nobody speaks.
            self.cycle.keep_alive = False

    def on_body(self, body: bytes) -> None:
        self._body_bytes += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._message_ended = True
        if self._drain_timer is not None:
            self._drain_timer.cancel()
            self._drain_timer = None
        super().on_message_complete()

    # What the answer does

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.transport.is_closing():
            self._abort_if_unread()
        elif not self._message_ended and self._drain_timer is None:
            self._drain_timer = self.loop.call_later(DRAIN_SECONDS, self._close)

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
        """Answer what cannot be parsed, or was refused while it was, with a problem, and close."""
        if self._answering and self.cycle.response_started:
            # The answer to an earlier request is under way; nothing can be put into it.
            self.transport.abort()
            return
        kind, status, detail = self._problem or (ProblemKind.HTTP, 400, f"Expected a request in HTTP/1.1. {msg}")
        self._answer(kind, status, detail)

    # Bounds

    @property
    def _answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _count_headers(self, size: int, count: int) -> None:
        self._header_bytes += size
        self._header_count += count
        most = self.bounds.max_header_bytes
        if self._header_bytes > most:
            self._refuse(
                ProblemKind.HEADERS_TOO_LARGE, 431, f"Expected an address and headers of at most {most} bytes."
            )
        if self._header_count > MOST_HEADERS:
            self._refuse(ProblemKind.HEADERS_TOO_LARGE, 431, f"Expected at most {MOST_HEADERS} headers, got more.")

    def _refuse_padding(self) -> None:
        """Refuse a header without an end, endless chunk extensions and trailers: whatever is not the body itself."""
        most = self.bounds.max_header_bytes
        if self._other_bytes <= 2 * most + self._body_bytes:
            return
        if self._in_headers or not self._answering or not self.cycle.response_started:
            detail = f"Expected an address and headers of at most {most} bytes."
            self._answer(ProblemKind.HEADERS_TOO_LARGE, 431, detail)
        else:
            self.transport.abort()

    def _refuse(self, kind: ProblemKind, status: int, detail: str) -> None:
        self._problem = (kind, status, detail)
        raise _Refused(detail)

    def _headers_are_late(self) -> None:
        self._header_timer = None
        if self._answering:
            self.transport.abort()
        elif self._in_headers:
            seconds = self.bounds.header_seconds
            self._answer(ProblemKind.REQUEST_TIMEOUT, 408, f"Expected the headers within {seconds:g} s.")
        else:
            self._close()

    async def _refuse_connection(self, scope: Any, receive: Any, send: Any) -> None:
        """An ASGI app that answers 429 to any request."""
        # Closing on what was not read resets the connection, and the client would never see why.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_REFUSAL_SECONDS):
                while (await receive()).get("more_body", False):
                    pass
        most = self.bounds.max_connections
        headers, body = _problem(
            ProblemKind.OVERLOADED,
            429,
            f"The server has {most} connections open, as many as it may. Try again in a second.",
        )
        headers.append((b"retry-after", b"1"))
        await send({"type": "http.response.start", "status": 429, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    def _answer(self, kind: ProblemKind, status: int, detail: str) -> None:
        """Write a whole answer without the app, and close."""
        headers, body = _problem(kind, status, detail)
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


def _problem(kind: ProblemKind, status: int, detail: str) -> tuple[list[tuple[bytes, bytes]], bytes]:
    """The headers and the body of a problem that closes the connection."""
    request_id = secrets.token_hex(8)
    problem = problem_of(kind, detail, {}, request_id).model_copy(update={"status": status})
    body = problem.model_dump_json(exclude_none=True).encode()
    headers = [
        (b"content-type", MEDIA_TYPE.encode()),
        (b"content-length", str(len(body)).encode()),
        (b"x-request-id", request_id.encode()),
        (b"connection", b"close"),
    ]
    return headers, body
