"""Wire models of the server's health and version, which need no key."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel


class Readiness(BaseModel):
    """A server that is ready to answer searches. `quarantined`: galleries that are closed because they are damaged.

    Both counts are absent on a server that has keys.
    `staleness_seconds`: on a read replica: how long ago it had everything that its primary had.
    `warnings`: sentences about what is probably a mistake in how the server was started. They name no gallery.
    """

    status: Literal["ok"]
    version: str
    galleries: int | None = None
    quarantined: int | None = None
    warnings: list[str] = []
    staleness_seconds: float | None = None


class Version(BaseModel):
    """The server's name and version, and the version of its API (`v1` in its paths)."""

    name: Literal["askew"]
    version: str
    api: Literal["v1"]


class Health(BaseModel):
    """The state of the server's process, ready or not."""

    status: Literal["ok", "loading", "draining"]
    version: str
