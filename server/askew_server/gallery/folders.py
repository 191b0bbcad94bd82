"""The folders of galleries in DATA/galleries: begun, replaced and removed so that a crash leaves none by half.

A folder whose name begins with a dot is no gallery: it is being made (`.new-…`), removed (`.deleted-…`), or gives way to
another (`.replaced-…`), and goes at the next start.
"""

from __future__ import annotations

import logging
import secrets
import shutil
from pathlib import Path

from askew_client.files import flush_folder

_REPLACED = ".replaced-"


class GalleryFolders:
    """DATA/galleries and what lies in it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._log = logging.getLogger("askew.galleries")

    def of(self, name: str) -> Path:
        """Where a gallery lies, or will lie."""
        return self._folder / name

    def found(self) -> list[Path]:
        """Every folder that is, or was, a gallery, by name."""
        folders = [each for each in self._folder.iterdir() if each.is_dir() and not each.name.startswith(".")]
        # An empty folder has lost nothing.
        return sorted(folder for folder in folders if any(path.is_file() for path in folder.rglob("*")))

    def new(self, name: str) -> Path:
        """A path beside the galleries where a new one can be made, to be given to `place`."""
        return self._folder / f".new-{name}-{secrets.token_hex(4)}"

    def place(self, made: Path, name: str) -> Path:
        """Give a folder that is whole its name, which is free. It is on the disk when this returns."""
        folder = self.of(name)
        made.rename(folder)
        flush_folder(self._folder)
        return folder

    def put_aside(self, name: str) -> Path:
        """Take a gallery's name from its folder, which is gone at the next start at the latest."""
        aside = self._folder / f".deleted-{name}-{secrets.token_hex(4)}"
        self.of(name).rename(aside)
        flush_folder(self._folder)
        return aside

    def put_aside_for_another(self, name: str) -> Path:
        """As `put_aside`, but the folder gets its name back at the next start unless another one has it by then."""
        aside = self._folder / f"{_REPLACED}{name}-{secrets.token_hex(4)}"
        self.of(name).rename(aside)
        flush_folder(self._folder)
        return aside

    def remove(self, aside: Path) -> None:
        """Remove a folder that is no gallery any more; what cannot be removed now goes at the next start."""
        shutil.rmtree(aside, onerror=lambda _, path, error: self._log.warning("%s stays: %s", path, error[1]))

    def remove_leftovers(self) -> None:
        """Remove what a crash left: galleries begun and never finished, and deleted ones."""
        for folder in list(self._folder.iterdir()):
            if folder.name.startswith((".new-", ".deleted-")):
                self.remove(folder)
            elif folder.name.startswith(_REPLACED):
                name = folder.name.removeprefix(_REPLACED).rpartition("-")[0]
                if self.of(name).exists():
                    self.remove(folder)
                else:
                    self.place(folder, name)
