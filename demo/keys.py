"""The demo's key: it can only search its gallery."""

from __future__ import annotations

import json
from pathlib import Path

from processes import run_askew


def has_keys(data: Path) -> bool:
    """Whether a DATA directory has keys, so that its server demands one."""
    return bool(_keys(data))


def replace_key(data: Path, name: str, gallery: str) -> str:
    """Make a search key of this name, and revoke those of the runs before: a key is shown only when it is made."""
    for key in _keys(data):
        if key["name"] == name:
            run_askew("key", "revoke", key["id"], "--yes", "--data", str(data), keeps_output=True)
    made = run_askew(
        *("key", "create", name, "--scope", "search", "--gallery", gallery, "--data", str(data), "--json"),
        keeps_output=True,
    )
    return str(json.loads(made)["key"])


def _keys(data: Path) -> list[dict[str, str]]:
    listed = json.loads(run_askew("key", "list", "--data", str(data), "--json", keeps_output=True))
    return list(listed["keys"])
