"""The `askew` commands that the entry point runs before the server."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any


def run_askew(askew: str, *arguments: str, keeps_output: bool = False) -> str:
    """Run one command; returns its output if it is kept. Ends the start if it fails: the command has said why."""
    output = subprocess.PIPE if keeps_output else None
    done = subprocess.run([askew, *arguments], stdout=output, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"`askew {arguments[0]}` failed with exit code {done.returncode}; see above.")
    return done.stdout or ""


def keys_of(askew: str, data: Path) -> list[dict[str, Any]]:
    """The keys of a DATA directory, without their secrets."""
    listed = json.loads(run_askew(askew, "key", "list", "--data", str(data), "--json", keeps_output=True))
    return list(listed["keys"])


def create_key(askew: str, data: Path, name: str, *options: str) -> str:
    """Create a key, which is shown only now."""
    made = run_askew(askew, "key", "create", name, *options, "--data", str(data), "--json", keeps_output=True)
    return str(json.loads(made)["key"])


def write_secret(path: Path, text: str) -> None:
    """Write a file atomically that only this user can read, from its first moment on. Ends the start if it cannot."""
    part = path.with_name(f"{path.name}.part")
    try:
        part.unlink(missing_ok=True)
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        part.replace(path)
    except OSError as error:
        sys.exit(
            f"A key was made, but {path} cannot be written: {error.strerror}. Make room, then make another key and revoke "
            f"that one: askew key create NAME --scope admin --data {path.parent}"
        )
