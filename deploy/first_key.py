"""FIRST_KEY=1: the first admin key is made before the server listens, so that it never answers without one."""

from __future__ import annotations

from pathlib import Path

from askew_command import create_key, keys_of, write_secret

FILE = "first-admin-key"


def make_first_key(askew: str, data: Path) -> None:
    """Make an admin key and write it to DATA/first-admin-key, unless DATA has a key. Says on stdout where it is."""
    if keys_of(askew, data):
        return
    path = data / FILE
    write_secret(path, create_key(askew, data, "first", "--scope", "admin") + "\n")
    print(
        f"The first admin key is in {path}. Read it, create the keys that you need, then revoke it and delete the file."
    )
