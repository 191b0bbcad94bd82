"""Searches refused while a gallery has as many waiting as it may: at once, since a refusal costs what the others wait for."""

from __future__ import annotations

import json

from starlette.types import ASGIApp, Receive, Scope, Send

from askew_client.contract.problems import MEDIA_TYPE, ProblemKind, problem_of
from askew_server.errors import Refusal
from askew_server.gallery.live import OwnedGallery
from askew_server.http.middleware.raw_search import ROUTES, gallery_of_search
from askew_server.http.state import Service
from askew_server.observability.request_record import RequestRecord

_DETAIL = "Too many requests wait for this gallery. Try again in a second."
_INSTANCE = b'"@"'


class Shedding:
    """An ASGI app around everything but the observer.

    It refuses before key and body are looked at. What it lets through is refused as well when there is no place
    (`OwnedGallery.search`).
    """

    def __init__(self, app: ASGIApp, service: Service) -> None:
        self._app = app
        self._service = service
        problem = problem_of(ProblemKind.OVERLOADED, _DETAIL, {}, "@")
        self._body = problem.model_dump_json().encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse a search that has no place, or pass the request on."""
        if scope["type"] == "http" and scope["method"] == "POST":
            searched, name = gallery_of_search(scope["path"])
            if searched and (owned := self._full(name, scope)) is not None:
                await self._refuse(owned, name, scope, send)
                return
        await self._app(scope, receive, send)

    def _full(self, name: str | None, scope: Scope) -> OwnedGallery | None:
        """The gallery, if it has no place and the request is from no page of another site, whose browser wants more."""
        try:
            owned = self._service.gallery(name)
        except Refusal:
            return None
        if not owned.is_full or any(header == b"origin" for header, _ in scope["headers"]):
            return None
        return owned

    async def _refuse(self, owned: OwnedGallery, name: str | None, scope: Scope, send: Send) -> None:
        call = scope["askew_call"]
        assert isinstance(call, RequestRecord)
        call.route, call.searches = ROUTES[name is not None], True
        call.gallery, call.problem = owned.name, ProblemKind.OVERLOADED.slug
        body = self._body.replace(_INSTANCE, json.dumps(call.request_id).encode())
        headers = [
            (b"content-type", MEDIA_TYPE.encode()),
            (b"content-length", str(len(body)).encode()),
            (b"retry-after", b"1"),
            (b"x-request-id", call.request_id.encode()),
            (b"x-content-type-options", b"nosniff"),
        ]
        await send({"type": "http.response.start", "status": ProblemKind.OVERLOADED.status, "headers": headers})
        await send({"type": "http.response.body", "body": body})
