"""Small pictures of the photos that a report shows: files beside it, or inside the page."""

from __future__ import annotations

import base64
import hashlib
import io
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from PIL import Image

from askew_client.encoding.photos import read_photo
from askew_client.errors import AskewError
from askew_client.files import write_atomically
from askew_training.errors import DataError
from askew_training.evaluate.reporting.photo_files import PhotoFiles
from askew_training.evaluate.targets import check_folder

LONGEST_SIDE = 240
"""Pixels: a tile is at most 120 px wide, and screens have up to two for each."""
_QUALITY = 80
_OURS = re.compile(r"[0-9a-f]{24}\.jpg")


@dataclass(frozen=True)
class Thumbnail:
    """`address`: for the `src` of a picture; None if there is no photo, and then `problem` says why."""

    address: str | None
    width: int = 0
    height: int = 0
    problem: str = ""


class Thumbnails:
    """Makes each picture once. Ask with `of`."""

    def __init__(
        self, photos: PhotoFiles, place: Callable[[bytes], str], advance: Callable[[], None] = lambda: None
    ) -> None:
        """`place`: puts the bytes of a JPEG somewhere and returns its address. `advance`: called for each new photo."""
        self._photos, self._place, self._advance = photos, place, advance
        self._made: dict[tuple[str, str], Thumbnail] = {}

    @property
    def shown(self) -> int:
        """How many of the photos asked for have a picture."""
        return len(self._made) - self.missing

    @property
    def missing(self) -> int:
        """How many of the photos asked for have no picture."""
        return sum(each.address is None for each in self._made.values())

    def of(self, photo_id: str, dataset: str = "") -> Thumbnail:
        """The picture of an id of a dataset."""
        key = dataset, photo_id
        if key not in self._made:
            self._made[key] = self._make(photo_id, dataset)
            self._advance()
        return self._made[key]

    def _make(self, photo_id: str, dataset: str) -> Thumbnail:
        path = self._photos.find(photo_id, dataset)
        if path is None:
            return Thumbnail(None, problem="no photo")
        try:
            picture = Image.fromarray(read_photo(path))
        except (AskewError, OSError, ValueError):
            return Thumbnail(None, problem="unreadable")
        picture.thumbnail((LONGEST_SIDE, LONGEST_SIDE))
        stream = io.BytesIO()
        picture.save(stream, "JPEG", quality=_QUALITY)
        return Thumbnail(self._place(stream.getvalue()), *picture.size)


def inside_the_page(content: bytes) -> str:
    """The address of a JPEG as a `data:` URL."""
    return f"data:image/jpeg;base64,{base64.b64encode(content).decode()}"


class ThumbnailFolder:
    """The folder of pictures beside a report. Files are named by their content, so that an older report stays whole."""

    def __init__(self, report: Path) -> None:
        self._folder = report.with_name(f"{report.name}.photos")
        self._written: set[str] = set()

    def check(self) -> None:
        """Raises DataError if the folder cannot be written to; makes nothing."""
        if self._folder.is_dir():
            check_folder(self._folder)
        elif self._folder.exists() or self._folder.is_symlink():
            raise DataError(
                f"Expected to write pictures to the folder {self._folder}, but it is a file. Move it away, name another report "
                "or embed the pictures."
            )

    def place(self, content: bytes) -> str:
        """Write a JPEG and return its address relative to the report. Raises DataError if it cannot be written."""
        name = f"{hashlib.sha256(content).hexdigest()[:24]}.jpg"
        try:
            self._folder.mkdir(exist_ok=True)
            if not (self._folder / name).exists():
                write_atomically(self._folder / name, content)
        except OSError as error:
            raise DataError(f"The pictures cannot be written to {self._folder}: {error.strerror}.") from None
        self._written.add(name)
        return quote(f"{self._folder.name}/{name}")

    def drop_others(self) -> None:
        """Remove pictures of an earlier report in this place, once the new page stands; nothing else is touched."""
        if not self._folder.is_dir():
            return
        for file in self._folder.iterdir():
            if _OURS.fullmatch(file.name) and file.name not in self._written:
                file.unlink(missing_ok=True)
        if not any(self._folder.iterdir()):
            self._folder.rmdir()
