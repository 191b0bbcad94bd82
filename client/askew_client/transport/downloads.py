"""Receiving a file: written next to its destination, checked there, and only then moved into place."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx

from askew_client.contract.encoder_file import parse_encoder_file
from askew_client.contract.errors import AskewError, DamagedEncoder, DamagedPack, DamagedSnapshot, ServerError
from askew_client.files import PartialFile
from askew_client.transport.answers import check_status


class Download:
    """A file that is being received. Use it in a `with` statement, which removes what was not kept."""

    def __init__(self, path: Path) -> None:
        """Open a temporary file next to `path`. Raises OSError if the folder cannot be written to."""
        self._path = path
        self._file = PartialFile(path)
        self.tag: str | None = None
        """The file's ETag, once an answer has given a strong one (equal tags mean equal bytes)."""

    def headers(self) -> dict[str, str]:
        """The headers of the next request: for the whole file, or for the part that is still missing."""
        # Uncompressed: the offset counts the bytes of the file, not of a proxy's gzip stream.
        as_stored = {"Accept-Encoding": "identity"}
        received = self._file.stream.tell()
        if not received or self.tag is None:
            return as_stored
        return {**as_stored, "Range": f"bytes={received}-", "If-Range": self.tag}

    def begin(self, response: httpx.Response) -> None:
        """Read the status and headers of an answer. Raises ProblemError, ServerError."""
        check_status(response)
        received = self._file.stream.tell()
        if response.status_code == 206:
            first = re.match(r"bytes ([0-9]{1,18})-", response.headers.get("content-range", ""))
            if first is None or int(first[1]) != received:
                came = response.headers.get("content-range", "no Content-Range")[:100]
                raise ServerError(
                    f"Expected {response.url} to send the file from byte {received} on, got {came}. Try again."
                )
        else:
            self._file.stream.seek(0)
            self._file.stream.truncate()
        tag = response.headers.get("etag", "")
        # It is sent back to continue, and headers are ASCII.
        self.tag = tag if tag.startswith('"') and tag.isascii() and tag.isprintable() else None

    def write(self, chunk: bytes) -> None:
        """Append received bytes."""
        self._file.stream.write(chunk)

    def keep(self, check: Callable[[Path], None]) -> Path:
        """Flush the file to the disk, check it and move it into place; returns its path. Raises what `check` raises."""
        self._file.commit(check)
        return self._path

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.__exit__(kind, error, trace)


def encoder_check(encoder_id: str, url: str) -> Callable[[Path], None]:
    """A check that a file is this encoder, undamaged. It raises DamagedEncoder, NotAnEncoder, UnknownManifest."""

    def check(path: Path) -> None:
        came = parse_encoder_file(path.read_bytes(), f"The file from {url}").manifest.encoder_id
        if came != encoder_id:
            raise DamagedEncoder(
                f"Expected the encoder {encoder_id} from {url}, got {came}. Check the server's address."
            )

    return check


def snapshot_check(download: Download, url: str) -> Callable[[Path], None]:
    """A check that a file has the SHA-256 that the server states as its ETag. It raises DamagedSnapshot."""
    return _digest_check(download, f"The snapshot from {url}", DamagedSnapshot)


def pack_check(download: Download, url: str) -> Callable[[Path], None]:
    """A check that a file has the SHA-256 that the server states as its ETag. It raises DamagedPack."""
    return _digest_check(download, f"The offline pack from {url}", DamagedPack)


def _digest_check(download: Download, what: str, damaged: type[AskewError]) -> Callable[[Path], None]:
    def check(path: Path) -> None:
        stated = (download.tag or "").strip('"')
        with path.open("rb") as stream:
            came = hashlib.file_digest(stream, "sha256").hexdigest()
        if came != stated:
            raise damaged(
                f"{what} is damaged: its SHA-256 is {came[:12]}…, the server states {stated[:12] or 'none'}…. Fetch it again."
            )

    return check
