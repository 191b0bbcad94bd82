"""Names that recipes and commands check before torch is loaded."""

from __future__ import annotations

from typing import Literal

PoolingName = Literal["gem", "gemmp", "mac", "spoc", "rmac", "rgem"]
"""The poolings by the names of cirtorch, the code of Radenović et al.; `rgem` is its regional GeM."""
