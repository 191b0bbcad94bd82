"""Receiving a file: beside the place where it belongs, checked there, and only then in its place."""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx

from askew_client.contract.encoder_file import parse_encoder_file
from askew_client.contract.errors import DamagedEncoder, DamagedSnapshot, ServerError
from askew_client.files import flush_folder
from askew_client.transport.answers import check_status


class Download:
    """A file on its way to `path`. Used in a `with` statement; what was not kept is removed at its end."""

    def __init__(self, path: Path) -> None:
        """Open a file beside `path`. Raises OSError where none can be written."""
        self._path = path
        descriptor, beside = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
        self._stream = os.fdopen(descriptor, "wb")
        self._beside = Path(beside)
        self.tag: str | None = None
        """The file's ETag, once an answer has named one that stands for its very bytes."""

    def headers(self) -> dict[str, str]:
        """What to ask for next: everything, or the rest of what has begun to come."""
        # As it is stored: bytes that a proxy has packed could not be counted.
        as_stored = {"Accept-Encoding": "identity"}
        received = self._stream.tell()
        if not received or self.tag is None:
            return as_stored
        return {**as_stored, "Range": f"bytes={received}-", "If-Range": self.tag}

    def begin(self, response: httpx.Response) -> None:
        """Take the head of an answer. Raises ProblemError, ServerError."""
        check_status(response)
        received = self._stream.tell()
        if response.status_code == 206:
            first = re.match(r"bytes (\d+)-", response.headers.get("content-range", ""))
            if first is None or int(first[1]) != received:
                raise ServerError(
                    f"{response.url} answered with another part of the file than was asked for. Try again."
                )
        else:
            self._stream.seek(0)
            self._stream.truncate()
        tag = response.headers.get("etag", "")
        self.tag = tag if tag.startswith('"') else None

    def write(self, chunk: bytes) -> None:
        """Take the next piece."""
        self._stream.write(chunk)

    def keep(self, check: Callable[[Path], None]) -> Path:
        """Put the file in its place, once it is on the disk and `check` has not raised; the path."""
        self._stream.flush()
        os.fsync(self._stream.fileno())
        self._stream.close()
        check(self._beside)
        self._beside.chmod(0o644)
        self._beside.replace(self._path)
        flush_folder(self._path.parent)
        return self._path

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stream.close()
        self._beside.unlink(missing_ok=True)


def encoder_check(encoder_id: str, url: str) -> Callable[[Path], None]:
    """A check that a file is an encoder's, whole. It raises DamagedEncoder, NotAnEncoder, UnknownManifest."""

    def check(path: Path) -> None:
        came = parse_encoder_file(path.read_bytes(), f"What {url} sent").manifest.encoder_id
        if came != encoder_id:
            raise DamagedEncoder(f"{url} sent the encoder {came}, not {encoder_id}.")

    return check


def snapshot_check(download: Download, url: str) -> Callable[[Path], None]:
    """A check that a file has the digest that its server states as its ETag. It raises DamagedSnapshot."""

    def check(path: Path) -> None:
        stated = (download.tag or "").strip('"')
        with path.open("rb") as stream:
            came = hashlib.file_digest(stream, "sha256").hexdigest()
        if came != stated:
            raise DamagedSnapshot(
                f"What {url} sent is damaged: it has SHA-256 {came[:12]}…, the server states {stated[:12] or 'none'}…. "
                "Fetch it again."
            )

    return check
