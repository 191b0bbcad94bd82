"""The guard in front of the routes: whose key it is, what that key may do, and how often.

A server that never had a key asks for none: it is meant for loopback. From the first key on every call needs one,
but for what tells nothing of galleries (see permissions.py).
"""

from __future__ import annotations

import ipaddress
import math
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated

from fastapi import Depends
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from askew_client.contract.keys import Scope as KeyScope
from askew_client.contract.problems import ProblemKind
from askew_server.auth.access import Access
from askew_server.auth.keys import Key, KeyStore
from askew_server.auth.permissions import Need, Permissions, gallery_of
from askew_server.auth.rate_limits import Rates
from askew_server.errors import Refusal
from askew_server.http.problems import problem_answer
from askew_server.observability.request_record import RequestRecord
from askew_server.settings import Settings

_SAFE = {"GET", "HEAD", "OPTIONS"}


class Guard:
    """An ASGI app around the routes.

    `resolve` turns an alias into its gallery's name and leaves a name as it is.
    """

    def __init__(self, app: ASGIApp, keys: KeyStore, settings: Settings, resolve: Callable[[str], str]) -> None:
        self._app = app
        self._keys = keys
        self._resolve = resolve
        self._default_gallery = settings.default_gallery
        self._origins = set(settings.cors_origins)
        self._metrics_without_key = settings.metrics_without_key
        self._permissions = Permissions()
        self._rates = Rates()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            scope["askew_access"] = self._admit(scope, Headers(scope=scope))
        except Refusal as refusal:
            answer = problem_answer(
                refusal.kind,
                str(refusal),
                refusal.extras,
                scope.get("askew_request_id"),
                retry_after=refusal.retry_after,
            )
            if refusal.kind is ProblemKind.UNAUTHORISED:
                answer.headers["WWW-Authenticate"] = 'Bearer realm="askew"'
            await answer(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _admit(self, scope: Scope, headers: Headers) -> Access:
        """What the sender may see. Raises Refusal (unauthorised, forbidden, rate-limited)."""
        if not self._keys.guarded:
            self._refuse_strangers(scope, headers)
            return Access()
        path = scope["path"]
        need = self._permissions.need(scope["method"], path)
        if need == "open" or (path == "/metrics" and self._metrics_without_key):
            return Access()
        key = self._key_of(headers)
        call = scope.get("askew_call")
        if isinstance(call, RequestRecord):
            call.key = key.id
        self._refuse_haste(key)
        _refuse_scope(key, need)
        return self._access(key, path, need)

    def _key_of(self, headers: Headers) -> Key:
        """The key that a request carries. Raises Refusal (unauthorised)."""
        scheme, _, text = headers.get("authorization", "").partition(" ")
        sent = text.strip() if scheme.lower() == "bearer" else headers.get("api-key", "").strip()
        if not sent:
            raise Refusal(
                ProblemKind.UNAUTHORISED,
                "Expected an API key in the header Authorization (`Bearer ask_…`), got none. "
                "Whoever runs this server makes them with `askew key create`.",
            )
        key = self._keys.find(sent)
        if key is None:
            raise Refusal(
                ProblemKind.UNAUTHORISED,
                "Expected a key of this server, got one that it does not know; perhaps it was revoked. "
                "Whoever runs this server makes them with `askew key create`.",
            )
        if key.is_expired(datetime.now(UTC)):
            raise Refusal(
                ProblemKind.UNAUTHORISED, f"Key {key.id} has expired. Ask whoever runs this server for another."
            )
        return key

    def _access(self, key: Key, path: str, need: Need) -> Access:
        """The galleries of a key. Raises Refusal (forbidden) where the path leads beyond them."""
        if key.galleries is None:
            return Access()
        access = Access(frozenset(self._resolve(name) for name in key.galleries))
        if self._permissions.is_of_one_gallery(path):
            gallery = self._resolve(gallery_of(path) or self._default_gallery)
            if not access.sees(gallery):
                raise Refusal(
                    ProblemKind.FORBIDDEN,
                    f"Key {key.id} is limited to {', '.join(key.galleries)}; this call is about gallery {gallery[:80]!r}.",
                    {"galleries": list(key.galleries)},
                )
        elif need == "admin":
            raise Refusal(
                ProblemKind.FORBIDDEN,
                f"Key {key.id} is limited to {', '.join(key.galleries)}; this call is about more than these. "
                "It takes an admin key without limits.",
                {"galleries": list(key.galleries)},
            )
        return access

    def _refuse_haste(self, key: Key) -> None:
        if key.requests_per_second is None:
            return
        wait = self._rates.take(key.id, key.requests_per_second, time.monotonic())
        if wait > 0:
            raise Refusal(
                ProblemKind.RATE_LIMITED,
                f"Key {key.id} may send {key.requests_per_second:g} requests a second, and sent more. "
                f"Try again in {math.ceil(wait)} s.",
                {"requests_per_second": key.requests_per_second},
                retry_after=math.ceil(wait),
            )

    def _refuse_strangers(self, scope: Scope, headers: Headers) -> None:
        """Without keys: no first key from another machine, and no change from another site's page in a browser here."""
        if scope["path"] == "/v1/keys" and scope["method"] == "POST" and not _is_loopback(scope):
            raise Refusal(
                ProblemKind.FORBIDDEN,
                "The first key is made on the server's own machine: `askew key create` with --data, or --server over "
                "loopback.",
            )
        origin = headers.get("origin")
        if origin is None or scope["method"] in _SAFE or origin in self._origins:
            return
        if origin.partition("://")[2] != headers.get("host"):
            raise Refusal(
                ProblemKind.FORBIDDEN,
                f"A page of {origin[:80]!r} asks, which is not of this server. Name it in ASKEW_CORS_ORIGINS to let it.",
            )


def access_of(request: Request) -> Access:
    """What the sender of this request gets to see."""
    access = request.scope["askew_access"]
    assert isinstance(access, Access)
    return access


async def _access_of(request: Request) -> Access:
    return access_of(request)


InAccess = Annotated[Access, Depends(_access_of)]


def _refuse_scope(key: Key, need: KeyScope | Need) -> None:
    if need == "open" or key.may(need):
        return
    raise Refusal(
        ProblemKind.FORBIDDEN,
        f"This call needs a key with the scope {need}; key {key.id} has {', '.join(key.scopes)}. "
        "Is the path right? If so, use another key.",
        {"required": need, "scopes": list(key.scopes)},
    )


def _is_loopback(scope: Scope) -> bool:
    client = scope.get("client")
    try:
        return client is not None and ipaddress.ip_address(client[0]).is_loopback
    except ValueError:
        return False
