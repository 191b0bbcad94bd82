"""Names that recipes and commands check before torch is imported."""

from __future__ import annotations

from typing import Literal

PoolingName = Literal["gem", "gemmp", "mac", "spoc", "rmac", "rgem"]
"""Poolings, by the names in cirtorch, the code of Radenović et al.; `rgem` is its regional GeM."""
