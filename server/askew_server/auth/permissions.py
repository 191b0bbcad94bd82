"""What a call needs, and whether a key may make it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from askew_client.contract.keys import Scope
from askew_client.contract.problems import ProblemKind
from askew_server.auth.access import Access
from askew_server.auth.keys import Key
from askew_server.errors import Refusal


class Reach(Enum):
    """Which galleries a call can read or change."""

    OPEN = "open"
    """Reveals nothing about any gallery: no key is needed."""
    ONE_GALLERY = "one gallery"
    """The one that its path or its query names, or the default gallery; no other."""
    FILTERED = "filtered"
    """Its answer holds only what the key may see."""
    BEYOND = "beyond one gallery"
    """The whole server, or another gallery that its body names. Refused to a key that is limited to galleries."""


@dataclass(frozen=True)
class Permission:
    """What a call needs. `scope`: that the key must have; None where the call is open."""

    scope: Scope | None
    reach: Reach


OPEN = Permission(None, Reach.OPEN)
UNDECLARED = Permission("admin", Reach.BEYOND)
"""For a path that no route matches: it reveals to nobody but an unlimited admin that there is no such path."""


def check_permission(key: Key, permission: Permission, gallery: str | None, resolve: Callable[[str], str]) -> Access:
    """The galleries that the sender of a call may see.

    `gallery`: the name of the gallery that the call is about, no alias. `resolve`: turns an alias into the name of its
    gallery. Raises Refusal (forbidden).
    """
    if permission.scope is None:
        return Access()
    if not key.may(permission.scope):
        raise Refusal(
            ProblemKind.FORBIDDEN,
            f"This call needs a key with the scope {permission.scope}; key {key.id} has {', '.join(key.scopes)}. "
            "Is the path right? If so, use another key.",
            {"required": permission.scope, "scopes": list(key.scopes)},
        )
    if key.galleries is None:
        return Access()
    access = Access(frozenset(resolve(name) for name in key.galleries))
    if permission.reach is Reach.BEYOND:
        raise _beyond(key, "this call is about more than these. It takes an admin key without limits.")
    if permission.reach is Reach.ONE_GALLERY and (gallery is None or not access.sees(gallery)):
        raise _beyond(key, f"this call is about gallery {(gallery or '')[:80]!r}.")
    return access


def _beyond(key: Key, reason: str) -> Refusal:
    limits = list(key.galleries or ())
    return Refusal(
        ProblemKind.FORBIDDEN,
        f"Key {key.id} is limited to {', '.join(limits)}; {reason}",
        {"galleries": limits},
    )
