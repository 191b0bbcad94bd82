"""Calls about API keys."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from askew_client.calls.call import JSON, Call, json_body, segment
from askew_client.contract.keys import CreatedKey, KeyList, RevokedKey, Scope


def create_key(
    name: str,
    scopes: Sequence[Scope],
    *,
    galleries: Sequence[str] | None,
    requests_per_second: float | None,
    expires_at: datetime | None,
) -> Call[CreatedKey]:
    """Create a key."""
    wanted = {
        "name": name,
        "scopes": list(scopes),
        "galleries": None if galleries is None else list(galleries),
        "requests_per_second": requests_per_second,
        "expires_at": None if expires_at is None else expires_at.isoformat(),
    }
    return Call("POST", "/v1/keys", CreatedKey, headers=JSON, body=json_body(wanted))


def keys() -> Call[KeyList]:
    """All keys."""
    return Call("GET", "/v1/keys", KeyList)


def revoke_key(key_id: str) -> Call[RevokedKey]:
    """Revoke a key."""
    return Call("DELETE", f"/v1/keys/{segment(key_id)}", RevokedKey)
