"""Refuses searches of a gallery that has no place left, before anything else is spent on them."""

from __future__ import annotations

import json
from collections.abc import Callable

from starlette.types import ASGIApp, Receive, Scope, Send

from askew_client.contract.problems import MEDIA_TYPE, ProblemKind, problem_of
from askew_server.errors import Refusal
from askew_server.http.context import context_of
from askew_server.http.state import AppState

_DETAIL = "Too many requests wait for this gallery. Try again in a second."
_INSTANCE = b'"@"'


class LoadShedding:
    """An ASGI app around everything but the observer.

    It refuses before the body is looked at: a refusal that costs as much as an answer would delay the others. Only who may
    search the gallery learns that it is full; the guard refuses the others.
    `LiveGallery.search` refuses as well when it has no place, for requests that pass here.
    """

    def __init__(self, app: ASGIApp, state: AppState, may_search: Callable[[Scope], bool]) -> None:
        """`may_search`: whether the guard would admit a request."""
        self._app = app
        self._may_search = may_search
        self._state = state
        problem = problem_of(ProblemKind.OVERLOADED, _DETAIL, {}, "@", state.settings.root_path)
        self._body = problem.model_dump_json().encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse a search that has no place, or pass the request on."""
        if scope["type"] == "http":
            context = context_of(scope)
            if context.match.rules.takes_raw_vector and self._is_full(context.match.gallery, scope):
                context.record.problem = ProblemKind.OVERLOADED.slug
                await self._refuse(context.record.request_id, send)
                return
        await self._app(scope, receive, send)

    def _is_full(self, name: str | None, scope: Scope) -> bool:
        """Whether the gallery has no place. A page of another site gets the whole answer, which its browser needs."""
        try:
            gallery = self._state.gallery(name)
        except Refusal:
            return False
        if not gallery.is_full or any(header == b"origin" for header, _ in scope["headers"]):
            return False
        return self._may_search(scope)

    async def _refuse(self, request_id: str, send: Send) -> None:
        body = self._body.replace(_INSTANCE, json.dumps(request_id).encode())
        headers = [
            (b"content-type", MEDIA_TYPE.encode()),
            (b"content-length", str(len(body)).encode()),
            (b"retry-after", b"1"),
            (b"x-request-id", request_id.encode()),
            (b"x-content-type-options", b"nosniff"),
        ]
        await send({"type": "http.response.start", "status": ProblemKind.OVERLOADED.status, "headers": headers})
        await send({"type": "http.response.body", "body": body})
