"""Forms that carry photos. httpx encodes them; files are opened one at a time while they are sent."""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, BinaryIO, cast

import httpx

from askew_client.calls.bodies import CHUNK, PhotoFile
from askew_client.calls.call import StreamedBody, as_json
from askew_client.contract.errors import UnreadablePhoto
from askew_client.encoding.photos import MEDIA_TYPE_BYTES, media_type


class LazyFile:
    """A file for httpx to send: opened by the first `read`, closed at its end, so that few are open at the same time.

    httpx asks for its length with `seek` and `tell`, and starts each attempt with `seek(0)`.
    """

    def __init__(self, path: Path, size: int) -> None:
        """`size`: the length of the file in bytes."""
        self._path = path
        self._size = size
        self._stream: BinaryIO | None = None

    def read(self, size: int = -1) -> bytes:
        """The next bytes; empty at the end. Raises UnreadablePhoto if the file can no longer be opened or read."""
        try:
            if self._stream is None:
                self._stream = self._path.open("rb")
            chunk = self._stream.read(size)
        except OSError as error:
            self.close()
            raise _unreadable(self._path, error) from None
        if not chunk:
            self.close()
        return chunk

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to the beginning (the file is opened again by the next `read`), or return the length for SEEK_END."""
        if offset:
            raise ValueError(f"expected the offset 0, got {offset}")
        self.close()
        return self._size if whence == os.SEEK_END else 0

    def tell(self) -> int:
        """0: httpx asks before it reads."""
        return 0

    def close(self) -> None:
        """Close the file if it is open."""
        stream, self._stream = self._stream, None
        if stream is not None:
            stream.close()


def photo_form(photo: PhotoFile, fields: Mapping[str, str]) -> tuple[dict[str, str], StreamedBody]:
    """Headers and body of a form with one photo and some fields. Raises UnreadablePhoto."""
    return _form({"photo": photo}, fields)


def photos_form(photos: Mapping[str, PhotoFile], payloads: Mapping[str, object]) -> tuple[dict[str, str], StreamedBody]:
    """Headers and body of a form with many photos by item id, and their payloads.

    Files are read while they are sent: a form may be larger than memory. Raises UnreadablePhoto, and ValueError if
    there are no photos, or for an id that would arrive as another one.
    """
    if not photos:
        raise ValueError("expected at least one photo, got none")
    for item_id in photos:
        _check_file_name(item_id)
    return _form(photos, {"payloads": as_json(payloads)} if payloads else {})


@dataclass(frozen=True)
class _Part:
    """One photo of a form. `content`: its bytes, or the path and the size of its file."""

    file_name: str
    media_type: str
    content: bytes | tuple[Path, int]


def _form(photos: Mapping[str, PhotoFile], fields: Mapping[str, str]) -> tuple[dict[str, str], StreamedBody]:
    """A form with fields, and with photos by their file name; the name of every photo is `photo`."""
    parts = [_part(file_name, photo) for file_name, photo in photos.items()]
    headers = {"Content-Type": f"multipart/form-data; boundary={secrets.token_hex(16)}"}
    length = int(_encoded(parts, fields, headers)[0].headers["content-length"])
    return headers, StreamedBody(length, lambda: _chunks(parts, fields, headers))


def _part(file_name: str, photo: PhotoFile) -> _Part:
    """Look at a photo's first bytes and its size. Raises UnreadablePhoto."""
    if isinstance(photo, bytes):
        return _Part(file_name, media_type(photo), photo)
    path = Path(photo)
    try:
        with path.open("rb") as stream:
            return _Part(file_name, media_type(stream.read(MEDIA_TYPE_BYTES)), (path, path.stat().st_size))
    except UnreadablePhoto as error:
        raise UnreadablePhoto(f"{path}: {error}") from None
    except OSError as error:
        raise _unreadable(path, error) from None


def _encoded(
    parts: Sequence[_Part], fields: Mapping[str, str], headers: Mapping[str, str]
) -> tuple[httpx.Request, list[LazyFile]]:
    """A request whose headers and stream are the form's, never sent itself; and the files that its stream opens."""
    contents = [part.content if isinstance(part.content, bytes) else LazyFile(*part.content) for part in parts]
    files = [
        ("photo", (part.file_name, cast(IO[bytes], content), part.media_type))
        for part, content in zip(parts, contents, strict=True)
    ]
    request = httpx.Request("POST", "http://form.invalid/", headers=headers, data=fields, files=files)
    return request, [content for content in contents if isinstance(content, LazyFile)]


def _chunks(parts: Sequence[_Part], fields: Mapping[str, str], headers: Mapping[str, str]) -> Iterator[bytes]:
    """The body in pieces of CHUNK bytes or more, except the last: each piece that is sent costs a system call.

    Each attempt to send the form has its own LazyFiles, because the iterator of a failed attempt may be closed late.
    """
    request, lazy_files = _encoded(parts, fields, headers)
    assert isinstance(request.stream, httpx.SyncByteStream)
    waiting, size = [], 0
    try:
        for piece in request.stream:
            waiting.append(piece)
            size += len(piece)
            if size >= CHUNK:
                yield b"".join(waiting)
                waiting, size = [], 0
        if waiting:
            yield b"".join(waiting)
    finally:
        # If sending stopped in the middle, one file is still open.
        for lazy_file in lazy_files:
            lazy_file.close()


def _check_file_name(item_id: str) -> None:
    """Refuse an id that would not arrive as it is. Raises ValueError."""
    if not item_id:
        raise ValueError("expected an id for each photo, got an empty one")
    # Readers of forms take %22 for a quote, and everything before the last backslash of a Windows path for a folder.
    is_cut = item_id[1:3] == ":\\" or item_id.startswith("\\\\")
    if "%22" in item_id or is_cut or re.search(r"[\x00-\x1f\x7f]", item_id):
        raise ValueError(
            f"expected an id that can be sent as a file name, got {item_id!r}; send this photo with upsert_photo"
        )


def _unreadable(path: Path, error: OSError) -> UnreadablePhoto:
    return UnreadablePhoto(f"{path} cannot be read: {error.strerror}.")
