"""What Askew 0.1 wrote is opened by today's: DATA, a snapshot, encoder files, Parquet. made_at_0.1/make.py made them."""

from __future__ import annotations

import base64
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from askew_client.cli.taken import Intake
from askew_client.contract.filters.field_paths import field_path
from askew_client.contract.jobs import RESULT_MODELS
from askew_client.encoding.encoder import Encoder
from askew_server.gallery.catalog import Catalog
from askew_server.gallery.items import read_page
from askew_server.ingest.parquet import ParquetItems
from askew_server.maintenance.doctor import examine_data
from askew_server.maintenance.restore import restore_gallery
from tests.support.paths import MADE_AT_0_1
from tests.support.running_server import RunningServer

OBJECTS = "/v1/galleries/objects"
MANY = "/v1/galleries/many"


@pytest.fixture(scope="module")
def expected() -> Any:
    """What Askew 0.1 answered from the DATA that it had written."""
    return json.loads((MADE_AT_0_1 / "expected.json").read_text())


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """DATA as Askew 0.1 left it; its last server was killed, so that writes are in a write-ahead log."""
    folder = tmp_path_factory.mktemp("made")
    with tarfile.open(MADE_AT_0_1 / "data.tar.xz") as tar:
        tar.extractall(folder, filter="data")
    return folder / "data"


@pytest.fixture(scope="module")
def saved_index(made: Path) -> dict[str, bytes]:
    """The files of the saved index of `many`, as they were before today's Askew opened them."""
    folder = made / "galleries" / "many" / "index"
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def server(made: Path, saved_index: dict[str, bytes], expected: Any) -> Iterator[RunningServer]:
    """A server of today on that DATA, and the owner's key."""
    diagnosis = examine_data(made, repair=False)
    assert diagnosis.is_well, diagnosis.findings
    assert diagnosis.findings == []
    assert diagnosis.galleries == {"many": 1_202, "next": 12, "objects": 24}
    with RunningServer(made, "--gallery", "live") as running:
        running.http.headers["Authorization"] = f"Bearer {expected['keys']['admin']}"
        yield running


# What did not exist at 0.1.
NEWER_KINDS = {"change-teacher", "offline-pack"}
NEWER_MEMBERS = {"offline_pack"}


def without_newer_members(answer: Any) -> Any:
    """An answer without the members that the contract has gained since."""
    if isinstance(answer, list):
        return [without_newer_members(each) for each in answer]
    if isinstance(answer, dict):
        return {name: without_newer_members(value) for name, value in answer.items() if name not in NEWER_MEMBERS}
    return answer


def test_galleries_items_aliases_encoders_probes_and_jobs_are_as_they_were(
    server: RunningServer, expected: Any
) -> None:
    answers = dict(expected["answers"])
    index = answers.pop(f"{MANY}/index")
    for path, answer in answers.items():
        assert without_newer_members(server.http.get(path).json()) == answer, path
    now = server.http.get(f"{MANY}/index").json()
    unchanging = {
        "kind",
        "wanted",
        "chosen",
        "vectors",
        "main",
        "tail",
        "removed",
        "k_factor",
        "recall_at_10",
        "generation",
    }
    assert {name: now[name] for name in unchanging} == {name: index[name] for name in unchanging}


def test_a_job_of_every_kind_is_remembered_with_its_result(server: RunningServer) -> None:
    jobs = server.http.get("/v1/jobs").json()["jobs"]
    assert {job["kind"] for job in jobs} == set(RESULT_MODELS) - NEWER_KINDS
    assert {job["state"] for job in jobs} == {"done", "failed"}
    for job in jobs:
        if job["state"] == "done":
            result = server.http.get(f"/v1/jobs/{job['id']}").json()["result"]
            assert RESULT_MODELS[job["kind"]].model_validate(result).model_dump(mode="json") == result


def test_the_same_searches_have_the_same_answers(server: RunningServer, expected: Any) -> None:
    for search in expected["searches"]:
        answer = server.http.post(f"/v1/galleries/{search['gallery']}/search", json=search["body"])
        assert answer.status_code == 200, answer.text
        hits, wanted = answer.json()["hits"], search["answer"]["hits"]
        scores = {hit["id"]: hit["score"] for hit in hits}
        if search["gallery"] == "many" and "exact" not in search["body"]:
            # The index is approximate: other hardware may see other items at the end of the list.
            assert hits[0]["id"] == wanted[0]["id"]
            wanted = [hit for hit in wanted if hit["id"] in scores]
            assert len(wanted) >= 8
        else:
            assert [(hit["id"], hit["payload"], hit.get("group")) for hit in hits] == [
                (hit["id"], hit["payload"], hit.get("group")) for hit in wanted
            ]
        assert [scores[hit["id"]] for hit in wanted] == pytest.approx([hit["score"] for hit in wanted], abs=1e-6)


def test_its_payloads_are_filtered_by_every_one_of_their_keys(server: RunningServer) -> None:
    """Its odd payloads among them; see ODD_PAYLOADS of make.py."""
    items = server.http.get(f"{OBJECTS}/items", params={"limit": 1_000}).json()["items"]
    keys = {key for item in items for key in item["payload"]}
    assert len(keys) > 3
    for key in keys:
        having = [item for item in items if key in item["payload"]]
        condition: dict[str, Any] = {"field": field_path(key), "exists": True}
        answer = server.http.get(f"{OBJECTS}/items", params={"filter": json.dumps(condition), "limit": 1_000}).json()
        assert answer["items"] == having
        for value in [item["payload"][key] for item in having if isinstance(item["payload"][key], str | int | float)]:
            condition = {"field": field_path(key), "eq": value}
            answer = server.http.get(
                f"{OBJECTS}/items", params={"filter": json.dumps(condition), "limit": 1_000}
            ).json()
            same = [item for item in having if json.dumps(item["payload"][key]) == json.dumps(value)]
            assert [item for item in answer["items"] if item in same] == same


def test_photos_are_served_to_the_byte(server: RunningServer, expected: Any) -> None:
    pictured = [
        item
        for item in expected["answers"][f"{OBJECTS}/items?limit=1000&with_vectors=true"]["items"]
        if item["has_photo"]
    ]
    assert len(pictured) == 12
    for item in pictured:
        photo = server.http.get(f"{OBJECTS}/items/{item['id']}/photo")
        assert photo.headers["etag"] == f'"{item["photo_sha256"]}"'


def test_old_keys_keep_their_permissions_and_a_revoked_one_has_none(server: RunningServer, expected: Any) -> None:
    def status(path: str, key: str | None) -> int:
        headers = {} if key is None else {"Authorization": f"Bearer {expected['keys'][key]}"}
        return http.get(path, headers=headers).status_code

    with httpx.Client(base_url=server.url) as http:
        assert [status("/v1/galleries/live", key) for key in ("admin", "search", "write", "revoked", None)] == [
            200, 200, 200, 401, 401,
        ]  # fmt: skip
        assert [status("/v1/jobs", key) for key in ("search", "write")] == [403, 200]
        assert [status("/v1/keys", key) for key in ("write", "admin")] == [403, 200]
        assert status(MANY, "search") == 403


def test_encoder_files_compute_the_vectors_that_they_computed(
    server: RunningServer, expected: Any, tmp_path: Path
) -> None:
    photo = server.http.get(f"{OBJECTS}/items/object-pencil.jpg/photo").content
    item = server.http.get(f"{OBJECTS}/items/object-pencil.jpg?with_vectors=true").json()
    recorded = {"teacher@1": item["vector"], "student@1": expected["searches"][2]["body"]["vector"]}
    for name, vector in recorded.items():
        path = tmp_path / f"{name}.onnx"
        path.write_bytes(server.http.get(f"/v1/encoders/{name}/file").content)
        encoder = Encoder(path)
        encoder.check_golden()
        stored = np.frombuffer(base64.b64decode(vector), dtype="<f2").astype(np.float32)
        assert float(encoder.encode(photo) @ stored) == pytest.approx(1, abs=1e-3)


def test_a_retired_encoder_is_still_refused_by_name(server: RunningServer, expected: Any) -> None:
    query = {**expected["searches"][0]["body"], "encoder": "student@0"}
    refused = server.http.post(f"{OBJECTS}/search", json=query)
    assert refused.status_code == 409
    assert "student@1" in refused.json()["detail"]


def test_it_is_written_to_and_the_saved_index_is_used_and_not_rebuilt(
    server: RunningServer, made: Path, saved_index: dict[str, bytes]
) -> None:
    space = server.http.get(MANY).json()["space"]
    vector = (np.eye(1, 64, dtype=np.float32)[0]).tolist()
    put = server.http.put(f"{MANY}/items", json={"space": space, "items": [{"id": "of today", "vector": vector}]})
    assert put.json() == {"upserted": 1, "sequence": 1_209}
    found = server.http.post(f"{MANY}/search", json={"vector": vector, "space": space, "limit": 1}).json()
    assert (found["hits"][0]["id"], found["index"]) == ("of today", "two-stage")
    assert server.http.get(f"{MANY}/index").json()["generation"] == 1
    folder = made / "galleries" / "many" / "index"
    assert {name: (folder / name).read_bytes() for name in saved_index} == saved_index


def test_a_snapshot_is_restored(tmp_path: Path, expected: Any) -> None:
    galleries = Catalog(tmp_path / "data", owner="a test")
    try:
        galleries.load()
        manifest = restore_gallery(
            galleries, "again", MADE_AT_0_1 / "objects-snapshot.tar", lambda *_: None, before_adoption=lambda: None
        )
        assert (manifest.items, manifest.photos, manifest.sequence) == (24, 12, 27)
        page = galleries.get("again").run(lambda each: read_page(each.store, None, 1_000, with_vectors=True))
    finally:
        galleries.close()
    items = expected["answers"][f"{OBJECTS}/items?limit=1000&with_vectors=true"]["items"]
    assert [item.model_dump(exclude_none=True) for item in page.items] == items


def test_a_parquet_file_is_read(expected: Any) -> None:
    file = ParquetItems(MADE_AT_0_1 / "objects.parquet")
    (batch,) = file.batches(64, Intake("items"))
    items = {item["id"]: item for item in expected["answers"][f"{OBJECTS}/items?limit=1000&with_vectors=true"]["items"]}
    assert sorted(batch.ids) == sorted(items)
    for identity, vector, payload in zip(batch.ids, batch.vectors, batch.payloads, strict=True):
        assert payload == items[identity]["payload"]
        assert vector.astype("<f2").tobytes() == base64.b64decode(items[identity]["vector"])
    assert file.space == expected["answers"][OBJECTS]["space"]
    assert file.teacher is not None
    assert file.teacher.encoder_id == "teacher@1"
