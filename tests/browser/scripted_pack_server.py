"""A server that sends one offline pack, and the app's files of another server, and fails where a test tells it to."""

from __future__ import annotations

import hashlib
import json
import re
import struct
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

from tests.browser.proxy import Answer, Proxy, Recorded


class ScriptedPackServer:
    """Answers `GET …/galleries/museum/offline-pack` and its file; all else comes from a server.

    `ranges`: what was asked of the file, from and to. `breaks_after`: the connection breaks after so many ranges. `damage`:
    places of the file that arrive damaged, with how many times. `replace_after`: after so many ranges the file is another
    one. `description`: members of the description that differ.
    """

    def __init__(self, server: str) -> None:
        """`server`: the address of a server, whose app is used."""
        self.pack = b""
        self.ranges: list[tuple[int, int]] = []
        self.breaks_after: int | None = None
        self.damage: dict[int, int] = {}
        self.replace_after: tuple[int, bytes] | None = None
        self.ignores_ranges = False
        self.description: dict[str, Any] = {}
        self._proxy = Proxy(server)
        self._proxy.instead = self._answer
        self.url = self._proxy.url

    def _answer(self, request: Recorded) -> Answer | None:
        path = urlsplit(request.target).path
        if path.endswith("/museum/offline-pack"):
            return Answer(200, json.dumps(self._describe()).encode(), {"Content-Type": "application/json"})
        if not path.endswith("/museum/offline-pack/file"):
            return None
        headers = {name.lower(): value for name, value in request.headers.items()}
        etag = f'"{hashlib.sha256(self.pack).hexdigest()}"'
        if headers.get("if-match") != etag:
            return Answer(
                412, b'{"type": "/problems/http", "title": "changed"}', {"Content-Type": "application/problem+json"}
            )
        found = re.fullmatch(r"bytes=(\d+)-(\d+)", headers["range"])
        assert found is not None
        start, end = int(found[1]), min(int(found[2]) + 1, len(self.pack))
        self.ranges.append((start, end))
        if self.breaks_after is not None and len(self.ranges) >= self.breaks_after:
            # Part of it arrives.
            return Answer(206, self.pack[start : start + 10], {"ETag": etag, "Content-Length": str(end - start)})
        body = bytearray(self.pack[start:end])
        for place, times in self.damage.items():
            if start <= place < end and times > 0:
                body[place - start] ^= 1
                self.damage[place] -= 1
        if self.replace_after is not None and len(self.ranges) >= self.replace_after[0]:
            self.pack, self.replace_after = self.replace_after[1], None
        if self.ignores_ranges:
            return Answer(200, self.pack, {"ETag": etag})
        return Answer(206, bytes(body), {"ETag": etag, "Content-Range": f"bytes {start}-{end - 1}/{len(self.pack)}"})

    def _describe(self) -> dict[str, Any]:
        (length,) = struct.unpack("<I", self.pack[8:12])
        header = json.loads(self.pack[12 : 12 + length])
        digest = hashlib.sha256(self.pack).hexdigest()
        named = {name: header[name] for name in ("gallery", "space", "sequence", "created_at", "items", "recall")}
        file = {"size": len(self.pack), "sha256": digest, "etag": f'"{digest}"', "is_current": True}
        return {**named, **file, **self.description}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._proxy.close()
