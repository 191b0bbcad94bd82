"""The guard in front of the routes: whose key a request carries, what that key may do, and how often.

A server that never had a key asks for none: it is meant for loopback. From the first key on every call needs one, but
for those that reveal nothing of galleries.
"""

from __future__ import annotations

import ipaddress
import math
import time
from collections.abc import Callable
from datetime import UTC, datetime

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from askew_client.contract.problems import ProblemKind
from askew_server.auth.access import Access
from askew_server.auth.keys import Key, KeyStore
from askew_server.auth.permissions import check_permission
from askew_server.auth.rate_limits import RateLimiter
from askew_server.errors import Refusal
from askew_server.http.context import RequestContext, context_of, request_id_of
from askew_server.http.problems import ProblemAnswer, answer_error, no_such_path
from askew_server.http.routing import RouteMatch
from askew_server.problems import ErrorReport
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
        self._origins = set(settings.cors_origins)
        self._metrics_without_key = settings.metrics_without_key
        self._rates = RateLimiter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        context = context_of(scope)
        try:
            context.access = self._admit(context, scope, Headers(scope=scope))
        except Refusal as refusal:
            answer = answer_error(refusal, scope)
            if refusal.kind is ProblemKind.UNAUTHORISED:
                answer.headers["WWW-Authenticate"] = 'Bearer realm="askew"'
            await answer(scope, receive, send)
            return
        if context.match.route is None:
            await _answer_unmatched(context.match, scope)(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def would_admit(self, scope: Scope) -> bool:
        """Whether a request's key allows it, at whatever rate. For layers that answer before the guard."""
        match = context_of(scope).match
        if not self._keys.guarded or match.rules.permission.scope is None:
            return True
        try:
            key = self._key_of(Headers(scope=scope))
            check_permission(key, match.rules.permission, match.gallery, match.named, self._resolve)
        except Refusal:
            return False
        return True

    def _admit(self, context: RequestContext, scope: Scope, headers: Headers) -> Access:
        """What the sender may see. Raises Refusal (unauthorised, forbidden, rate-limited)."""
        match = context.match
        if not self._keys.guarded:
            self._check_origin(match, scope, headers)
            return Access()
        if match.rules.permission.scope is None or (match.template == "/metrics" and self._metrics_without_key):
            return Access()
        key = self._key_of(headers)
        context.record.key = key.id
        self._check_rate(key)
        return check_permission(key, match.rules.permission, match.gallery, match.named, self._resolve)

    def _key_of(self, headers: Headers) -> Key:
        """The key that a request carries. Raises Refusal (unauthorised)."""
        scheme, _, text = headers.get("authorization", "").partition(" ")
        sent = text.strip() if scheme.lower() == "bearer" else headers.get("api-key", "").strip()
        if not sent:
            raise Refusal(
                ProblemKind.UNAUTHORISED,
                "Expected an API key in the header Authorization (`Bearer ask_…`), got none. "
                "The server's operator makes keys with `askew key create`.",
            )
        key = self._keys.find(sent)
        if key is None:
            raise Refusal(
                ProblemKind.UNAUTHORISED,
                "Expected a key of this server, got one that is unknown or revoked. "
                "The server's operator makes keys with `askew key create`.",
            )
        if key.is_expired(datetime.now(UTC)):
            raise Refusal(ProblemKind.UNAUTHORISED, f"Key {key.id} has expired. Ask the server's operator for another.")
        return key

    def _check_rate(self, key: Key) -> None:
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

    def _check_origin(self, match: RouteMatch, scope: Scope, headers: Headers) -> None:
        """Without keys: refuse the first key from another machine, and changes from another site's page in a browser here."""
        if match.template == "/v1/keys" and scope["method"] == "POST" and not _is_loopback(scope):
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
                f"The request comes from a page of {origin[:80]!r}, not of this server. Add the origin to ASKEW_CORS_ORIGINS to allow it.",
            )


def _answer_unmatched(match: RouteMatch, scope: Scope) -> ProblemAnswer:
    """The answer to a request that no route takes."""
    path, method = scope["path"], scope["method"]
    if not match.allowed:
        return ProblemAnswer(ErrorReport(ProblemKind.UNKNOWN_PATH, no_such_path(path)), request_id_of(scope))
    detail = f"{path[:200]} does not take {method[:20]}. It takes {', '.join(match.allowed)}."
    answer = ProblemAnswer(ErrorReport(ProblemKind.METHOD_NOT_ALLOWED, detail), request_id_of(scope))
    answer.headers["Allow"] = ", ".join(match.allowed)
    return answer


def _is_loopback(scope: Scope) -> bool:
    client = scope.get("client")
    try:
        return client is not None and ipaddress.ip_address(client[0]).is_loopback
    except ValueError:
        return False
