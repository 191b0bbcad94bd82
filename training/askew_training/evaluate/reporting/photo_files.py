"""Finding the photo of an id below the folders that a user names. Ids come from files, so they may be anything."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

_SUFFIXES = ("", ".jpg", ".jpeg", ".png", ".webp")
"""Revisited Oxford and Paris name photos without one."""
_FOLDERS = ("", "jpg")
"""Where those benchmarks keep theirs."""
_LATER_BOX = re.compile(r"#\d+$")
"""Ends the id of a photo's second and later boxes in a measurement."""


class PhotoFiles:
    """The photos that are known by name, and those below some folders."""

    def __init__(self, roots: Sequence[Path], known: Mapping[str, Mapping[str, Path]] | None = None) -> None:
        """`roots`: searched in this order. `known`: files by dataset and id, which are taken first: two datasets may use the
        same ids for different photos."""
        self._known = known or {}
        self._roots = [Path(os.path.abspath(root)) for root in roots]  # noqa: PTH100 - `..` is judged as it is written.

    def find(self, photo_id: str, dataset: str = "") -> Path | None:
        """The file of an id of a dataset: a known one, or its path below a root, perhaps without its suffix. None if there is
        none. The second box of `q.jpg` is `q.jpg#2`, and its file the same.

        A path that leaves every root is not followed, so that a measurement cannot bring a photo from elsewhere into the
        report; `../other/1.jpg` is found if the folder that holds it is a root, too.
        """
        if not photo_id or "\0" in photo_id:
            return None
        whole = _LATER_BOX.sub("", photo_id)
        for name in dict.fromkeys((photo_id, whole)):
            found = self._known.get(dataset, {}).get(name) or self._below(name)
            if found is not None:
                return found
        return None

    def _below(self, photo_id: str) -> Path | None:
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
