"""Calls about the server itself."""

from __future__ import annotations

from askew_client.calls.call import Call, segment
from askew_client.contract.health import Health, Readiness, Version


def ready() -> Call[Readiness]:
    """Whether searches are answered."""
    return Call("GET", "/readyz", Readiness)


def alive() -> Call[Health]:
    """Whether the process lives."""
    return Call("GET", "/livez", Health)


def version() -> Call[Version]:
    """Which server this is."""
    return Call("GET", "/version", Version)


def metrics() -> Call[str]:
    """What the server counts."""
    return Call("GET", "/metrics", str)


def problem(slug: str) -> Call[str]:
    """What a problem means."""
    return Call("GET", f"/problems/{segment(slug)}", str)
