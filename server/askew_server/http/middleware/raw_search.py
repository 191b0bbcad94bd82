"""`POST …/search` with a raw vector: the smallest and most frequent request, answered before the framework's routing.

FastAPI's routes take JSON and everything else. Both forms share what they do (searching.py) and how they answer
(search_json.py); this one spares a request two thirds of the time that Python takes for it.
"""

from __future__ import annotations

import time

from pydantic import ValidationError
from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp, Receive, Scope, Send

from askew_client.contract.wire import unpack
from askew_client.errors import AskewError
from askew_server.http.problems import problem_of_error
from askew_server.http.search_answer import answer_json
from askew_server.http.search_query import found, options_of
from askew_server.http.state import Service
from askew_server.observability.request_record import RequestRecord

ROUTES = ("/search", "/v1/galleries/{gallery}/search")
"""The default gallery's, and a named one's."""
_BEFORE, _BEHIND = "/v1/galleries/", "/search"
_JSON = (b"content-type", b"application/json")
_WANTED = {b"content-type", b"askew-space", b"askew-dtype", b"askew-encoder"}


class RawSearch:
    """An ASGI app around the routes."""

    def __init__(self, app: ASGIApp, service: Service) -> None:
        self._app = app
        self._service = service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or pass it on."""
        if scope["type"] == "http" and scope["method"] == "POST":
            is_search, name = gallery_of_search(scope["path"])
            headers = {name: value for name, value in scope["headers"] if name in _WANTED} if is_search else {}
            if headers.get(b"content-type", b"").partition(b";")[0].strip().lower() == b"application/octet-stream":
                await self._serve(name, headers, scope, receive, send)
                return
        await self._app(scope, receive, send)

    async def _serve(
        self, name: str | None, headers: dict[bytes, bytes], scope: Scope, receive: Receive, send: Send
    ) -> None:
        try:
            body = await self._answer(name, headers, scope, receive)
        except (AskewError, ValidationError, OSError) as error:
            request = Request(scope, receive)
            await (await problem_of_error(request, error))(scope, receive, send)
            return
        length = str(len(body)).encode()
        await send({"type": "http.response.start", "status": 200, "headers": [_JSON, (b"content-length", length)]})
        await send({"type": "http.response.body", "body": body})

    async def _answer(self, name: str | None, headers: dict[bytes, bytes], scope: Scope, receive: Receive) -> bytes:
        began = time.perf_counter()
        service = self._service
        owned = service.gallery(name)
        body = await _body(receive)
        options = options_of(scope["query_string"])
        space, dtype, encoder = (
            _text(headers.get(header)) for header in (b"askew-space", b"askew-dtype", b"askew-encoder")
        )
        if space != owned.space:
            await service.check_space(owned, space)
        vector = unpack(body, dtype, owned.dim)
        call = scope["askew_call"]
        assert isinstance(call, RequestRecord)
        call.note("decode", began, time.perf_counter())
        result = await found(service, owned, vector[None], (encoder,), options, call, receive)
        return answer_json(
            result.hits[0],
            options,
            space=owned.space,
            gallery=owned.name,
            encoder=encoder,
            index=result.index,
            exact=result.exact,
        )


def gallery_of_search(path: str) -> tuple[bool, str | None]:
    """Whether this is the path of a search, and the gallery that it names; None for the default one."""
    if not path.endswith(_BEHIND):
        return False, None
    if path == _BEHIND:
        return True, None
    name = path[len(_BEFORE) : -len(_BEHIND)]
    return path.startswith(_BEFORE) and bool(name) and "/" not in name, name


async def _body(receive: Receive) -> bytes:
    message = await receive()
    if message["type"] == "http.request" and not message.get("more_body", False):
        whole: bytes = message.get("body", b"")
        return whole
    parts = []
    while message["type"] == "http.request":
        parts.append(message.get("body", b""))
        if not message.get("more_body", False):
            return b"".join(parts)
        message = await receive()
    raise ClientDisconnect


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode("latin-1")
