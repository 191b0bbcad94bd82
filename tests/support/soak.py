"""How many examples a property test tries: few in `make test`, many in `make soak`."""

from __future__ import annotations

import os


def examples(few: int) -> int:
    """`few`, or as many times more as SOAK_EXAMPLES says."""
    return few * int(os.environ.get("SOAK_EXAMPLES", "1"))
