"""Askew on the query side: describe a photo in a teacher's space, and search a gallery with the vector."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from askew_client._async.client import AsyncClient
    from askew_client._async.search_client import AsyncSearchClient
    from askew_client._async.write_client import AsyncWriteClient
    from askew_client._sync.client import Client
    from askew_client._sync.search_client import SearchClient
    from askew_client._sync.write_client import WriteClient
    from askew_client.contract.manifest import Manifest
    from askew_client.encoding.encoder import Encoder
    from askew_client.errors import AskewError

__all__ = [
    "AskewError",
    "AsyncClient",
    "AsyncSearchClient",
    "AsyncWriteClient",
    "Client",
    "Encoder",
    "Manifest",
    "SearchClient",
    "WriteClient",
]


def __getattr__(name: str) -> object:
    """Import a public name when it is first used: importing the HTTP client takes 0.2 s, and few commands need it."""
    modules = {
        "AskewError": "errors",
        "AsyncClient": "_async.client",
        "AsyncSearchClient": "_async.search_client",
        "AsyncWriteClient": "_async.write_client",
        "Client": "_sync.client",
        "Encoder": "encoding.encoder",
        "Manifest": "contract.manifest",
        "SearchClient": "_sync.search_client",
        "WriteClient": "_sync.write_client",
    }
    if name not in modules:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{modules[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
