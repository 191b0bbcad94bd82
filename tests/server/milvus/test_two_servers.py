"""Two servers before one Milvus, one of them killed: no wrong answer, and no acknowledged write is lost."""

from __future__ import annotations

import base64
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from askew_client.contract.wire import pack
from askew_client.encoding.encoder import Encoder
from tests.support.in_process_cli import call_askew
from tests.support.milvus_server import MilvusServer
from tests.support.running_server import RunningServer
from tests.support.waiting import DEADLINE, wait_until

IDS = 30
"""Of each writer; every id is written, replaced and deleted again and again."""


class Writer:
    """Writes versions of its own items to one server, one request at a time, and remembers what was acknowledged.

    `acknowledged`: the version of each id, or 0 once it is deleted. `uncertain`: the version of the request that is under
    way, or whose answer never came.
    """

    def __init__(self, url: str, name: str, teacher: Encoder) -> None:
        self.name = name
        self.acknowledged: dict[str, int] = {}
        self.uncertain: tuple[str, int] | None = None
        self.refused = ""
        self.stop = threading.Event()
        self._url, self._teacher = url, teacher
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def join(self) -> None:
        self._thread.join(timeout=DEADLINE)
        assert not self._thread.is_alive()
        assert self.refused == ""

    def _work(self) -> None:
        with httpx.Client(base_url=self._url, timeout=60) as http:
            version = 0
            while not self.stop.is_set():
                version += 1
                item_id = f"{self.name} {version % IDS}"
                is_deletion = version % 7 == 0 and self.acknowledged.get(item_id, 0) > 0
                self.uncertain = item_id, 0 if is_deletion else version
                try:
                    if is_deletion:
                        answer = http.delete(f"/v1/galleries/shared/items/{item_id}")
                    else:
                        answer = http.put("/v1/galleries/shared/items", json=item_body(self._teacher, item_id, version))
                except httpx.TransportError:
                    return
                if answer.status_code != 200:
                    self.refused = answer.text
                    return
                self.acknowledged[item_id] = self.uncertain[1]
                self.uncertain = None


def vector_of(teacher: Encoder, item_id: str, version: int) -> np.ndarray:
    """The vector of a version of an item, float32 [D], unlike any other."""
    random = np.random.default_rng([version, *item_id.encode()])
    vector = random.standard_normal(teacher.manifest.dim).astype(np.float32)
    return vector / np.linalg.norm(vector)


def item_body(teacher: Encoder, item_id: str, version: int) -> dict[str, Any]:
    vector = base64.b64encode(pack(vector_of(teacher, item_id, version))).decode()
    item = {"id": item_id, "vector": vector, "dtype": "f16le", "payload": {"version": version}}
    return {"space": teacher.space_id, "items": [item]}


@pytest.mark.drill
def test_a_killed_server_loses_no_acknowledged_write_and_the_other_one_answers_right(
    milvus: MilvusServer, teacher: Encoder, teacher_file: Path, tmp_path: Path
) -> None:
    folders = [tmp_path / "a", tmp_path / "b"]
    for data in folders:
        done = call_askew(
            "gallery", "create", "shared", "--encoder", teacher_file, "--data", data, "--backend", milvus.address
        )
        assert done.returncode == 0, done.stderr

    def find(server: RunningServer, item_id: str, version: int) -> Any:
        query = {"vector": base64.b64encode(pack(vector_of(teacher, item_id, version))).decode(), "dtype": "f16le"}
        answer = server.http.post("/v1/galleries/shared/search", json=query | {"space": teacher.space_id, "limit": 1})
        assert answer.status_code == 200, answer.text
        return answer.json()["hits"]

    def check(server: RunningServer, writer: Writer) -> None:
        """Each item is found by the vector of its last acknowledged version, or of the one that is uncertain."""
        for item_id, version in list(writer.acknowledged.items()):
            possible = {version} | (
                {writer.uncertain[1]} if writer.uncertain and writer.uncertain[0] == item_id else set()
            )
            answer = server.http.get(f"/v1/galleries/shared/items/{item_id}")
            found = answer.json()["payload"]["version"] if answer.status_code == 200 else 0
            assert found in possible, (item_id, found, possible)
            if found:
                (hit,) = find(server, item_id, found)
                assert (hit["id"], hit["payload"]["version"], round(hit["score"], 2)) == (item_id, found, 1.0)

    with RunningServer(folders[1], "--gallery", "shared") as second:
        first = RunningServer(folders[0], "--gallery", "shared")
        writers = [Writer(server.url, name, teacher) for server, name in ((first, "first"), (second, "second"))]
        searched = _search_meanwhile(second, teacher)
        wait_until(
            lambda: all(each.refused != "" or len(each.acknowledged) == IDS for each in writers),
            "all items to be written",
        )
        first.kill()
        first.stop()
        writers[0].join()
        before = sum(writers[1].acknowledged.values())
        wait_until(
            lambda: writers[1].refused != "" or sum(writers[1].acknowledged.values()) > before + 20 * IDS,
            "the other server to go on",
        )
        writers[1].stop.set()
        writers[1].join()
        assert searched() > 0
        for writer in writers:
            check(second, writer)
        with RunningServer(folders[0], "--gallery", "shared") as again:
            for writer in writers:
                check(again, writer)
            counted = [
                server.http.post("/v1/galleries/shared/items/count", json={}).json()["count"]
                for server in (again, second)
            ]
        assert counted[0] == counted[1]


def _search_meanwhile(server: RunningServer, teacher: Encoder) -> Callable[[], int]:
    """Search in a thread until the result is asked for: how many searches were answered, all with whole items."""
    stop, answered, wrong = threading.Event(), [0], []

    def work() -> None:
        random = np.random.default_rng(0)
        with httpx.Client(base_url=server.url, timeout=60) as http:
            while not stop.is_set():
                vector = random.standard_normal(teacher.manifest.dim).astype(np.float32)
                query = {"vector": base64.b64encode(pack(vector / np.linalg.norm(vector))).decode(), "dtype": "f16le"}
                answer = http.post(
                    "/v1/galleries/shared/search", json=query | {"space": teacher.space_id, "with_vectors": True}
                )
                if answer.status_code != 200:
                    wrong.append(answer.text)
                    return
                for hit in answer.json()["hits"]:
                    # A payload never belongs to another version than the vector and the score.
                    expected = vector_of(teacher, hit["id"], hit["payload"]["version"]).astype(np.float16)
                    if hit["vector"] != base64.b64encode(expected.tobytes()).decode():
                        wrong.append(hit["id"])
                answered[0] += 1

    thread = threading.Thread(target=work, daemon=True)
    thread.start()

    def result() -> int:
        stop.set()
        thread.join(timeout=DEADLINE)
        assert wrong == []
        return answered[0]

    return result
