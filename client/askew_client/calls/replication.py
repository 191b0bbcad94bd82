"""Calls about read replicas."""

from __future__ import annotations

from askew_client.calls.call import JSON, Call, json_body
from askew_client.contract.health import Promotion, ReplicationStatus

_SECONDS = 120.0
"""A promotion copies the last changes first."""


def replication() -> Call[ReplicationStatus]:
    """What a server is among its replicas."""
    return Call("GET", "/v1/replication", ReplicationStatus)


def promote(*, accept_loss: bool, address: str | None) -> Call[Promotion]:
    """Make a replica the primary."""
    wanted = {"accept_loss": accept_loss, "address": address}
    return Call("POST", "/v1/replication/promote", Promotion, headers=JSON, body=json_body(wanted), timeout=_SECONDS)
