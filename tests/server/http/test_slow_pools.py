"""Work that hangs, of whichever kind, keeps only its own kind waiting: what is prompt is answered."""

from __future__ import annotations

import json
import pkgutil
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from askew_client.contract.wire import pack
from askew_client.encoding.encoder import Encoder
from askew_server.gallery.catalog import Catalog
from askew_server.http.app import create_app
from askew_server.http.concurrency import SlowWork
from askew_server.http.state import AppState
from askew_server.settings import Settings
from askew_server.storage.items import StoredItem
from tests.support.gallery_files import unit_vector, write_gallery
from tests.support.waiting import wait_until

AT_ONCE = 40
"""More than the threads of asyncio's executor, on any machine: 32."""
PROMPT_SECONDS = 15.0
"""An answer takes milliseconds; the machine may be busy."""

LARGE = json.dumps({"space": "x", "items": [], "padding": "x" * 200_000}).encode()
JSON = {"Content-Type": "application/json"}
TAR = {"Content-Type": "application/x-tar"}
FORM = {"Content-Type": "multipart/form-data; boundary=b"}
PHOTOS = b'--b\r\nContent-Disposition: form-data; name="photo"; filename="a.jpg"\r\n\r\nabc\r\n--b--\r\n'

# The request, and the function that hangs in it.
SLOW: dict[str, tuple[str, str, dict[str, Any], str]] = {
    "a snapshot that is received": (
        "POST", "/v1/galleries/new/restore", {"content": b"x" * 1_000, "headers": TAR},
        "askew_server.http.routes.snapshots._write",
    ),
    "a snapshot that is flushed": (
        "POST", "/v1/galleries/new/restore", {"content": b"x" * 1_000, "headers": TAR},
        "askew_server.http.routes.snapshots._flush",
    ),
    "photos that are received": (
        "POST", "/v1/galleries/g/items/photos", {"content": PHOTOS, "headers": FORM},
        "askew_server.http.routes.jobs._write",
    ),
    "a list of photos": (
        "POST", "/v1/galleries/g/items/photos", {"content": PHOTOS, "headers": FORM},
        "askew_server.http.routes.jobs.write_photo_list",
    ),
    "a photo": ("GET", "/v1/galleries/g/items/photo/photo", {}, "askew_server.http.routes.items.require_intact_photo"),
    "snapshots": ("GET", "/v1/galleries/g/snapshots", {}, "askew_server.maintenance.snapshots.Snapshots.list"),
    "one snapshot": ("GET", "/v1/galleries/g/snapshots/s", {}, "askew_server.maintenance.snapshots.Snapshots.get"),
    "a deletion": ("DELETE", "/v1/galleries/g/snapshots/s", {}, "askew_server.maintenance.snapshots.Snapshots.delete"),
    "metrics": ("GET", "/metrics", {}, "askew_server.maintenance.snapshots.Snapshots.list"),
    "a pack": ("GET", "/v1/galleries/g/offline-pack", {}, "askew_server.jobs.offline_pack.OfflinePacks.describe"),
    "a pack's file": ("GET", "/v1/galleries/g/offline-pack/file", {}, "askew_server.jobs.offline_pack.OfflinePacks.file"),
    "withdrawing": ("DELETE", "/v1/galleries/g/offline-pack", {}, "askew_server.jobs.offline_pack.OfflinePacks.withdraw"),
    "a large body": (
        "PUT", "/v1/galleries/g/items", {"content": LARGE, "headers": JSON}, "askew_server.http.receiving.item_bodies.JsonItems.__init__",
    ),
    "a new gallery": ("DELETE", "/v1/galleries/h", {}, "askew_server.gallery.catalog.Catalog.delete"),
    "re-describing": (
        "POST", "/v1/galleries/g/redescribe", {"json": {"into": "h"}}, "askew_server.jobs.redescribe.RedescribeJob.check",
    ),
    "a gallery that wakes": ("GET", "/v1/galleries/h/items", {}, "askew_server.gallery.live.LiveGallery._open_if_asleep"),
    "another gallery's index": ("GET", "/v1/galleries/h/index", {}, "askew_server.gallery.index_manager.IndexManager.status"),
}  # fmt: skip


# The calls of such a function that are not the slow ones, by its arguments.
PROMPT_ONES: dict[str, Callable[[tuple[Any, ...]], bool]] = {
    "a large body": lambda arguments: len(arguments[1]) < 100_000,
    "another gallery's index": lambda arguments: arguments[0]._folder.name == "g",
}


@contextmanager
def _server(data: Path) -> Iterator[tuple[AppState, TestClient]]:
    settings = Settings(data=data, default_gallery="g", max_jobs=1_000)
    state = AppState(settings, Catalog(data, owner="a test", max_awake=8))
    with TestClient(create_app(state)) as client:
        wait_until(lambda: client.get("/readyz").status_code == 200, "the server")
        yield state, client


@pytest.fixture
def data(tmp_path: Path, teacher_file: Path, indexed: Path) -> Path:
    photo = sorted((indexed / "photos").iterdir())[0].read_bytes()
    items = [StoredItem("a", unit_vector(0), {}), StoredItem("photo", unit_vector(1), {}, (photo, ".jpg"))]
    write_gallery(tmp_path / "data", "g", teacher_file, items)
    shutil.copytree(tmp_path / "data/galleries/g", tmp_path / "data/galleries/h")
    return tmp_path / "data"


def _assert_prompt(client: TestClient, teacher: Encoder, slow: str) -> None:
    raw = {"Content-Type": "application/octet-stream", "Askew-Space": teacher.space_id, "Askew-Dtype": "f16le"}
    small = {"space": teacher.space_id, "items": [{"id": "b", "vector": unit_vector(2).tolist()}]}
    for method, path, arguments in (
        ("GET", "/healthz", {}),
        ("GET", "/readyz", {}),
        ("GET", "/v1/jobs", {}),
        ("GET", "/v1/galleries", {}),
        ("GET", "/v1/galleries/g", {}),
        ("GET", "/v1/galleries/g/index", {}),
        ("GET", "/v1/galleries/g/items", {}),
        ("GET", "/v1/galleries/g/items/a", {}),
        ("GET", "/v1/galleries/g/items/a/similar", {}),
        ("POST", "/search", {"content": pack(unit_vector(0)), "headers": raw}),
        ("PUT", "/v1/galleries/g/items", {"json": small}),
        ("GET", "/v1/encoders", {}),
        ("GET", "/", {}),
    ):
        began = time.monotonic()
        answer = client.request(method, path, **arguments)
        took = time.monotonic() - began
        assert answer.status_code == 200, f"{slow}: {method} {path}: {answer.text}"
        assert took < PROMPT_SECONDS, f"{slow}: {method} {path} took {took:.1f} s"


@pytest.mark.slow
@pytest.mark.parametrize("slow", SLOW)
def test_what_is_prompt_is_answered_while_other_work_hangs(
    slow: str, data: Path, teacher: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    method, path, arguments, function = SLOW[slow]
    hung, released = threading.Semaphore(0), threading.Event()

    original: Any = pkgutil.resolve_name(function)

    def hang(*arguments: Any, **named: Any) -> Any:
        if slow in PROMPT_ONES and PROMPT_ONES[slow](arguments):
            return original(*arguments, **named)
        hung.release()
        released.wait(120)
        raise ValueError("it hung")

    with _server(data) as (state, client), ThreadPoolExecutor(AT_ONCE + 1) as threads:
        if slow == "a gallery that wakes":
            wait_until(state.galleries.get("h").sleep, "it sleeps")
        with monkeypatch.context() as patched:
            patched.setattr(function, hang)
            waiting = [threads.submit(client.request, method, path, **arguments) for _ in range(AT_ONCE)]
            try:
                assert hung.acquire(timeout=60), "nothing hangs"
                # Until no more of them begin.
                while hung.acquire(timeout=0.3):
                    pass
                prompt = threads.submit(_assert_prompt, client, teacher, slow)
                wait([prompt], timeout=5 * PROMPT_SECONDS)
                assert prompt.done(), f"{slow} keeps what is prompt waiting"
                prompt.result()
            finally:
                released.set()
                wait(waiting, timeout=120)


@pytest.mark.slow
def test_what_is_prompt_is_answered_with_every_slow_pool_filled(data: Path, teacher: Encoder) -> None:
    released = threading.Event()
    with _server(data) as (state, client):
        pools = [pool._pool for pool in vars(state).values() if isinstance(pool, SlowWork)]
        assert len(pools) >= 5
        pools.append(state.galleries._awake._wakers)
        try:
            for pool in pools:
                for _ in range(AT_ONCE):
                    pool.submit(released.wait, 120)
            _assert_prompt(client, teacher, "everything")
        finally:
            released.set()
