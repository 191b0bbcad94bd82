"""The files that hold secrets: each must be there before the server starts, or the start ends with its name."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path


def missing_secrets(environment: Mapping[str, str]) -> list[str]:
    """A sentence for each variable `ASKEW_…_FILE` that is set and whose file cannot be read or is empty."""
    named = sorted((name, path) for name, path in environment.items() if path and _names_a_secret(name))
    return [sentence for name, path in named if (sentence := _what_is_wrong(name, Path(path)))]


def _names_a_secret(variable: str) -> bool:
    # Others, such as SSL_CERT_FILE, are those of libraries.
    return variable.startswith("ASKEW_") and variable.endswith("_FILE")


def _what_is_wrong(variable: str, path: Path) -> str | None:
    try:
        content = path.read_bytes()
    except OSError as error:
        found = error.strerror
    else:
        if content.strip():
            return None
        found = "it is empty"
    return (
        f"Expected the secret that {variable} names in the file {path}: {found}. Mount the secret {path.name} there, "
        f"readable by user 10001, or remove {variable}."
    )
