"""A primary and its replicas as real processes, and what they must have in common."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
from starlette.testclient import TestClient

from askew_server.auth.keys import KeyStore
from askew_server.gallery.catalog import Catalog
from askew_server.http.app import create_app
from askew_server.http.state import AppState
from askew_server.replication.follower import Follower
from askew_server.replication.source import Address, Source
from askew_server.replication.standing import Standing
from askew_server.settings import Settings
from askew_server.storage.sqlite import Database
from tests.support.running_server import RunningServer
from tests.support.waiting import wait_until

PRIMARY = "http://testserver"

_TABLES = {
    "items": "SELECT label, id, payload, photo, checksum FROM items ORDER BY label",
    "vectors": "SELECT label, vector, checksum FROM vectors ORDER BY label",
    "encoders": "SELECT * FROM encoders ORDER BY id",
    "retired": "SELECT * FROM retired_encoders ORDER BY id",
    "defaults": "SELECT * FROM default_encoders ORDER BY runtime",
    "probes": "SELECT * FROM probes ORDER BY id",
    "facts": "SELECT key, value FROM facts WHERE key IN ('space', 'dim', 'teacher', 'sequence', 'created_at') ORDER BY key",
}


def serve_replica(data: Path, primary: str, *options: str) -> RunningServer:
    """A server of DATA that follows a primary; it is ready once it has copied everything."""
    return RunningServer(data, "--gallery", "objects", "--follow", primary, *options)


@contextmanager
def serve_behind(data: Path, primary: str) -> Iterator[RunningServer]:
    """A server of DATA that follows a primary and does not become ready."""
    with RunningServer(data, "--gallery", "objects", "--follow", primary, waits=False) as running:
        yield running


def contents(data: Path) -> dict[str, dict[str, Any]]:
    """Everything that a primary and its replica must have in common of each gallery: rows, and digests of files."""
    found = {}
    for folder in sorted(path.parent for path in (data / "galleries").glob("[!.]*/gallery.db")):
        with Database.open_read_only(folder / "gallery.db") as database, database.reading():
            tables: dict[str, Any] = {name: database.rows(sql) for name, sql in _TABLES.items()}
        tables["files"] = {
            path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
            for kind in ("photos", "probes", "encoders")
            for path in (folder / kind).rglob("*")
            if path.is_file() and not path.name.startswith(".")
        }
        found[folder.name] = tables
    return found


def wait_until_equal(primary: Path, replica: Path) -> None:
    """Wait until a replica's galleries are those of its primary, to the byte."""
    wait_until(lambda: contents(primary) == contents(replica), "the replica to have what its primary has")


def status_of(server: RunningServer) -> Any:
    """What a server says of itself as a primary or replica."""
    return server.http.get("/v1/replication").json()


class InProcessPrimary:
    """A primary inside the test's own process, and its galleries for what no client can do in milliseconds."""

    def __init__(self, data: Path) -> None:
        self.data = data
        self.galleries = Catalog(data, owner="a test")
        self._state = AppState(Settings(data=data, default_gallery="objects"), self.galleries)
        self.http = TestClient(create_app(self._state))
        self.standing = self._state.replication.standing
        self.writes = self._state.writes
        self.keys = self._state.keys

    def __enter__(self) -> InProcessPrimary:
        self.http.__enter__()
        wait_until(lambda: self.http.get("/readyz").status_code == 200, "the primary")
        return self

    def __exit__(self, *error: Any) -> None:
        self.http.__exit__(*error)
        # The lock on DATA is given back by the thread that took it.
        self.galleries.close()


class CutTransport(httpx.BaseTransport):
    """Passes requests on to a server in the process, and cuts the answers that a test chooses."""

    def __init__(self, server: TestClient) -> None:
        self._server = server
        self.authorization: str | None = None
        self.cuts: list[float | None] = []
        """What becomes of the next answers: None: passed on; a share in [0, 1]: only so much of its bytes arrives."""

    def _headers(self, request: httpx.Request) -> dict[str, str]:
        return dict(request.headers) | ({} if self.authorization is None else {"authorization": self.authorization})

    def serve(self, server: TestClient) -> None:
        """Reach another server from now on."""
        self._server = server

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        answer = self._server.request(
            request.method, request.url.raw_path.decode(), headers=self._headers(request), content=request.read()
        )
        share = self.cuts.pop(0) if self.cuts else None
        if share is None:
            return httpx.Response(answer.status_code, headers=answer.headers, content=answer.content)
        if share == 0:
            raise httpx.ReadError("the connection was reset", request=request)
        # As through a proxy that does not tell the length: nothing but the content itself shows the cut.
        part = answer.content[: int(share * len(answer.content))]
        return httpx.Response(
            answer.status_code, headers={"content-type": answer.headers["content-type"]}, content=part
        )


class InProcessReplica:
    """A replica inside the test's own process, which follows only when it is told to."""

    def __init__(self, data: Path, primary: TestClient) -> None:
        self.data = data
        self.transport = CutTransport(primary)
        self.open()

    def open(self) -> None:
        self.galleries = Catalog(self.data, owner="a test")
        self.galleries.load()
        self.keys = KeyStore(self.data)
        self.standing = Standing(self.data, PRIMARY)
        source = Source(Address(PRIMARY), httpx.Client(base_url=PRIMARY, transport=self.transport))
        self.follower = Follower(source, self.galleries, self.keys, self.standing)

    def close(self) -> None:
        self.follower.close()
        self.keys.close()
        self.galleries.close()

    def restart(self) -> None:
        self.close()
        self.open()

    def follow(self) -> None:
        """Follow until everything is here."""
        self.transport.cuts = []
        for _ in range(5):
            if self.follower.follow_once(0):
                return
        raise AssertionError(f"the replica does not follow: {self.follower.progress}")

    def __enter__(self) -> InProcessReplica:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
