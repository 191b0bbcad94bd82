"""The life of an index: chosen, built in the background, brought up to date, verified, built anew where it is damaged."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from askew_client.contract.wire import pack, pack_base64
from askew_client.encoding.encoder import Encoder
from tests.support.problem_shape import assert_problem
from tests.support.running_server import RunningServer

DIM = 64
COUNT = 1_500
GALLERY = "/v1/galleries/default"
Vectors = NDArray[np.float32]


def _vectors(count: int, seed: int) -> Vectors:
    """Unit vectors in clusters, as float16 holds them."""
    random = np.random.default_rng(seed)
    centres = np.random.default_rng(0).standard_normal((40, DIM))
    vectors = centres[random.integers(0, 40, count)] + 0.7 * random.standard_normal((count, DIM))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float16).astype(np.float32)


STORED = _vectors(COUNT, 1)
QUERIES = _vectors(30, 2)


def _upsert(server: RunningServer, space: str, vectors: Vectors, first: int = 0) -> None:
    items = [
        {"id": f"item-{first + n}", "vector": pack_base64(vector), "dtype": "f16le", "payload": {"n": first + n}}
        for n, vector in enumerate(vectors)
    ]
    for start in range(0, len(items), 1_000):
        answer = server.http.put(f"{GALLERY}/items", json={"space": space, "items": items[start : start + 1_000]})
        assert answer.status_code == 200, answer.text


def _described(server: RunningServer) -> dict[str, Any]:
    index: dict[str, Any] = server.http.get(f"{GALLERY}/index").json()
    return index


def _wait(server: RunningServer, condition: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    deadline = time.monotonic() + 180
    while time.monotonic() < deadline:
        index = _described(server)
        if condition(index):
            return index
        time.sleep(0.05)
    raise AssertionError(f"the index did not become what it should: {index}")


def _is_built(index: dict[str, Any]) -> bool:
    return not index["building"] and index["kind"] == index["chosen"]


def _search(server: RunningServer, space: str, query: Vectors, **options: object) -> list[dict[str, Any]]:
    asked = {"vector": pack_base64(query), "dtype": "f16le", "space": space, **options}
    answer = server.http.post("/search", json=asked)
    assert answer.status_code == 200, answer.text
    hits: list[dict[str, Any]] = answer.json()["hits"]
    return hits


def _truth(vectors: dict[str, Vectors], query: Vectors, limit: int = 10) -> list[str]:
    scored = sorted((-round(float(v.astype(np.float64) @ query.astype(np.float64)), 6), i) for i, v in vectors.items())
    return [item for _, item in scored[:limit]]


def _recall(server: RunningServer, space: str, vectors: dict[str, Vectors], **options: object) -> float:
    shares = []
    for query in QUERIES:
        found = {hit["id"] for hit in _search(server, space, query, limit=10, **options)}
        true = _truth(vectors, query)
        shares.append(len(found.intersection(true)) / len(true))
    return float(np.mean(shares))


def _known(vectors: Vectors, first: int = 0) -> dict[str, Vectors]:
    return {f"item-{first + n}": vector for n, vector in enumerate(vectors)}


@pytest.fixture(scope="module")
def space(teacher_file: Path) -> str:
    return Encoder(teacher_file).space_id


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory, teacher_file: Path, space: str) -> Path:
    """A DATA directory whose gallery has a two-stage index of all its 1,500 items."""
    data = tmp_path_factory.mktemp("built") / "data"
    with RunningServer(data) as server:
        assert server.http.put(GALLERY, content=teacher_file.read_bytes()).status_code == 201
        _upsert(server, space, STORED)
        assert _described(server) | {"estimate": None} == {
            "gallery": "default", "wanted": "auto", "chosen": "exact", "kind": "exact", "exact": True, "vectors": COUNT,
            "main": 0, "tail": COUNT, "removed": 0, "bytes_memory": _described(server)["bytes_memory"], "bytes_mapped": 0,
            "generation": 0, "state": "ready", "building": False, "estimate": None,
        }  # fmt: skip
        answer = server.http.put(f"{GALLERY}/index", json={"kind": "two-stage"})
        assert answer.json()["chosen"] == "two-stage", answer.text
        assert _recall(server, space, _known(STORED)) > 0.98, "searches go on while it is built"
        index = _wait(server, _is_built)
        assert (index["main"], index["tail"], index["generation"], index["state"]) == (COUNT, 0, 1, "ready")
        assert index["recall_at_10"] >= 0.99
        assert index["bytes_mapped"] > 0
    return data


@pytest.fixture
def data(built: Path, tmp_path: Path) -> Path:
    shutil.copytree(built, tmp_path / "data")
    return tmp_path / "data"


@pytest.fixture(scope="module")
def served(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """A server whose gallery nobody changes."""
    copy = tmp_path_factory.mktemp("served") / "data"
    shutil.copytree(built, copy)
    with RunningServer(copy) as server:
        yield server


def test_two_stages_find_what_comparing_all_finds(served: RunningServer, space: str) -> None:
    assert _recall(served, space, _known(STORED)) >= 0.99
    assert _recall(served, space, _known(STORED), exact=True) == 1.0
    asked = {"vector": pack_base64(QUERIES[0]), "dtype": "f16le", "space": space}
    told = [served.http.post("/search", json={**asked, "exact": exact}).json() for exact in (False, True)]
    assert [(answer["index"], answer["exact"]) for answer in told] == [("two-stage", False), ("two-stage", True)]


def test_alone_and_in_a_batch_two_stages_answer_the_same(served: RunningServer, space: str) -> None:
    queries = [{"vector": pack_base64(query), "dtype": "f16le", "space": space} for query in QUERIES]
    batch = served.http.post("/search/batch", json={"queries": queries, "limit": 5}).json()["results"]
    assert [result["hits"] for result in batch] == [_search(served, space, query, limit=5) for query in QUERIES]


@pytest.mark.parametrize("below", [750, 75, 2], ids=["50 %", "5 %", "0.1 %"])
def test_recall_under_a_filter_is_recall_without_one(served: RunningServer, space: str, below: int) -> None:
    condition = {"field": "n", "range": {"lt": below}}
    assert _recall(served, space, _known(STORED[:below]), filter=condition) >= 0.99
    hits = _search(served, space, QUERIES[0], limit=20, filter=condition)
    assert len(hits) == min(20, below)
    assert all(hit["payload"]["n"] < below for hit in hits)


def test_writes_behind_the_main_segment_are_found_at_once_and_after_kill_9(data: Path, space: str) -> None:
    fresh = _vectors(40, 3)
    with RunningServer(data) as server:
        _upsert(server, space, fresh, first=COUNT)
        moved = _vectors(1, 4)
        _upsert(server, space, moved, first=7)
        for n in range(20, 60):
            assert server.http.delete(f"{GALLERY}/items/item-{n}").status_code == 200
        known = _known(STORED) | _known(fresh, COUNT) | {"item-7": moved[0]}
        known = {item: vector for item, vector in known.items() if item not in {f"item-{n}" for n in range(20, 60)}}
        assert _recall(server, space, known, exact=True) == 1.0
        index = _described(server)
        assert (index["vectors"], index["main"], index["removed"]) == (COUNT, COUNT, 41)
        server.kill()
    with RunningServer(data) as server:
        assert _recall(server, space, known, exact=True) == 1.0
        assert _described(server)["vectors"] == COUNT
        assert _search(server, space, moved[0], limit=1)[0]["id"] == "item-7"


def test_a_rebuild_is_a_job_and_leaves_out_what_was_removed(data: Path, space: str) -> None:
    with RunningServer(data) as server:
        deleted = server.http.post(f"{GALLERY}/items/delete", json={"filter": {"field": "n", "range": {"lt": 100}}})
        assert deleted.json()["deleted"] == 100
        assert _described(server)["removed"] == 100
        answer = server.http.post(f"{GALLERY}/index/rebuild")
        assert answer.status_code == 202, answer.text
        deadline = time.monotonic() + 180
        while (job := server.http.get(answer.headers["location"]).json())["state"] in {"waiting", "running"}:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert job["state"] == "done", job
        assert (job["kind"], job["result"]["vectors"]) == ("rebuild-index", COUNT - 100)
        index = _described(server)
        assert (index["main"], index["removed"], index["generation"]) == (COUNT - 100, 0, 2)
        assert _recall(server, space, _known(STORED[100:], 100)) >= 0.99
        # The older generation's files are gone.
        assert [path.name for path in (data / "galleries/default/index").glob("main-*")] == ["main-2"]


def test_back_to_exact_leaves_no_files(data: Path, space: str) -> None:
    with RunningServer(data) as server:
        assert server.http.put(f"{GALLERY}/index", json={"kind": "exact"}).status_code == 200
        assert _wait(server, _is_built)["kind"] == "exact"
        assert _recall(server, space, _known(STORED)) == 1.0
    assert list((data / "galleries/default/index").iterdir()) == []
    with RunningServer(data) as server:
        assert (_described(server)["wanted"], _described(server)["kind"]) == ("exact", "exact")


def _refine_file(data: Path) -> Path:
    (path,) = (data / "galleries/default/index").glob("main-*/refine.faiss")
    return path


def _truncate(data: Path) -> None:
    path = _refine_file(data)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _flip(data: Path) -> None:
    path = _refine_file(data)
    content = path.read_bytes()
    path.write_bytes(content[:500] + bytes(byte ^ 255 for byte in content[500:540]) + content[540:])


def _damage_record(data: Path) -> None:
    (data / "galleries/default/index/main.json").write_text("{")


def _remove(data: Path) -> None:
    shutil.rmtree(data / "galleries/default/index")


@pytest.mark.parametrize("damage", [_truncate, _flip, _damage_record, _remove])
def test_a_damaged_index_is_built_anew_and_searches_go_on(
    data: Path, space: str, damage: Callable[[Path], None]
) -> None:
    damage(data)
    with RunningServer(data) as server:
        assert _recall(server, space, _known(STORED), exact=True) == 1.0
        told = _described(server)
        assert told["building"] or told["generation"] > 0, told
        # A build takes seconds, so it is waited for once.
        if damage is _flip:
            index = _wait(server, lambda each: _is_built(each) and each["state"] == "ready")
            assert (index["main"], index["vectors"]) == (COUNT, COUNT)
            assert _recall(server, space, _known(STORED)) >= 0.99


def test_damage_beyond_the_first_block_is_found_in_the_background(built: Path, tmp_path: Path, space: str) -> None:
    """Blocks are 4 MB, and a small gallery's files are one block: so the manager is given the steps of two."""
    from askew_server.gallery.index_manager import IndexManager
    from askew_server.index import on_disk as saved
    from askew_server.storage.items import ItemStore

    shutil.copytree(built / "galleries/default", tmp_path / "default")
    store = ItemStore(tmp_path / "default")
    first_block_only = [
        saved.VerifyStep(1, 2, None),
        saved.VerifyStep(2, 2, "refine.faiss is damaged between bytes 4 and 8."),
    ]
    keeper = IndexManager("default", store, DIM, verify=lambda folder: first_block_only)
    try:
        deadline = time.monotonic() + 180
        while (told := keeper.statistics()).generation != 2:
            assert time.monotonic() < deadline, told
            time.sleep(0.05)
        assert (told.state, told.vectors) == ("ready", COUNT)
    finally:
        keeper.close()
        store.close()


@pytest.mark.parametrize(
    ("kind", "word"), [("gpu-exact", "GPU"), ("hnsw", "exact"), (None, "kind")], ids=["no GPU", "unknown", "none"]
)
def test_an_index_that_cannot_be_is_refused(served: RunningServer, kind: str | None, word: str) -> None:
    if kind == "gpu-exact" and _has_gpu():
        pytest.skip("there is a GPU")
    answer = served.http.put(f"{GALLERY}/index", json={} if kind is None else {"kind": kind})
    assert_problem(answer, 422, "validation", word)
    assert _described(served)["wanted"] == "two-stage"


def _has_gpu() -> bool:
    import faiss

    return bool(getattr(faiss, "get_num_gpus", lambda: 0)())


def test_a_clean_stop_ends_a_build_and_the_next_start_begins_it_again(
    tmp_path: Path, teacher_file: Path, space: str
) -> None:
    data = tmp_path / "data"
    server = RunningServer(data)
    server.http.put(GALLERY, content=teacher_file.read_bytes())
    _upsert(server, space, STORED)
    assert server.http.put(f"{GALLERY}/index", json={"kind": "two-stage"}).json()["building"]
    began = time.monotonic()
    output = server.stop()
    assert time.monotonic() - began < 10
    assert "Traceback" not in output
    with RunningServer(data) as again:
        assert _wait(again, _is_built)["main"] == COUNT


def test_raw_queries_are_answered_by_two_stages_too(served: RunningServer, space: str) -> None:
    headers = {"Content-Type": "application/octet-stream", "Askew-Space": space, "Askew-Dtype": "f16le"}
    answer = served.http.post("/search?limit=3", content=pack(STORED[5]), headers=headers)
    assert answer.json()["hits"][0]["id"] == "item-5"
    assert json.loads(answer.content)["index"] == "two-stage"
