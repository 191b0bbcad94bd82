"""Limits on every request: the size of its body and its answer, the time it takes, its headers, the characters in its path."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass

from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from askew_client.contract.problems import ProblemKind
from askew_server.errors import Refusal
from askew_server.gallery.answer_size import AnswerSize, AnswersUnderWay
from askew_server.http.context import context_of
from askew_server.http.problems import ProblemAnswer, answer_error
from askew_server.http.receiving.bodies import SNAPSHOT_TYPE
from askew_server.http.routing import BodyKind, RouteMatch, has_control_characters
from askew_server.problems import report_error
from askew_server.settings import Settings

SLOWEST_BYTES_PER_SECOND = 16_384
"""The rate that a sender, and a reader of a large answer, must reach once `receive_seconds` have passed."""
MAX_QUERY_BYTES = 2_000_000
"""The largest search in JSON: 2,048 numbers and a filter are 100 kB."""
MAX_SMALL_BODY_BYTES = 250_000
"""The largest JSON that the framework reads itself, on the event loop: keys, aliases, policies, names."""
MAX_QUOTES = 500_000
MAX_BRACKETS = 250_000
"""The most quotes and brackets in a body, which cost most to parse, beyond what raw vectors contain by chance."""
ADMISSION_SECONDS = 900.0
"""How long the answer to an encoder file may take: the gate describes photos for up to 600 s of processor time."""

_JSON_TYPES = {"application/json", "application/vnd.askew.items"}


class RequestLimits:
    """An ASGI app between load shedding and the guard."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app = app
        self._settings = settings
        self._in_flight = InFlightBytes(settings.max_bodies_bytes)
        self._answers = AnswersUnderWay(settings.max_answers_bytes, settings.max_answer_bytes)
        self._log = logging.getLogger("askew.server")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        context = context_of(scope)
        context.size = AnswerSize(self._settings.max_answer_bytes, self._answers)
        content_type = _content_type(scope)
        bounds = self._bounds(context.match, content_type)
        exchange = _Exchange(
            receive,
            send,
            request_id=context.record.request_id,
            bounds=bounds,
            size=context.size,
            receive_seconds=self._settings.receive_seconds,
            counts_json=content_type in _JSON_TYPES,
        )
        try:
            await self._serve(scope, exchange)
        # The client disconnected before its body had arrived: nobody waits for an answer.
        except ClientDisconnect:
            pass
        # Unforeseen: Starlette has answered it (see problems.py) and raises it again, to be logged here.
        except Exception as error:  # noqa: BLE001
            self._log.exception("request %s failed", exchange.request_id)
            if not exchange.answered:
                report = report_error(error, f"request {exchange.request_id}")
                await ProblemAnswer(report, exchange.request_id)(scope, exchange.receive, exchange.send)
        finally:
            bounds.in_flight.release(exchange.received)
            context.size.release()

    def _bounds(self, match: RouteMatch, content_type: str) -> _Bounds:
        """The limits of one request by what its route declares its body to be."""
        settings = self._settings
        seconds = settings.request_seconds
        match match.rules.body:
            case BodyKind.ENCODER:
                admission = max(ADMISSION_SECONDS, settings.check_seconds + 60)
                return _Bounds(settings.max_encoder_bytes, admission, self._in_flight)
            # These are written to the disk as they arrive, so they do not count as memory.
            case BodyKind.JOB_PHOTOS:
                return _Bounds(settings.max_job_bytes, seconds, InFlightBytes(settings.max_job_bytes))
            case BodyKind.SNAPSHOT if content_type == SNAPSHOT_TYPE:
                return _Bounds(settings.max_snapshot_bytes, seconds, InFlightBytes(settings.max_snapshot_bytes))
            case BodyKind.QUERY:
                return _Bounds(min(MAX_QUERY_BYTES, settings.max_body_bytes), seconds, self._in_flight)
        if match.route is not None and match.route.body_field is not None:
            return _Bounds(min(MAX_SMALL_BODY_BYTES, settings.max_body_bytes), seconds, self._in_flight)
        return _Bounds(settings.max_body_bytes, seconds, self._in_flight)

    async def _serve(self, scope: Scope, exchange: _Exchange) -> None:
        try:
            _check_path(scope["path"])
            _check_headers(scope, exchange.bounds.bytes)
            async with asyncio.timeout(exchange.bounds.seconds) as deadline:
                exchange.deadline = deadline
                await self._app(scope, exchange.receive, exchange.send)
            return
        except Refusal as refusal:
            refused = refusal
        except TimeoutError:
            if not deadline.expired():
                raise
            if exchange.answered:
                self._log.warning("request %s: the client read its large answer too slowly", exchange.request_id)
                return
            refused = Refusal(
                ProblemKind.TOO_SLOW,
                f"The server did not answer within {exchange.bounds.seconds:g} s and gave up; a write may still have "
                "succeeded. Try again later, or ask for less at once.",
                retry_after=5,
            )
        await answer_error(refused, scope)(scope, exchange.receive, exchange.send)


class InFlightBytes:
    """Counts the bytes of all bodies that are being received or processed."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._bytes = 0

    def take(self, count: int) -> bool:
        """Count bytes that arrived; False when they exceed the limit."""
        self._bytes += count
        return self._bytes <= self._limit

    def release(self, count: int) -> None:
        """Forget bytes of a request that was answered."""
        self._bytes -= count


@dataclass(frozen=True)
class _Bounds:
    """The limits of one request: `bytes` of body, `seconds` from its end to the answer. `in_flight` counts the bytes."""

    bytes: int
    seconds: float
    in_flight: InFlightBytes


class _Exchange:
    """One request and its answer, within bounds.

    `size`: of the answer. `receive_seconds`: for the body to arrive, and for a large answer to be read, on top of what it
    takes at the slowest rate. `counts_json`: whether the
    body holds JSON, in which a megabyte can cost seconds to parse.
    """

    def __init__(
        self,
        receive: Receive,
        send: Send,
        *,
        request_id: str,
        bounds: _Bounds,
        size: AnswerSize,
        receive_seconds: float,
        counts_json: bool,
    ) -> None:
        self._receive = receive
        self._send = send
        self.request_id = request_id
        self.bounds = bounds
        self._size = size
        self._receive_seconds = receive_seconds
        self.deadline: asyncio.Timeout | None = None
        self.received = 0
        self.answered = False
        self._counts_json = counts_json
        self._quotes = self._brackets = 0
        self._is_late = False
        self._is_whole = False
        self._began_to_answer = 0.0
        self._sent = 0
        self._clock = asyncio.get_running_loop()
        self._began = self._clock.time()

    async def receive(self) -> Message:
        """The next part of the body. Raises Refusal (request-timeout, payload-too-large, overloaded)."""
        if self._is_whole:
            # The body is complete: this call waits for the client to disconnect.
            return await self._receive()
        self._answer_by(None)
        try:
            async with asyncio.timeout_at(
                self._began + self._receive_seconds + self.received / SLOWEST_BYTES_PER_SECOND
            ):
                message = await self._receive()
        except TimeoutError:
            self._is_late = True
            raise Refusal(
                ProblemKind.REQUEST_TIMEOUT,
                f"Expected the body within {self._receive_seconds:g} s (and a second more for each "
                f"{SLOWEST_BYTES_PER_SECOND} bytes), but {self.received} bytes arrived. Send it again, faster.",
            ) from None
        finally:
            self._answer_by(self._clock.time() + self.bounds.seconds)
        self._count(message.get("body", b""))
        self._is_whole = not message.get("more_body", False)
        return message

    async def send(self, message: Message) -> None:
        """Pass on a part of the answer."""
        if message["type"] == "http.response.start":
            self.answered = True
            # From here on the connection bounds how long the client may read nothing (protocol.py).
            self._answer_by(None)
            self._size.complete()
            self._began_to_answer = self._clock.time()
            headers = [
                *message.get("headers", ()),
                (b"x-request-id", self.request_id.encode()),
                (b"x-content-type-options", b"nosniff"),
            ]
            if self._is_late:
                headers.append((b"connection", b"close"))
            message["headers"] = headers
        await self._send(message)
        if self._size.held:
            # A large answer also takes room, so it must be read at a rate. That of its parts which are read is free again.
            count = len(message.get("body", b""))
            self._sent += count
            self._size.sent(count)
            if self.deadline is not None and not self.deadline.expired():
                seconds = self._receive_seconds + self._sent / SLOWEST_BYTES_PER_SECOND
                self.deadline.reschedule(self._began_to_answer + seconds if message.get("more_body", True) else None)

    def _count(self, part: bytes) -> None:
        self.received += len(part)
        has_room = self.bounds.in_flight.take(len(part))
        if self.received > self.bounds.bytes:
            raise _too_large(self.bounds.bytes)
        if not has_room:
            raise Refusal(
                ProblemKind.OVERLOADED,
                "The bodies of all requests together are at the server's limit. Try again in a second.",
                retry_after=1,
            )
        if self._counts_json:
            self._quotes += part.count(b'"')
            self._brackets += part.count(b"[") + part.count(b"{")
            by_chance = self.received // 64
            if self._quotes > MAX_QUOTES + by_chance or self._brackets > MAX_BRACKETS + by_chance:
                raise Refusal(
                    ProblemKind.VALIDATION,
                    f"Expected JSON of at most {MAX_QUOTES // 2} keys and strings and {MAX_BRACKETS} lists and objects, "
                    "got more. Send it in several requests.",
                )

    def _answer_by(self, moment: float | None) -> None:
        if self.deadline is not None and not self.deadline.expired():
            self.deadline.reschedule(None if self.answered else moment)


def with_cors(app: ASGIApp, settings: Settings) -> ASGIApp:
    """Let pages of the configured origins call the app from browsers. Without any, browsers allow none but its own."""
    if not settings.cors_origins:
        return app
    return CORSMiddleware(
        app,
        allow_origins=settings.cors_origins,
        allow_methods=["GET", "HEAD", "POST", "PUT", "DELETE"],
        allow_headers=[
            "Authorization", "api-key", "Askew-Space", "Askew-Dtype", "Askew-Encoder", "If-None-Match", "Range",
            "traceparent", "X-Request-Id",
        ],
        expose_headers=[
            "Askew-Index", "Content-Range", "ETag", "Location", "Retry-After", "Server-Timing", "WWW-Authenticate", "X-Request-Id",
        ],
    )  # fmt: skip


def _check_path(path: str) -> None:
    """Refuse control characters: guards, routers and file systems disagree about them. Raises Refusal (http)."""
    if has_control_characters(path):
        raise Refusal(
            ProblemKind.HTTP,
            f"Expected a path without control characters, got {path[:200]!r}. No name in a path can hold one; leave it out.",
        )


def _check_headers(scope: Scope, limit: int) -> None:
    """Refuse what can be refused before the body. Raises Refusal (http, unsupported-media, payload-too-large)."""
    hosts = 0
    encoding, stated = None, None
    for name, value in scope["headers"]:
        if name == b"host":
            hosts += 1
        elif name == b"content-encoding" and encoding is None:
            encoding = value.decode("latin-1")
        elif name == b"content-length" and stated is None:
            stated = value.decode("latin-1")
    if hosts > 1 or (hosts == 0 and scope["http_version"] == "1.1"):
        raise Refusal(ProblemKind.HTTP, f"Expected one header Host, got {hosts}.")
    if encoding is not None and encoding.lower() != "identity":
        raise Refusal(
            ProblemKind.UNSUPPORTED_MEDIA,
            f"Expected an uncompressed body, got Content-Encoding {encoding[:40]!r}. Send it uncompressed.",
            {"received": encoding[:40]},
        )
    if stated is not None and stated.isdecimal() and int(stated[:20]) > limit:
        raise _too_large(limit)


def _too_large(limit: int) -> Refusal:
    return Refusal(
        ProblemKind.PAYLOAD_TOO_LARGE,
        f"Expected a body of at most {limit} bytes, got more. Send it in several requests, or shrink it.",
        {"limit": limit},
    )


def _content_type(scope: Scope) -> str:
    for name, value in scope["headers"]:
        if name == b"content-type":
            text: str = value.decode("latin-1")
            return text.partition(";")[0].strip().lower()
    return ""
