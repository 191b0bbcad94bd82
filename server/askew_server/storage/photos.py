"""The photos of a gallery: files under `photos/`, named by the SHA-256 of their bytes, in folders of its first two digits."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from askew_client.contract.problems import ProblemKind
from askew_client.files import flush_folder, write_atomically
from askew_server.errors import Refusal
from askew_server.files import file_sha256, is_exhaustion

_PHOTO_NAME = re.compile(r"[0-9a-f]{64}\.(?:jpg|png|webp|heic|avif)")


def is_photo_name(name: object) -> bool:
    """Whether a photo's file can have this name: a SHA-256 and a suffix."""
    return isinstance(name, str) and _PHOTO_NAME.fullmatch(name) is not None


def photo_member(name: str) -> str:
    """The path of an item's photo within its gallery's folder; `name`: the file's name, as the item's row has it."""
    return f"photos/{name[:2]}/{name}"


def photo_sha256(name: str) -> str:
    """The SHA-256 of a photo, as hex digits, by its file's name."""
    return Path(name).stem


def is_intact_photo(path: Path) -> bool:
    """Whether a photo's bytes have the SHA-256 that its file is named by. Raises OSError."""
    return file_sha256(path) == photo_sha256(path.name)


def require_intact_photo(path: Path) -> None:
    """Check a photo before it is sent. Raises Refusal (damaged-gallery), OSError for want of descriptors."""
    try:
        if is_intact_photo(path):
            return
        reason = "its bytes do not have the SHA-256 that it is named by"
    except OSError as error:
        if is_exhaustion(error):
            raise
        reason = error.strerror or type(error).__name__
    raise Refusal(
        ProblemKind.DAMAGED_GALLERY,
        f"The photo {path.name} is damaged on the server's disk ({reason}). Searches are not affected. Send the photo "
        "again, and run `askew doctor` to see what else is damaged.",
    )


def write_photo(folder: Path, photo: bytes, suffix: str) -> str:
    """Write an item's photo into a gallery's folder, unless it is there: its file's name. On the disk when it returns."""
    name = hashlib.sha256(photo).hexdigest() + suffix
    path = folder / photo_member(name)
    # A file that has decayed on the disk is replaced by the bytes that were sent.
    if not path.exists() or path.read_bytes() != photo:
        if not path.parent.exists():
            path.parent.mkdir()
            flush_folder(path.parent.parent)
        write_atomically(path, photo)
    return name
