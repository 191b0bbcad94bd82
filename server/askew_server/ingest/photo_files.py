"""Reading the files of a folder that may hold anything, and naming them."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import BinaryIO

MAX_PHOTO_BYTES = 1 << 30
"""1 GiB: twice what 64 megapixels take in the largest pixels that are read. A larger file is not read into memory."""


def open_file(path: str | Path) -> BinaryIO:
    """Open a regular file for reading. Raises OSError, also for a pipe, a socket or a device, which could block."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(0, "it is not a regular file", str(path))
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def read_file(path: Path) -> bytes:
    """The bytes of a regular file. Raises OSError, also for a file of more than MAX_PHOTO_BYTES."""
    with open_file(path) as stream:
        size = os.fstat(stream.fileno()).st_size
        if size > MAX_PHOTO_BYTES:
            raise OSError(0, f"it has {size:,} bytes; at most {MAX_PHOTO_BYTES:,} are read", str(path))
        return stream.read()
