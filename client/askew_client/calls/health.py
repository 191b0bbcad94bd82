"""Calls about the server itself."""

from __future__ import annotations

from askew_client.calls.call import Call, segment
from askew_client.contract.health import Health, Readiness, Version


def ready() -> Call[Readiness]:
    """Whether the server is ready to answer searches."""
    return Call("GET", "/readyz", Readiness)


def alive() -> Call[Health]:
    """Whether the process runs."""
    return Call("GET", "/livez", Health)


def version() -> Call[Version]:
    """The server's name and version."""
    return Call("GET", "/version", Version)


def metrics() -> Call[str]:
    """The server's metrics."""
    return Call("GET", "/metrics", str)


def problem(slug: str) -> Call[str]:
    """The explanation of a kind of problem."""
    return Call("GET", f"/problems/{segment(slug)}", str)
