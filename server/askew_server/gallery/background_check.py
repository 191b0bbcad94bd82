"""Checks large galleries for damage while they serve."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from askew_server.errors import DamagedGallery
from askew_server.storage.errors import DamagedDatabase, DatabaseError
from askew_server.storage.verification import damaged_gallery, is_large, walk_rows

_SHARE_OF_TIME = 0.2


class BackgroundCheck:
    """Compares the rows of large galleries with their checksums, once after each start, working a fifth of the time."""

    def __init__(self, folders: Iterable[Path], set_aside: Callable[[str, str], None], largest: int) -> None:
        """`set_aside`: called with the name of a damaged gallery and a sentence about the damage. `largest`: bytes;
        databases up to this size were checked before they were opened.
        """
        self._folders = [folder for folder in folders if is_large(folder, largest)]
        self._set_aside = set_aside
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._work, name="background-check", daemon=True)

    def start(self) -> None:
        """Start checking, if there is a large gallery."""
        if self._folders:
            self._thread.start()

    def close(self) -> None:
        """Stop within a step."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()

    def _work(self) -> None:
        for folder in self._folders:
            try:
                self._check(folder)
            except DamagedGallery as error:
                self._set_aside(folder.name, str(error))
            except DamagedDatabase as error:
                if (folder / "gallery.db").exists():
                    self._set_aside(folder.name, str(damaged_gallery(folder, str(error))))
            except (OSError, DatabaseError) as error:
                if (folder / "gallery.db").exists():
                    logging.getLogger("askew.galleries").warning("%s could not be checked: %s", folder, error)

    def _check(self, folder: Path) -> None:
        began = time.monotonic()
        for _ in walk_rows(folder):
            took = time.monotonic() - began
            if self._stopping.wait(took * (1 / _SHARE_OF_TIME - 1)):
                return
            began = time.monotonic()
