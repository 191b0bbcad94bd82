"""Places that a command will write to, looked at before its work: better now than after hours."""

from __future__ import annotations

import tempfile
from pathlib import Path

from askew_training.errors import DataError


def check_file(path: Path) -> None:
    """Make the folder of a file. Raises DataError if the file cannot be written there."""
    if path.is_dir():
        raise DataError(f"Expected a file to write to, but {path} is a folder. Name a file in it.")
    check_folder(path.parent)


def check_folder(folder: Path) -> None:
    """Make a folder. Raises DataError if files cannot be written to it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise DataError(
            f"Expected a folder to write to, but {folder} cannot be written to: {error.strerror}."
        ) from None
