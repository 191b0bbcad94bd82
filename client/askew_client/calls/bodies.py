"""What the client puts into the bodies of requests: vectors, photos, forms, files."""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from askew_client.calls.call import StreamedBody
from askew_client.contract.errors import UnreadablePhoto, WireError
from askew_client.contract.problems import ProblemKind
from askew_client.contract.wire import NORM_TOLERANCE, check_vector
from askew_client.encoding.photos import media_type

CHUNK = 1 << 18
"""Bytes of a file that are read and sent at a time."""

PhotoFile = str | Path | bytes
"""A photo to send: the path of a JPEG, PNG or WebP file, or the bytes of one."""

_HEAD = 16
_ROWS_AT_ONCE = 512


def checked_vector(vector: NDArray[np.float32]) -> NDArray[np.float32]:
    """A float32 [D] unit vector, checked before it is sent. Raises WireError."""
    if vector.ndim != 1:
        raise WireError(
            ProblemKind.DIMENSION_MISMATCH,
            f"Expected one vector, [D], got an array of shape {list(vector.shape)}. Encoder.encode returns [n, D].",
        )
    as_float32 = np.asarray(vector, dtype=np.float32)
    check_vector(as_float32)
    return as_float32


def check_vectors(vectors: NDArray[np.float32], names: Sequence[str]) -> None:
    """Refuse the first of float32 [n, D] vectors that is no unit vector, by its name. Raises WireError."""
    for start in range(0, len(vectors), _ROWS_AT_ONCE):
        rows = np.asarray(vectors[start : start + _ROWS_AT_ONCE], dtype=np.float32)
        with np.errstate(over="ignore", invalid="ignore"):
            lengths = np.sqrt(np.einsum("ij,ij->i", rows, rows))
        for bad in np.flatnonzero(~(np.abs(lengths - 1.0) <= NORM_TOLERANCE)):
            try:
                check_vector(rows[bad])
            except WireError as error:
                raise WireError(error.kind, f"Item {names[start + int(bad)][:80]!r}: {error}", error.extras) from None


def photo_bytes(photo: PhotoFile) -> bytes:
    """The bytes of a photo file. Raises UnreadablePhoto."""
    if isinstance(photo, bytes):
        return photo
    try:
        return Path(photo).read_bytes()
    except OSError as error:
        raise UnreadablePhoto(f"{photo} cannot be read: {error.strerror}.") from None


def file_body(path: Path) -> StreamedBody:
    """A file as a body, read while it is sent. Raises OSError when there is none."""
    return StreamedBody(path.stat().st_size, lambda: _file_chunks(path))


def photo_form(photo: PhotoFile, fields: Mapping[str, str]) -> tuple[dict[str, str], StreamedBody]:
    """Headers and body of a form with one photo and some fields. Raises UnreadablePhoto."""
    return _form([*map(_field_part, fields, fields.values()), _photo_part("photo", photo)])


def photos_form(photos: Mapping[str, PhotoFile], payloads: Mapping[str, object]) -> tuple[dict[str, str], StreamedBody]:
    """Headers and body of a form with many photos by item id, and their payloads. Raises UnreadablePhoto, ValueError.

    Files are read while they are sent: a form may be larger than memory.
    """
    parts = [_field_part("payloads", json.dumps(payloads, ensure_ascii=False))] if payloads else []
    return _form([*parts, *[_photo_part(_file_name(identity), photo) for identity, photo in photos.items()]])


def _file_chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as stream:
        while chunk := stream.read(CHUNK):
            yield chunk


def _form(parts: Sequence[tuple[bytes, bytes | Path, int]]) -> tuple[dict[str, str], StreamedBody]:
    """A multipart form of (head, content, length of the content) each."""
    boundary = secrets.token_hex(16)
    between, end = f"--{boundary}\r\n".encode(), f"--{boundary}--\r\n".encode()

    def chunks() -> Iterator[bytes]:
        for head, content, _ in parts:
            yield between + head
            if isinstance(content, Path):
                yield from _file_chunks(content)
            elif content:
                yield content
            yield b"\r\n"
        yield end

    length = sum(len(between) + len(head) + size + 2 for head, _, size in parts) + len(end)
    return {"Content-Type": f"multipart/form-data; boundary={boundary}"}, StreamedBody(
        length, lambda: _joined(chunks())
    )


def _joined(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """The same bytes in pieces of CHUNK bytes or more, but for the last: each piece sent costs a system call."""
    waiting, size = [], 0
    for piece in pieces:
        waiting.append(piece)
        size += len(piece)
        if size >= CHUNK:
            yield b"".join(waiting)
            waiting, size = [], 0
    if waiting:
        yield b"".join(waiting)


def _field_part(name: str, text: str) -> tuple[bytes, bytes, int]:
    content = text.encode()
    return f'Content-Disposition: form-data; name="{name}"\r\n\r\n'.encode(), content, len(content)


def _photo_part(file_name: str, photo: PhotoFile) -> tuple[bytes, bytes | Path, int]:
    content = photo if isinstance(photo, bytes) else Path(photo)
    if isinstance(content, bytes):
        kind, size = media_type(content), len(content)
    else:
        try:
            with content.open("rb") as stream:
                kind, size = media_type(stream.read(_HEAD)), content.stat().st_size
        except UnreadablePhoto as error:
            raise UnreadablePhoto(f"{content}: {error}") from None
        except OSError as error:
            raise UnreadablePhoto(f"{content} cannot be read: {error.strerror}.") from None
    head = f'Content-Disposition: form-data; name="photo"; filename="{file_name}"\r\nContent-Type: {kind}\r\n\r\n'
    return head.encode(), content, size


def _file_name(item_id: str) -> str:
    """An id as the file name of a form. ValueError for the few that would arrive as another one."""
    # Readers of forms take %22 for a quote, and everything before the last backslash of a Windows path for a folder.
    is_cut = item_id[1:3] == ":\\" or item_id.startswith("\\\\")
    if "%22" in item_id or is_cut or re.search(r"[\x00-\x1f\x7f]", item_id):
        raise ValueError(f"{item_id!r} cannot travel as a file name; send this photo with upsert_photo")
    return item_id.replace("\\", "\\\\").replace('"', "%22")
