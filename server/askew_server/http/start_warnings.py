"""What is probably a mistake in how the server was started: reported in the log, and by `GET /readyz` while it lasts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from askew_server.gallery.catalog import Catalog
from askew_server.settings import Settings

_BELONGS_TO_THE_DISK = {"lost+found", ".DS_Store"}


@dataclass(frozen=True)
class StartWarning:
    """A warning. `public`: for everybody, so without names of galleries and folders. `detail`: for the server's log."""

    public: str
    detail: str


def is_empty(data: Path) -> bool:
    """Whether a DATA folder is new: it does not exist, or nothing is in it but what a new disk has."""
    try:
        return all(entry.name in _BELONGS_TO_THE_DISK for entry in data.iterdir())
    except FileNotFoundError:
        return True
    except OSError:
        # Opening it says why.
        return False


def start_warnings(settings: Settings, galleries: Catalog, *, data_was_empty: bool) -> list[StartWarning]:
    """The warnings that hold now. `data_was_empty`: whether DATA was when the server started."""
    names, damaged = galleries.names(), galleries.damaged()
    found = []
    if data_was_empty and not names and not damaged:
        found.append(
            StartWarning(
                "The DATA folder was empty when the server started, and there is no gallery yet.",
                f"The DATA folder {settings.data.absolute()} was empty. If galleries should be in it, stop the server and check "
                "--data (ASKEW_DATA), or whether the disk is mounted there.",
            )
        )
    default = galleries.resolve(settings.default_gallery)
    if default not in names and default not in damaged:
        served = f"There are: {', '.join(sorted(names)[:10])}." if names else "There is no gallery yet."
        found.append(
            StartWarning(
                "The default gallery does not exist: POST /search finds nothing until it is made.",
                f"The default gallery {default!r} does not exist: POST /search is answered with 404 until it is made. {served} "
                "Check --gallery (ASKEW_DEFAULT_GALLERY).",
            )
        )
    return found
