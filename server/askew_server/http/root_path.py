"""The path prefix under which a proxy offers the server: taken off requests, and put before the addresses of answers.

A proxy that removes the prefix needs no setting: pages use relative addresses, and so does `Location`. Absolute paths are
only the `type` of problems and the document of the API; their prefix is the setting `root_path`, or what the proxy states
in `X-Forwarded-Prefix`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from urllib.parse import unquote

from starlette.types import ASGIApp, Receive, Scope, Send

from askew_server.http.routing import RouteMatch, decode_path

_SCOPE_KEY = "askew_root_path"
_STATED = re.compile(r"(/[A-Za-z0-9._~-]{1,100}){1,8}")


class RootPath:
    """An ASGI app around all others, where the setting is not empty.

    A request's path is read here, once: all that follows sees it without the prefix.
    """

    def __init__(self, app: ASGIApp, root_path: str, match: Callable[[str, str, bytes], RouteMatch]) -> None:
        """`match`: that of the RouteTable."""
        self._app = app
        self._root_path = root_path
        self._segments = root_path.split("/")[1:]
        self._match = match

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        scope = {**scope, _SCOPE_KEY: self._root_path}
        stripped = self._without_prefix(scope)
        if stripped == b"":
            await _redirect(self._segments[-1], send)
            return
        if stripped is not None:
            inner = {**scope, "raw_path": stripped, "path": unquote(stripped.decode("latin-1"))}
            # A prefix such as /search is also the beginning of paths without it: what no route takes is read as it came.
            if self._is_known(inner) or not self._is_known(scope):
                scope = inner
        await self._app(scope, receive, send)

    def _without_prefix(self, scope: Scope) -> bytes | None:
        """The rest of the raw path, empty if that is the prefix alone; None if the path is not below the prefix."""
        raw: bytes = scope.get("raw_path") or scope["path"].encode()
        segments = raw.split(b"/")[1:]
        count = len(self._segments)
        if [unquote(each.decode("latin-1")) for each in segments[:count]] != self._segments:
            return None
        if len(segments) == count:
            # `POST /search` is that route, whatever the prefix.
            return None if self._is_known(scope) else b""
        return b"/" + b"/".join(segments[count:])

    def _is_known(self, scope: Scope) -> bool:
        match = self._match(scope["method"], decode_path(scope), scope["query_string"])
        return match.route is not None or bool(match.allowed)


def prefix_of(scope: Scope) -> str:
    """The prefix that a request's client sees before the server's paths, such as `/askew`; empty if none is known."""
    root_path = scope.get(_SCOPE_KEY)
    if root_path:
        return str(root_path)
    for name, value in scope.get("headers", ()):
        if name == b"x-forwarded-prefix":
            # Anybody may send it. A path cannot lead to another host, and only who sent it gets the answer.
            stated = value.decode("latin-1").strip().rstrip("/")
            is_plain = _STATED.fullmatch(stated) and not {".", ".."} & set(stated.split("/"))
            return stated if is_plain else ""
    return ""


def relative_to(scope: Scope, path: str) -> str:
    """An address of this server, relative to that of a request, so that it stays below any prefix. `path`: from `/`."""
    raw: bytes = scope.get("raw_path") or scope["path"].encode()
    return "../" * (raw.count(b"/") - 1) + path.lstrip("/")


async def _redirect(segment: str, send: Send) -> None:
    """Lead to the prefix with a slash: the app's relative addresses start there."""
    headers = [(b"location", f"{segment}/".encode()), (b"content-length", b"0")]
    await send({"type": "http.response.start", "status": 308, "headers": headers})
    await send({"type": "http.response.body", "body": b""})
