"""The files of the web app at `/`, with their types, versions and compressed forms."""

from __future__ import annotations

import gzip
import hashlib
import re
import threading
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

_MEDIA_TYPES = {
    ".css": "text/css",
    ".html": "text/html",
    ".js": "text/javascript",
    ".mjs": "text/javascript",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".wasm": "application/wasm",
    ".webmanifest": "application/manifest+json",
}
_COMPRESSED = frozenset({".css", ".html", ".js", ".mjs", ".svg", ".wasm", ".webmanifest"})
_HASHED_NAME = re.compile(r"-[\w-]{8}\.\w+$")
_COMPRESSION_LEVEL = 6


@dataclass(frozen=True)
class PageFile:
    """A file of the web app. `digest`: names its content. `compressed`: gzip, None if that does not pay."""

    path: Path
    media_type: str
    digest: str
    compressed: bytes | None

    @property
    def never_changes(self) -> bool:
        """Whether its name contains a hash of its content, so that another content has another name."""
        return _HASHED_NAME.search(self.path.name) is not None


class PageFiles:
    """The files of one folder. May be used from any thread; a file is read and compressed once, on first use."""

    def __init__(self, folder: Path | None = None) -> None:
        """`folder`: None for the files that this package holds."""
        self._folder = Path(str(files("askew_server.http"))) / "page" if folder is None else folder
        self._read: dict[str, PageFile] = {}
        self._lock = threading.Lock()

    def read(self, name: str) -> PageFile | None:
        """The file of a name; None if there is none. Blocks: compressing the largest file takes a second."""
        with self._lock:
            known = self._read.get(name)
            if known is None:
                # Only names in the folder itself: no name leads out of it.
                path = {path.name: path for path in self._folder.iterdir() if path.is_file()}.get(name)
                if path is None or path.suffix not in _MEDIA_TYPES:
                    return None
                known = self._read[name] = _read_file(path)
            return known


def _read_file(path: Path) -> PageFile:
    content = path.read_bytes()
    compressed = None
    if path.suffix in _COMPRESSED:
        # Without a time in it, so that all servers send the same bytes.
        compressed = gzip.compress(content, _COMPRESSION_LEVEL, mtime=0)
    return PageFile(path, _MEDIA_TYPES[path.suffix], hashlib.sha256(content).hexdigest()[:32], compressed)
