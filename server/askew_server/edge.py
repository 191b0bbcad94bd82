"""The outermost layer: request ids, the bound on bodies, and ids in paths."""

from __future__ import annotations

import logging
import re
import secrets
from urllib.parse import unquote

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from askew_client.contract.problems import ProblemKind
from askew_server.answers import problem_answer
from askew_server.errors import Refusal
from askew_server.settings import Settings

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_KEPT = re.compile(rb"%2[Ff]|%25")


class Edge:
    """An ASGI app around the app.

    Item ids may contain slashes, which travel as `%2F`: paths are decoded except for `%2F` and `%25`, so that an id
    stays one segment until its route decodes it.
    """

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app = app
        self._settings = settings
        self._log = logging.getLogger("askew.server")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        request_id = headers.get("x-request-id", "")
        if _REQUEST_ID.fullmatch(request_id) is None:
            request_id = secrets.token_hex(8)
        raw_path = scope.get("raw_path") or scope["path"].encode()
        scope = {**scope, "askew_request_id": request_id, "path": _path_keeping_segments(raw_path)}
        limit = self._body_limit(scope)

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).append("X-Request-Id", request_id)
                MutableHeaders(scope=message).append("X-Content-Type-Options", "nosniff")
            await send(message)

        try:
            if _stated_length(headers) > limit:
                answer = problem_answer(ProblemKind.PAYLOAD_TOO_LARGE, _too_large(limit), {"limit": limit}, request_id)
                # The body is not read, so the connection cannot serve another request.
                answer.headers["Connection"] = "close"
                await answer(scope, receive, send_with_headers)
            else:
                await self._app(scope, _bounded(receive, limit), send_with_headers)
        # What nobody foresaw: Starlette has answered it (see answers.py) and raises it for whoever keeps the log.
        except Exception:  # noqa: BLE001
            self._log.exception("request %s failed", request_id)

    def _body_limit(self, scope: Scope) -> int:
        is_encoder = scope["path"].startswith("/v1/galleries/") and (
            scope["path"].endswith("/encoders") or scope["path"].count("/") == 3
        )
        return self._settings.max_encoder_bytes if is_encoder else self._settings.max_body_bytes


def _bounded(receive: Receive, limit: int) -> Receive:
    received = 0

    async def bounded_receive() -> Message:
        nonlocal received
        message = await receive()
        received += len(message.get("body", b""))
        if received > limit:
            raise Refusal(ProblemKind.PAYLOAD_TOO_LARGE, _too_large(limit), {"limit": limit})
        return message

    return bounded_receive


def _too_large(limit: int) -> str:
    return f"Expected a body of at most {limit} bytes, got more. Send it in several requests, or shrink it."


def _stated_length(headers: Headers) -> int:
    stated = headers.get("content-length", "0")
    return int(stated) if stated.isdecimal() else 0


def _path_keeping_segments(raw_path: bytes) -> str:
    parts = _KEPT.split(raw_path)
    kept = [*_KEPT.findall(raw_path), b""]
    return "".join(unquote(part.decode("latin-1")) + escape.decode() for part, escape in zip(parts, kept, strict=True))
