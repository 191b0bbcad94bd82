"""The folders of galleries in DATA/galleries: created, replaced and removed so that a crash never leaves a partial one.

A folder whose name begins with a dot is not a gallery: it is being made (`.new-…`), removed (`.deleted-…`), or replaced
by another (`.replaced-…`). The next start removes it, or restores a replaced one if no other has taken its place.
"""

from __future__ import annotations

import logging
import secrets
import shutil
from pathlib import Path

from askew_client.files import flush_folder

_REPLACED = ".replaced-"
_DELETED = ".deleted-"


class GalleryFolders:
    """DATA/galleries and the folders in it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._unremoved: set[Path] = set()
        self._log = logging.getLogger("askew.galleries")

    def of(self, name: str) -> Path:
        """The folder of a gallery, whether or not it exists."""
        return self._folder / name

    def found(self) -> list[Path]:
        """Every folder that is, or once was, a gallery, sorted by name."""
        folders = [each for each in self._folder.iterdir() if each.is_dir() and not each.name.startswith(".")]
        # An empty folder holds nothing that could be damaged.
        return sorted(folder for folder in folders if any(path.is_file() for path in folder.rglob("*")))

    def new(self, name: str) -> Path:
        """A path next to the galleries where a new one can be made before `place` moves it."""
        for left in list(self._unremoved):
            self.remove_if_made(left)
        return self._folder / f".new-{name}-{secrets.token_hex(4)}"

    def place(self, made: Path, name: str) -> Path:
        """Give a complete folder its name, which must be free. The rename is on the disk when this returns."""
        folder = self.of(name)
        made.rename(folder)
        flush_folder(self._folder)
        return folder

    def put_aside(self, name: str) -> Path:
        """Rename a gallery's folder, so that it can be removed; the next start removes what `remove` leaves."""
        aside = self._folder / f"{_DELETED}{name}-{secrets.token_hex(4)}"
        self.of(name).rename(aside)
        flush_folder(self._folder)
        return aside

    def put_aside_for_another(self, name: str) -> Path:
        """Like `put_aside`, but the next start restores the folder's name unless another one has it by then."""
        aside = self._folder / f"{_REPLACED}{name}-{secrets.token_hex(4)}"
        self.of(name).rename(aside)
        flush_folder(self._folder)
        return aside

    def remove(self, aside: Path) -> None:
        """Remove a folder that was put aside; the next `new`, or the next start, removes what cannot be removed now."""
        self._unremoved.add(aside)
        shutil.rmtree(
            aside, onerror=lambda _, path, error: self._log.warning("%s could not be removed: %s", path, error[1])
        )
        if not aside.exists():
            self._unremoved.discard(aside)

    def remove_if_made(self, made: Path) -> None:
        """Remove what was made at a path from `new`."""
        if made.exists():
            self.remove(made)
        else:
            self._unremoved.discard(made)

    def remove_leftovers(self) -> list[str]:
        """Remove what a crash left behind, unfinished and deleted galleries; the names of deleted ones that do not exist."""
        deleted = []
        for folder in list(self._folder.iterdir()):
            if folder.name.startswith((".new-", _DELETED)):
                self.remove(folder)
                deleted += [folder.name] if folder.name.startswith(_DELETED) else []
            elif folder.name.startswith(_REPLACED):
                name = folder.name.removeprefix(_REPLACED).rpartition("-")[0]
                if self.of(name).exists():
                    self.remove(folder)
                else:
                    self.place(folder, name)
        names = [name.removeprefix(_DELETED).rpartition("-")[0] for name in deleted]
        return [name for name in names if not self.of(name).exists()]
