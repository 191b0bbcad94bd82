"""What a server says of itself without being asked for a key."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel


class Readiness(BaseModel):
    """A server that answers searches: how many galleries serve, and how many are shut away because they are damaged."""

    status: Literal["ok"]
    version: str
    galleries: int
    quarantined: int


class Version(BaseModel):
    """Which server this is, and the version of its API (`v1` in its paths)."""

    name: Literal["askew"]
    version: str
    api: Literal["v1"]


class Health(BaseModel):
    """Whether the server lives, or is ready to answer."""

    status: Literal["ok", "loading", "draining"]
    version: str
