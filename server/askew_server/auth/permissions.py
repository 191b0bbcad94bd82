"""What a call requires, and whether a key allows it."""

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
    """Needs no key, as it reveals nothing about any gallery."""
    ONE_GALLERY = "one gallery"
    """Only the gallery that its path or its query names, or the default gallery."""
    FILTERED = "filtered"
    """Its answer is reduced to the galleries that the key may see."""
    BEYOND = "beyond one gallery"
    """The whole server, or another gallery, named in its body. Refused to a key that is limited to galleries."""


@dataclass(frozen=True)
class Permission:
    """What a call requires. `scope`: that the key must have; None if no key is needed."""

    scope: Scope | None
    reach: Reach


OPEN = Permission(None, Reach.OPEN)
UNDECLARED = Permission("admin", Reach.BEYOND)
"""For a path that no route matches: only an unlimited admin key learns that it does not exist."""


def check_permission(
    key: Key, permission: Permission, gallery: str | None, named: str | None, resolve: Callable[[str], str]
) -> Access:
    """Check that a key allows a call, and return the galleries that its sender may see.

    `gallery`: the name of the gallery that the call is about, not an alias. `named`: what the sender called it; None for
    the default gallery. `resolve`: turns an alias into the name of its gallery. Nothing is looked up, and no name is told
    but those that the sender knows, so that a gallery that exists and one that does not are refused alike. Raises Refusal
    (forbidden).
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
    access = Access(frozenset(resolve(name) for name in key.galleries), tuple(key.galleries))
    if permission.reach is Reach.BEYOND:
        raise _beyond(key, "this call is about more than that. Use an admin key without limits.")
    if permission.reach is Reach.ONE_GALLERY and (gallery is None or not access.sees(gallery)):
        subject = "the default gallery" if named is None else f"gallery {named[:80]!r}"
        raise _beyond(key, f"this call is about {subject}. Use another key.")
    return access


def _beyond(key: Key, reason: str) -> Refusal:
    limits = list(key.galleries or ())
    return Refusal(
        ProblemKind.FORBIDDEN,
        f"Key {key.id} is limited to {', '.join(limits)}; {reason}",
        {"galleries": limits},
    )
