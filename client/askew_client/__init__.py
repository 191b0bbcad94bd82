"""Askew on the query side: describe a photo in a teacher's space, and search a gallery with the vector."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from askew_client._async.client import AsyncClient
    from askew_client._sync.client import Client
    from askew_client.contract.manifest import Manifest
    from askew_client.encoding.encoder import Encoder
    from askew_client.errors import AskewError

__all__ = ["AskewError", "AsyncClient", "Client", "Encoder", "Manifest"]


def __getattr__(name: str) -> object:
    """Import a public name when it is first used: the server and most commands need no HTTP client, which takes 0.2 s."""
    modules = {
        "AskewError": "errors",
        "AsyncClient": "_async.client",
        "Client": "_sync.client",
        "Encoder": "encoding.encoder",
        "Manifest": "contract.manifest",
    }
    if name not in modules:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{modules[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
