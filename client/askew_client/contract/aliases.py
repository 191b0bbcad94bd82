"""The models of aliases, under the name that they had in 0.1; they are in galleries.py."""

from __future__ import annotations

from askew_client.contract.galleries import AliasAnswer, AliasList, Deleted, SetAliasRequest

__all__ = ["AliasAnswer", "AliasList", "Deleted", "SetAliasRequest"]
