"""Files on the server's disk: linked, named, compared and replaced in the same way everywhere."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def link_or_copy(source: Path, target: Path) -> None:
    """Give a file a second name, or copy it where the file system has no links. Raises OSError."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target)
    except (FileNotFoundError, FileExistsError):
        raise
    except OSError:
        # A file system without links, another disk, or a file that has as many links as it can have.
        shutil.copyfile(source, target)


def free_path(path: Path) -> Path:
    """The first path of NAME.SUFFIX, NAME-2.SUFFIX, NAME-3.SUFFIX, … that does not exist."""
    number, free = 1, path
    while free.exists():
        number += 1
        free = path.with_stem(f"{path.stem}-{number}")
    return free


def file_sha256(path: Path) -> str:
    """The SHA-256 of a file's bytes, as hex digits. Raises OSError."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path in the same folder, which replaces `path` when the block ends without an error."""
    part = path.with_name(f".{path.name}.part")
    try:
        yield part
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def is_exhaustion(error: Exception) -> bool:
    """Whether a file could not be read for want of descriptors or memory, which says nothing of the file."""
    numbers = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)
    # FAISS names the reason in its sentence alone.
    return getattr(error, "errno", None) in numbers or any(os.strerror(number) in str(error) for number in numbers)
