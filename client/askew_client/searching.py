"""`SearchClient`: the part of `Client` that a key with the scope `search` may use."""

from __future__ import annotations

from askew_client._sync.search_client import SearchClient

__all__ = ["SearchClient"]
