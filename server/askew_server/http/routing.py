"""Match each request's method and path to its route, once.

Each route declares which key it needs, what its body may be and whether it is a search, with one of the decorators
`open_to_all`, `of_one_gallery`, `filtered_by_key` and `beyond_one_gallery`. `RouteTable` matches a request once. Load
shedding, limits, guard, raw search, observer and the framework's router all use that match, so that no two of them can
treat one request as two different calls.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from functools import lru_cache
from typing import Any, TypeVar
from urllib.parse import parse_qsl, unquote

from fastapi import APIRouter
from fastapi.routing import APIRoute
from starlette.routing import Match
from starlette.types import Scope

from askew_client.contract.keys import Scope as KeyScope
from askew_server.auth.permissions import OPEN, UNDECLARED, Permission, Reach

NO_ROUTE = "(none)"
_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")

_KEPT = re.compile(rb"%2[Ff]|%25")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_RULES = "askew_rules"

Endpoint = TypeVar("Endpoint", bound=Callable[..., Any])


class BodyKind(Enum):
    """The kind of body, which decides how large it may be and how long the answer may take; see middleware/limits.py."""

    PLAIN = "plain"
    QUERY = "query"
    ENCODER = "encoder"
    JOB_PHOTOS = "job photos"
    SNAPSHOT = "snapshot"


@dataclass(frozen=True)
class RouteRules:
    """The declarations of a route.

    `is_search`: it is counted and traced as a search. `takes_raw_vector`: it is `POST …/search`, which is refused before
    anything is read while its gallery is full, and answered before the framework is involved if the vector is raw.
    """

    permission: Permission
    body: BodyKind = BodyKind.PLAIN
    is_search: bool = False
    takes_raw_vector: bool = False


def open_to_all(endpoint: Endpoint) -> Endpoint:
    """Declare a route that reveals nothing about any gallery; it needs no key."""
    return _declare(endpoint, RouteRules(OPEN))


def of_one_gallery(
    scope: KeyScope, *, body: BodyKind = BodyKind.PLAIN, is_search: bool = False, takes_raw_vector: bool = False
) -> Callable[[Endpoint], Endpoint]:
    """Declare a route about the gallery that its path or its query names, or the default one, and about no other."""
    rules = RouteRules(Permission(scope, Reach.ONE_GALLERY), body, is_search, takes_raw_vector)
    return lambda endpoint: _declare(endpoint, rules)


def filtered_by_key(scope: KeyScope) -> Callable[[Endpoint], Endpoint]:
    """Declare a route whose answer holds only what the key may see; its endpoint takes `InAccess`."""
    return lambda endpoint: _declare(endpoint, RouteRules(Permission(scope, Reach.FILTERED)))


def beyond_one_gallery(scope: KeyScope, *, body: BodyKind = BodyKind.PLAIN) -> Callable[[Endpoint], Endpoint]:
    """Declare a route about the whole server, or one whose body names another gallery. Limited keys are refused."""
    return lambda endpoint: _declare(endpoint, RouteRules(Permission(scope, Reach.BEYOND), body))


def _declare(endpoint: Endpoint, rules: RouteRules) -> Endpoint:
    endpoint.__dict__[_RULES] = rules
    return endpoint


def rules_of(route: APIRoute) -> RouteRules:
    """The rules that a route declares. Raises TypeError if it declares none."""
    rules = getattr(route.endpoint, _RULES, None)
    if not isinstance(rules, RouteRules):
        raise TypeError(
            f"The route {route.path} declares no rules. Decorate {route.endpoint.__name__} with open_to_all, "
            "of_one_gallery, filtered_by_key or beyond_one_gallery (askew_server/http/routing.py)."
        )
    return rules


@dataclass(frozen=True, slots=True)
class RouteMatch:
    """The route that a request was matched to.

    `route`: None if no route matches. `template`: its path, for metrics and logs. `parameters`: as in the path.
    `gallery`: the name of the gallery that the call is about, aliases resolved; None if it is about none. `named`: what
    the request calls it; None if it names none. `allowed`: the methods of the path if the request has another one.
    """

    route: APIRoute | None = None
    template: str = NO_ROUTE
    rules: RouteRules = RouteRules(UNDECLARED)
    parameters: Mapping[str, str] = field(default_factory=dict)
    gallery: str | None = None
    named: str | None = None
    allowed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Pattern:
    """A route's path in segments. `literals`: the segments that are not parameters, by position. `rest`: the name of the
    last parameter if it takes all remaining segments.
    """

    route: APIRoute
    rules: RouteRules
    length: int
    literals: tuple[tuple[int, str], ...]
    names: tuple[tuple[int, str], ...]
    rest: str | None

    def parameters(self, segments: list[str]) -> dict[str, str] | None:
        """The path's parameters; None if the path is another one."""
        for place, literal in self.literals:
            if segments[place] != literal:
                return None
        found = {name: segments[place] for place, name in self.names}
        if not all(found.values()):
            return None
        if self.rest is not None:
            found[self.rest] = "/".join(segments[self.length :])
        return found


class RouteTable:
    """All routes of a server, and their rules."""

    def __init__(self, routes: Iterable[APIRoute], resolve: Callable[[str], str], default_gallery: str) -> None:
        """`resolve`: turns an alias into the name of its gallery. Raises TypeError for a route without rules."""
        self._resolve = resolve
        self._default_gallery = default_gallery
        self._exact: dict[tuple[str, int], list[_Pattern]] = {}
        self._open_ended: list[tuple[str, _Pattern]] = []
        for route in routes:
            pattern = _pattern_of(route)
            for method in sorted(route.methods or ()):
                if pattern.rest is None:
                    self._exact.setdefault((method, pattern.length), []).append(pattern)
                else:
                    self._open_ended.append((method, pattern))

    def match(self, method: str, path: str, query: bytes) -> RouteMatch:
        """Match a request, in the order in which the routes were registered. `path`: from `decode_path`."""
        segments = path.split("/")[1:]
        found = self._find(method, segments)
        if found is None:
            allowed = tuple(each for each in _METHODS if self._find(each, segments) is not None)
            # HEAD on a path with only GET needs the same key as GET, so that it reveals no more.
            read = self._find("GET", segments) if method == "HEAD" else None
            return RouteMatch(allowed=allowed) if read is None else RouteMatch(rules=read[0].rules, allowed=allowed)
        pattern, parameters = found
        named = self._named(pattern.rules.permission.reach, parameters, query)
        is_about_one = named is not None or pattern.rules.permission.reach is Reach.ONE_GALLERY
        return RouteMatch(
            route=pattern.route,
            template=pattern.route.path_format,
            rules=pattern.rules,
            parameters=parameters,
            gallery=self._resolve(named or self._default_gallery) if is_about_one else None,
            named=named,
        )

    def _find(self, method: str, segments: list[str]) -> tuple[_Pattern, dict[str, str]] | None:
        for pattern in self._exact.get((method, len(segments)), ()):
            parameters = pattern.parameters(segments)
            if parameters is not None:
                return pattern, parameters
        for each, pattern in self._open_ended:
            if each == method and len(segments) > pattern.length:
                parameters = pattern.parameters(segments)
                if parameters is not None:
                    return pattern, parameters
        return None

    def _named(self, reach: Reach, parameters: Mapping[str, str], query: bytes) -> str | None:
        """What the request calls the gallery that it is about; None if it names none."""
        named = parameters.get("gallery")
        if named is None and reach is Reach.ONE_GALLERY and query:
            named = _gallery_in_query(query)
        return named or None


class MatchedRoute(APIRoute):
    """A route that the framework's router uses if the request was matched to it; it does no matching itself."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """See starlette.routing.BaseRoute."""
        context = scope.get("askew")
        match = getattr(context, "match", None)
        if not isinstance(match, RouteMatch) or match.route is not self:
            return Match.NONE, {}
        return Match.FULL, {"endpoint": self.endpoint, "path_params": dict(match.parameters), "route": self}


def make_router(*, tags: list[str], prefix: str = "") -> APIRouter:
    """Make a router whose routes are `MatchedRoute`s."""
    return APIRouter(prefix=prefix, tags=list(tags), route_class=MatchedRoute)


def decode_path(scope: Scope) -> str:
    """The path of a request, decoded except for `%2F` and `%25`.

    Item ids may contain slashes, which travel as `%2F`: an id stays one segment until its route decodes it.
    """
    raw_path: bytes = scope.get("raw_path") or scope["path"].encode()
    if b"%" not in raw_path:
        return raw_path.decode("latin-1")
    parts = _KEPT.split(raw_path)
    kept = [*_KEPT.findall(raw_path), b""]
    return "".join(unquote(part.decode("latin-1")) + escape.decode() for part, escape in zip(parts, kept, strict=True))


def has_control_characters(path: str) -> bool:
    """Whether a decoded path has a control character, which no name in a path may have."""
    return _CONTROL.search(path) is not None


def _pattern_of(route: APIRoute) -> _Pattern:
    segments = route.path_format.split("/")[1:]
    kinds = {name: type(convertor).__name__ for name, convertor in route.param_convertors.items()}
    rest = None
    if segments and kinds.get(segments[-1].strip("{}")) == "PathConvertor":
        rest = segments.pop().strip("{}")
        del kinds[rest]
    if set(kinds.values()) - {"StringConvertor"}:
        raise TypeError(f"The route {route.path} has a parameter that is not a plain segment.")
    # In reverse order: paths of one length mostly differ near the end.
    places = list(reversed(list(enumerate(segments))))
    return _Pattern(
        route=route,
        rules=rules_of(route),
        length=len(segments),
        literals=tuple((place, each) for place, each in places if not each.startswith("{")),
        names=tuple((place, each.strip("{}")) for place, each in places if each.startswith("{")),
        rest=rest,
    )


@lru_cache(maxsize=256)
def _gallery_in_query(query: bytes) -> str | None:
    """The last value of `gallery`, which is the one that the framework would use."""
    return dict(parse_qsl(query.decode("latin-1"), keep_blank_values=True)).get("gallery")
