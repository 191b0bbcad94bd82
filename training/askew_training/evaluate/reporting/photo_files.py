"""Finding the photo of an id below the folders that a user names. Ids come from files, so they may be anything."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

_SUFFIXES = ("", ".jpg", ".jpeg", ".png", ".webp")
"""Revisited Oxford and Paris name photos without one."""
_FOLDERS = ("", "jpg")
"""Where those benchmarks keep theirs."""


class PhotoFiles:
    """The photos below some folders."""

    def __init__(self, roots: Sequence[Path]) -> None:
        """`roots`: searched in this order."""
        self._roots = [Path(os.path.abspath(root)) for root in roots]  # noqa: PTH100 - `..` is judged as it is written.

    def find(self, photo_id: str) -> Path | None:
        """The file of an id: its path below a root, perhaps without its suffix. None if there is none.

        A path that leaves every root is not followed, so that a measurement cannot bring a photo from elsewhere into the
        report; `../other/1.jpg` is found if the folder that holds it is a root, too.
        """
        if not photo_id or "\0" in photo_id:
            return None
        for root in self._roots:
            for folder in _FOLDERS:
                for suffix in _SUFFIXES:
                    path = Path(os.path.normpath(root / folder / f"{photo_id}{suffix}"))
                    if self._is_inside(path) and _is_file(path):
                        return path
        return None

    def _is_inside(self, path: Path) -> bool:
        return any(path.is_relative_to(root) and path != root for root in self._roots)


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):
        # A name that is too long, or that the disk cannot express.
        return False
