"""Which code made a result."""

from __future__ import annotations

import subprocess
from importlib.metadata import version
from pathlib import Path

GIT_SECONDS = 10.0


def version_of_code() -> str:
    """`git describe` of the repository that this package is run from; its version if there is no repository."""
    package = version("askew-training")
    folder = Path(__file__).parent
    command = ["git", "-C", str(folder), "describe", "--always", "--dirty", "--tags"]
    tracked = ["git", "-C", str(folder), "ls-files", "--error-unmatch", str(folder / "__init__.py")]
    try:
        # A package that is installed into another repository's folder is no part of it.
        subprocess.run(tracked, capture_output=True, check=True, timeout=GIT_SECONDS)
        found = subprocess.run(command, capture_output=True, check=True, timeout=GIT_SECONDS, text=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return package
    return f"{package} ({found})"
