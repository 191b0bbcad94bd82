"""A real server that searches a gallery in a process for the GPU: told over HTTP, in metrics and by the doctor."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil
import pytest

from askew_client.contract.manifest import Manifest
from askew_client.contract.wire import pack, pack_base64
from askew_client.encoding.encoder import Encoder
from askew_server.gallery.catalog import Catalog
from askew_server.storage.items import ItemBatch
from tests.support.gallery_vectors import clustered
from tests.support.problem_shape import assert_problem
from tests.support.running_server import RunningServer, run_askew
from tests.support.waiting import wait_until

pytestmark = pytest.mark.slow

DIM = 64
COUNT = 1_100
GALLERY = "/v1/galleries/default"
VECTORS = clustered(COUNT + 40, DIM, seed=1)
ON_CPU = {"ASKEW_GPU_DEVICES": "cpu", "ASKEW_GPU_ANSWER_SECONDS": "20"}


@pytest.fixture(scope="module")
def manifest(teacher_file: Path) -> Manifest:
    return Encoder(teacher_file).manifest


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory, manifest: Manifest) -> Path:
    data = tmp_path_factory.mktemp("gpu") / "data"
    stored = VECTORS[:COUNT]
    with closing(Catalog(data, owner="a test")) as catalog:
        catalog.load()
        gallery, _ = catalog.get_or_create("default", manifest)
        batch = ItemBatch([f"item-{n}" for n in range(COUNT)], stored.astype(np.float16), ["{}"] * COUNT)
        gallery.run(lambda each: each.upsert(batch))
    return data


@pytest.fixture(scope="module")
def served(data: Path) -> Iterator[RunningServer]:
    with RunningServer(data, environment=ON_CPU) as server:
        answer = server.http.put(f"{GALLERY}/index", json={"kind": "gpu-exact"})
        assert answer.status_code == 200, answer.text
        assert answer.json()["estimate"]["bytes_gpu"] == 2 * COUNT * DIM
        wait_for_gpu(server)
        yield server


def wait_for_gpu(server: RunningServer, *, lost: int = 0) -> dict[str, Any]:
    def described() -> dict[str, Any]:
        index: dict[str, Any] = server.http.get(f"{GALLERY}/index").json()
        return index

    wait_until(
        lambda: (gpu := described().get("gpu") or {}).get("state") == "ready" and gpu["lost"] >= lost,
        "the GPU's process",
    )
    return described()


def gpu_process(server: RunningServer) -> psutil.Process:
    (found,) = (
        each
        for each in psutil.Process(server.process.pid).children(recursive=True)
        if "askew_server.index.gpu.child" in each.cmdline()
    )
    return found


def search(server: RunningServer, space: str, row: int) -> httpx.Response:
    """Search for one of the vectors, and check that the answer is right."""
    headers = {"Content-Type": "application/octet-stream", "Askew-Space": space, "Askew-Dtype": "f16le"}
    answer = server.http.post("/search?limit=5", content=pack(VECTORS[row]), headers=headers)
    assert answer.status_code == 200, answer.text
    assert answer.json()["hits"][0]["id"] == f"item-{row}"
    assert answer.headers["Askew-Index"] == answer.json()["index"]
    return answer


def metrics(server: RunningServer) -> list[str]:
    lines: list[str] = server.http.get("/metrics").text.splitlines()
    return lines


def test_every_answer_says_that_the_gpu_gave_it_until_it_dies_and_comes_back(
    served: RunningServer, manifest: Manifest
) -> None:
    space = manifest.space_id
    answer = search(served, space, 3).json()
    assert (answer["index"], answer["exact"]) == ("gpu-exact", True)
    asked = {"vector": pack_base64(VECTORS[4]), "dtype": "f16le", "space": space}
    batch = served.http.post("/search/batch", json={"queries": [asked] * 40, "limit": 1}).json()
    assert (batch["index"], len(batch["results"])) == ("gpu-exact", 40)
    assert 'askew_gpu_ready{gallery="default"} 1.0' in metrics(served)
    before = wait_for_gpu(served)["gpu"]["lost"]
    gpu_process(served).send_signal(signal.SIGKILL)
    answer = search(served, space, 5).json()
    assert (answer["index"], answer["exact"]) == ("two-stage", False)
    wait_for_gpu(served, lost=before + 1)
    assert search(served, space, 6).json()["index"] == "gpu-exact"
    assert f'askew_gpu_processes_lost_total{{gallery="default"}} {before + 1}.0' in metrics(served)


def test_items_are_written_deleted_and_kept_in_snapshots_while_the_gpu_answers(
    served: RunningServer, manifest: Manifest
) -> None:
    space = manifest.space_id
    added = [
        {"id": f"item-{row}", "vector": pack_base64(VECTORS[row]), "dtype": "f16le", "payload": {}}
        for row in range(COUNT, COUNT + 40)
    ]
    assert served.http.put(f"{GALLERY}/items", json={"space": space, "items": added}).status_code == 200
    assert search(served, space, COUNT + 7).json()["index"] == "gpu-exact"
    assert served.http.delete(f"{GALLERY}/items/item-{COUNT + 7}").status_code == 200
    hits = served.http.post(
        "/search", json={"vector": pack_base64(VECTORS[COUNT + 7]), "dtype": "f16le", "space": space}
    ).json()["hits"]
    assert f"item-{COUNT + 7}" not in {hit["id"] for hit in hits}
    job = served.http.post(f"{GALLERY}/snapshots")
    assert job.status_code == 202, job.text
    wait_until(lambda: served.http.get(job.url.join(job.headers["location"])).json()["state"] == "done", "the snapshot")
    assert search(served, space, COUNT + 3).json()["index"] == "gpu-exact"


def test_a_killed_server_leaves_no_process_and_the_next_one_uses_the_gpu_again(
    served: RunningServer, manifest: Manifest
) -> None:
    process = gpu_process(served)
    process.send_signal(signal.SIGSTOP)
    served.kill()
    process.send_signal(signal.SIGCONT)
    wait_until(lambda: not process.is_running() or process.status() == psutil.STATUS_ZOMBIE, "the end of the process")
    with RunningServer(served.data, environment=ON_CPU) as again:
        search(again, manifest.space_id, 8)
        wait_for_gpu(again)
        assert search(again, manifest.space_id, 8).json()["index"] == "gpu-exact"


def test_a_machine_without_a_gpu_serves_from_the_cpu_and_says_why(data: Path, manifest: Manifest) -> None:
    if any(Path("/dev").glob("nvidia[0-9]*")):
        pytest.skip("there is a GPU")
    with RunningServer(data) as server:
        assert search(server, manifest.space_id, 9).json()["index"] == "two-stage"
        wait_until(lambda: server.http.get(f"{GALLERY}/index").json()["gpu"]["state"] == "unavailable", "the reason")
        index = server.http.get(f"{GALLERY}/index").json()
        assert index["gpu"]["reason"].startswith("No NVIDIA GPU is found here")
        assert index["failure"] == index["gpu"]["reason"]
        assert 'askew_gpu_ready{gallery="default"} 0.0' in metrics(server)
        answer = server.http.put(f"{GALLERY}/index", json={"kind": "gpu-exact"})
        assert_problem(answer, 422, "validation", "No NVIDIA GPU")
    said = run_askew("doctor", "--data", data)
    assert "gallery 'default' on the GPU: the CPU's index will answer. No NVIDIA GPU is found here" in said.stdout
    assert said.returncode == 0, said.stdout
    os.environ["ASKEW_GPU_DEVICES"] = "cpu"
    try:
        said = run_askew("doctor", "--data", data, "--json")
    finally:
        del os.environ["ASKEW_GPU_DEVICES"]
    assert json.loads(said.stdout)["gpu"]["galleries"]["default"].startswith("a trial succeeds (FAISS")
