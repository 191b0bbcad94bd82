"""The life of a saved index: chosen, built in the background, brought up to date, verified, rebuilt when damaged.

tests/server/index/congruence.py tests what searches and changes must do.
"""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from askew_client.contract.manifest import Manifest
from askew_client.contract.wire import pack, pack_base64
from askew_client.encoding.encoder import Encoder
from askew_server.gallery.catalog import Catalog
from askew_server.gallery.gallery import Gallery
from askew_server.gallery.index_manager import IndexManager, open_index
from askew_server.index.exact import ExactSegment
from askew_server.index.on_disk import VerifyStep
from askew_server.index.port import BuildFailed
from askew_server.index.types import Labels, Vectors
from askew_server.storage.items import ItemBatch, SqliteItemStore, StoredItem
from tests.support.gallery_vectors import clustered
from tests.support.indexed_items import IndexedItems
from tests.support.problem_shape import assert_problem
from tests.support.running_server import RunningServer
from tests.support.waiting import DEADLINE, wait_until

pytestmark = pytest.mark.slow

DIM = 64
COUNT = 1_100
GALLERY = "/v1/galleries/default"

VECTORS = clustered(COUNT + 60, DIM, seed=1)
STORED, NEW = VECTORS[:COUNT], VECTORS[COUNT:]
QUERIES = clustered(20, DIM, seed=2)


def known(vectors: Vectors, first: int = 0) -> dict[str, Vectors]:
    return {f"item-{first + n}": vector for n, vector in enumerate(vectors)}


def upsert(server: RunningServer, space: str, vectors: Vectors, first: int = 0) -> None:
    items = [
        {"id": item_id, "vector": pack_base64(vector), "dtype": "f16le", "payload": {"n": first + n}}
        for n, (item_id, vector) in enumerate(known(vectors, first).items())
    ]
    answer = server.http.put(f"{GALLERY}/items", json={"space": space, "items": items})
    assert answer.status_code == 200, answer.text


def described(server: RunningServer) -> dict[str, Any]:
    index: dict[str, Any] = server.http.get(f"{GALLERY}/index").json()
    return index


def wait_for_index(server: RunningServer) -> dict[str, Any]:
    """What is said of the index once it has the kind that it should have."""
    wait_until(
        lambda: not described(server)["building"] and described(server)["kind"] == described(server)["chosen"],
        "the index to be built",
    )
    return described(server)


def search(server: RunningServer, space: str, query: Vectors, **options: object) -> list[dict[str, Any]]:
    asked = {"vector": pack_base64(query), "dtype": "f16le", "space": space, **options}
    answer = server.http.post("/search", json=asked)
    assert answer.status_code == 200, answer.text
    hits: list[dict[str, Any]] = answer.json()["hits"]
    return hits


def recall(server: RunningServer, space: str, vectors: dict[str, Vectors], **options: object) -> float:
    """The share of the true ten nearest among the hits, over the queries."""
    shares = []
    for query in QUERIES:
        scores = {item: round(float(v.astype(np.float64) @ query.astype(np.float64)), 6) for item, v in vectors.items()}
        true = sorted(scores, key=lambda item: (-scores[item], item))[:10]
        found = {hit["id"] for hit in search(server, space, query, limit=10, **options)}
        shares.append(len(found.intersection(true)) / len(true))
    return float(np.mean(shares))


@pytest.fixture(scope="module")
def manifest(teacher_file: Path) -> Manifest:
    return Encoder(teacher_file).manifest


@pytest.fixture(scope="module")
def space(manifest: Manifest) -> str:
    return manifest.space_id


@pytest.fixture(scope="module")
def exact(tmp_path_factory: pytest.TempPathFactory, manifest: Manifest) -> Path:
    """A DATA directory with 1,100 items, searched exactly."""
    data = tmp_path_factory.mktemp("exact") / "data"
    payloads = [f'{{"n": {n}}}' for n in range(COUNT)]
    with closing(Catalog(data, owner="a test")) as catalog:
        catalog.load()
        gallery, _ = catalog.get_or_create("default", manifest)
        gallery.run(lambda each: each.upsert(ItemBatch(list(known(STORED)), STORED.astype(np.float16), payloads)))
    return data


@pytest.fixture(scope="module")
def built(exact: Path, tmp_path_factory: pytest.TempPathFactory, space: str) -> Path:
    """The same, in two stages, built by a server that was asked for it."""
    data = tmp_path_factory.mktemp("built") / "data"
    shutil.copytree(exact, data)
    with RunningServer(data) as server:
        before = described(server)
        assert {**before, "estimate": None, "bytes_memory": None} == {
            "gallery": "default", "wanted": "auto", "chosen": "exact", "kind": "exact", "exact": True, "vectors": COUNT,
            "main": 0, "tail": COUNT, "removed": 0, "bytes_memory": None, "bytes_mapped": 0, "generation": 0,
            "state": "ready", "building": False, "estimate": None,
        }  # fmt: skip
        assert before["estimate"]["bytes_memory"] == 4 * COUNT * DIM
        answer = server.http.put(f"{GALLERY}/index", json={"kind": "two-stage"})
        assert answer.json()["chosen"] == "two-stage", answer.text
        assert recall(server, space, known(STORED)) > 0.98, "searches continue while it is built"
        index = wait_for_index(server)
        assert (index["main"], index["tail"], index["generation"], index["state"]) == (COUNT, 0, 1, "ready")
        assert index["recall_at_10"] >= 0.99
        assert index["bytes_mapped"] > 0
    return data


@pytest.fixture
def data(built: Path, tmp_path: Path) -> Path:
    shutil.copytree(built, tmp_path / "data")
    return tmp_path / "data"


@pytest.fixture
def gallery(built: Path, tmp_path: Path) -> Path:
    """The folder of a copy of the gallery, for tests without a server."""
    return Path(shutil.copytree(built / "galleries" / "default", tmp_path / "default"))


@pytest.fixture(scope="module")
def served(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """A server whose gallery no test changes."""
    copy = tmp_path_factory.mktemp("served") / "data"
    shutil.copytree(built, copy)
    with RunningServer(copy) as server:
        yield server


# Over HTTP


def test_two_stages_find_the_same_as_an_exact_search(served: RunningServer, space: str) -> None:
    assert recall(served, space, known(STORED)) >= 0.985
    assert recall(served, space, known(STORED), exact=True) == 1.0
    asked = {"vector": pack_base64(QUERIES[0]), "dtype": "f16le", "space": space}
    answers = [served.http.post("/search", json={**asked, "exact": exact}).json() for exact in (False, True)]
    assert [(answer["index"], answer["exact"]) for answer in answers] == [("two-stage", False), ("two-stage", True)]
    headers = {"Content-Type": "application/octet-stream", "Askew-Space": space, "Askew-Dtype": "f16le"}
    raw = served.http.post("/search?limit=3", content=pack(STORED[5]), headers=headers).json()
    assert (raw["hits"][0]["id"], raw["index"]) == ("item-5", "two-stage")


def test_alone_and_in_a_batch_two_stages_answer_the_same(served: RunningServer, space: str) -> None:
    queries = [{"vector": pack_base64(query), "dtype": "f16le", "space": space} for query in QUERIES]
    batch = served.http.post("/search/batch", json={"queries": queries, "limit": 5}).json()["results"]
    assert [result["hits"] for result in batch] == [search(served, space, query, limit=5) for query in QUERIES]


@pytest.mark.parametrize("below", [550, 2], ids=["50 %", "0.2 %"])
def test_recall_under_a_filter_is_recall_without_one(served: RunningServer, space: str, below: int) -> None:
    condition = {"field": "n", "range": {"lt": below}}
    assert recall(served, space, known(STORED[:below]), filter=condition) >= 0.99
    hits = search(served, space, QUERIES[0], limit=20, filter=condition)
    assert len(hits) == min(20, below)
    assert all(hit["payload"]["n"] < below for hit in hits)


@pytest.mark.parametrize(
    ("kind", "word"), [("gpu-exact", "GPU"), ("hnsw", "exact"), (None, "kind")], ids=["no GPU", "unknown", "none"]
)
def test_an_index_that_cannot_be_is_refused(served: RunningServer, kind: str | None, word: str) -> None:
    if kind == "gpu-exact" and _has_gpu():
        pytest.skip("there is a GPU")
    answer = served.http.put(f"{GALLERY}/index", json={} if kind is None else {"kind": kind})
    assert_problem(answer, 422, "validation", word)
    assert described(served)["wanted"] == "two-stage"


def _has_gpu() -> bool:
    import faiss

    return bool(getattr(faiss, "get_num_gpus", lambda: 0)())


def test_writes_behind_the_main_segment_are_found_at_once_and_after_kill_9(data: Path, space: str) -> None:
    expected = known(STORED) | known(NEW[:40], COUNT) | {"item-7": NEW[40]}
    expected = {item: vector for item, vector in expected.items() if item not in {f"item-{n}" for n in range(20, 60)}}
    with RunningServer(data) as server:
        upsert(server, space, NEW[:40], first=COUNT)
        upsert(server, space, NEW[40:41], first=7)
        deleted = {"ids": [f"item-{n}" for n in range(20, 60)]}
        assert server.http.post(f"{GALLERY}/items/delete", json=deleted).json()["deleted"] == 40
        assert recall(server, space, expected, exact=True) == 1.0
        index = described(server)
        assert (index["vectors"], index["main"], index["removed"]) == (COUNT, COUNT, 41)
        server.kill()
    with RunningServer(data) as server:
        assert recall(server, space, expected, exact=True) == 1.0
        assert described(server)["vectors"] == COUNT
        assert search(server, space, NEW[40], limit=1)[0]["id"] == "item-7"


def test_a_rebuild_is_a_job_and_drops_removed_vectors(data: Path, space: str) -> None:
    with RunningServer(data) as server:
        deleted = server.http.post(f"{GALLERY}/items/delete", json={"filter": {"field": "n", "range": {"lt": 50}}})
        assert deleted.json()["deleted"] == 50
        assert described(server)["removed"] == 50
        answer = server.http.post(f"{GALLERY}/index/rebuild")
        assert answer.status_code == 202, answer.text
        job = answer.json()
        deadline = time.monotonic() + DEADLINE
        while (job := server.http.get(answer.url.join(answer.headers["location"])).json())["state"] in {
            "waiting",
            "running",
        }:
            assert time.monotonic() < deadline, job
            time.sleep(0.02)
        assert job["state"] == "done", job
        assert (job["kind"], job["result"]["vectors"]) == ("rebuild-index", COUNT - 50)
        index = described(server)
        assert (index["main"], index["removed"], index["generation"]) == (COUNT - 50, 0, 2)
        assert recall(server, space, known(STORED[50:], 50)) >= 0.99
        # The older generation's files are gone.
        assert [path.name for path in (data / "galleries/default/index").glob("main-*")] == ["main-2"]


def test_a_clean_stop_ends_a_build_and_the_next_start_begins_it_again(exact: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    shutil.copytree(exact, data)
    server = RunningServer(data)
    assert server.http.put(f"{GALLERY}/index", json={"kind": "two-stage"}).json()["building"]
    output = server.stop()
    assert "Traceback" not in output
    with RunningServer(data) as again:
        assert wait_for_index(again)["main"] == COUNT


# In this process


def test_back_to_exact_leaves_no_files(gallery: Path) -> None:
    with IndexedItems(gallery, DIM, open_index) as items:
        items.index.choose("exact")
        wait_until(lambda: items.index.statistics().kind == "exact", "the exact index")
        wait_until(lambda: not items.index.status().is_building, "the end of the rebuild")
        assert_complete(items)
    assert list((gallery / "index").iterdir()) == []
    with IndexedItems(gallery, DIM, open_index) as again:
        assert (again.index.status().wanted, again.index.statistics().kind) == ("exact", "exact")


def assert_complete(items: IndexedItems) -> None:
    """Every vector is found by itself."""
    found = items.search(STORED, 1, exact=True)
    assert [label in row for label, row in enumerate(found.labels, 1)] == [True] * COUNT


def _refine_file(gallery: Path) -> Path:
    (path,) = (gallery / "index").glob("main-*/refine.faiss")
    return path


def _truncate(gallery: Path) -> None:
    path = _refine_file(gallery)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _flip(gallery: Path) -> None:
    path = _refine_file(gallery)
    content = path.read_bytes()
    path.write_bytes(content[:500] + bytes(byte ^ 255 for byte in content[500:540]) + content[540:])


def _damage_record(gallery: Path) -> None:
    (gallery / "index" / "main.json").write_text("{")


def _remove(gallery: Path) -> None:
    shutil.rmtree(gallery / "index")


@pytest.mark.parametrize("damage", [_truncate, _flip, _damage_record, _remove], ids=lambda damage: damage.__name__)
def test_a_damaged_index_is_rebuilt_and_searches_continue(
    gallery: Path, damage: Callable[[Path], None], caplog: pytest.LogCaptureFixture
) -> None:
    damage(gallery)
    with caplog.at_level(logging.ERROR), IndexedItems(gallery, DIM, open_index) as items:
        assert items.index.statistics().kind == "exact"
        assert items.index.status().is_building
        assert_complete(items)
        # A missing index may never have been built, so only the others are reported.
        assert ("It is being rebuilt." in caplog.text) == (damage is not _remove)
        # A build takes a second, so it is waited for once.
        if damage is _flip:
            wait_until(lambda: items.index.statistics().kind == "two-stage", "the rebuilt index")
            statistics = items.index.statistics()
            assert (statistics.main, statistics.vectors, statistics.state) == (COUNT, COUNT, "ready")
            assert_complete(items)


def test_damage_behind_the_first_block_is_found_in_the_background(
    gallery: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Blocks are 4 MiB, and a small gallery's files are one block: so the manager is given the steps of two."""
    damaged = "refine.faiss is damaged between bytes 4 and 8."

    def opened(name: str, store: SqliteItemStore, dim: int) -> IndexManager:
        steps = [VerifyStep(1, 2, None), VerifyStep(2, 2, damaged)]
        return IndexManager(name, store, dim, verify=lambda folder: steps)

    with caplog.at_level(logging.ERROR), IndexedItems(gallery, DIM, opened) as items:
        wait_until(lambda: items.index.statistics().generation == 2, "the second generation")
        assert_complete(items)
        assert (items.index.statistics().state, items.index.statistics().vectors) == ("ready", COUNT)
    assert f"{damaged} It is being rebuilt." in caplog.text


def test_a_rebuild_that_fails_is_reported_and_the_older_index_is_used(gallery: Path) -> None:
    with IndexedItems(gallery, DIM, open_index) as items:
        database = items.store.connection
        whole = database.value("SELECT vector FROM vectors WHERE label = 1")
        database.execute("UPDATE vectors SET vector = x'00' WHERE label = 1")
        with pytest.raises(BuildFailed, match=r"cannot reshape|buffer size"):
            items.index.rebuild(lambda done, total: None, lambda: False)
        assert items.index.rebuilds == {"ok": 0, "failed": 1}
        assert items.index.status().failure
        assert items.index.statistics().generation == 1
        assert_complete(items)
        database.execute("UPDATE vectors SET vector = ? WHERE label = 1", (whole,))
        assert items.index.rebuild(lambda done, total: None, lambda: False).generation == 2
        assert (items.index.rebuilds, items.index.status().failure) == ({"ok": 1, "failed": 1}, None)


def test_a_change_that_only_the_database_has_comes_into_the_index_by_itself(
    gallery: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """As if memory was used up for a while, after the commit."""
    add, fails = ExactSegment.add, [True]

    def fail(segment: ExactSegment, labels: Labels, vectors: Vectors) -> None:
        if fails:
            raise MemoryError
        add(segment, labels, vectors)

    with closing(Gallery.open(gallery)) as opened:
        replaced = opened.store.page("", 1)[0].id
        before = opened.index.search_blocking(NEW[:1], 1).labels
        monkeypatch.setattr(ExactSegment, "add", fail)
        with pytest.raises(MemoryError):
            opened.upsert(ItemBatch.of([StoredItem(replaced, NEW[0], {}, None)]))
        assert "not in the index" in (opened.index.status().failure or "")
        assert "The index is being repaired" in caplog.text
        assert (opened.index.search_blocking(NEW[:1], 1).labels == before).all()
        fails.clear()
        wait_until(lambda: opened.index.status().failure is None, "the index to be repaired")
        (labels,) = opened.index.search_blocking(NEW[:1], 1).labels
        assert [identity for _, identity, _, _ in opened.store.candidates(labels.tolist()[:1])] == [replaced]
        assert opened.index.statistics().vectors == opened.store.counts()[0]
