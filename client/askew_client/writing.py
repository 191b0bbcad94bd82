"""`WriteClient`: the part of `Client` that a key with the scope `write` may use."""

from __future__ import annotations

from askew_client._sync.write_client import WriteClient

__all__ = ["WriteClient"]
