from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from askew_client.encoding.encoder import Encoder
from tests.server.milvus.varied_items import VARIED, send_items
from tests.support.in_process_cli import call_askew
from tests.support.milvus_server import MilvusServer
from tests.support.running_server import RunningServer


@pytest.fixture(scope="session")
def milvus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MilvusServer]:
    with MilvusServer(tmp_path_factory.mktemp("milvus") / "lite") as running:
        yield running


@pytest.fixture(scope="session")
def moved(indexed: Path, tmp_path_factory: pytest.TempPathFactory, teacher: Encoder, milvus: MilvusServer) -> Path:
    """A DATA with `objects` (photos) and `varied` (all kinds of payloads), and both again in Milvus."""
    data = tmp_path_factory.mktemp("moved") / "data"
    shutil.copytree(indexed / "data", data)
    with RunningServer(data, "--gallery", "objects") as server:
        manifest = teacher.manifest.model_dump(mode="json", exclude_none=True)
        assert server.http.put("/v1/galleries/varied", json={"teacher": manifest}).status_code == 201
        send_items(server, "varied", VARIED, teacher)
        assert server.http.put("/v1/aliases/shop", json={"gallery": "varied"}).status_code == 200
    for gallery in ("objects", "varied"):
        done = call_askew("gallery", "migrate", gallery, "--to", milvus.address, "--data", data)
        assert done.returncode == 0, done.stderr
    return data


@pytest.fixture(scope="module")
def both(moved: Path) -> Iterator[RunningServer]:
    """A server with every gallery in SQLite and in Milvus. Its tests leave both of each equal."""
    with RunningServer(moved, "--gallery", "objects") as server:
        yield server
