"""A Milvus that goes away, or is not the right one: requests are refused with the reason, and nothing acknowledged is lost."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path

import pytest

from askew_client.contract.wire import pack
from askew_client.encoding.encoder import Encoder
from tests.server.milvus.varied_items import send_items, vectors_of
from tests.support.in_process_cli import call_askew
from tests.support.milvus_server import MilvusServer
from tests.support.problem_shape import assert_problem
from tests.support.running_server import RunningServer
from tests.support.small_encoders import make_encoder
from tests.support.waiting import wait_until

pytestmark = pytest.mark.slow

ITEMS = {f"item {number}": {"number": number} for number in range(20)}


@pytest.fixture(scope="module")
def own_milvus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MilvusServer]:
    """A Milvus that the tests of this module may kill; it runs again when they are done."""
    with MilvusServer(tmp_path_factory.mktemp("outage") / "lite") as running:
        yield running


@pytest.fixture(scope="module")
def data(own_milvus: MilvusServer, teacher_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A DATA with the gallery `far` in Milvus."""
    data = tmp_path_factory.mktemp("outage") / "data"
    done = call_askew(
        "gallery", "create", "far", "--encoder", teacher_file, "--data", data, "--backend", own_milvus.address
    )
    assert done.returncode == 0, done.stderr
    return data


def test_it_is_refused_at_once_while_milvus_is_gone_and_served_when_it_is_back(
    data: Path, own_milvus: MilvusServer, teacher: Encoder
) -> None:
    query = {
        "vector": base64.b64encode(pack(vectors_of(20, teacher.manifest.dim)[3])).decode(),
        "dtype": "f16le",
        "space": teacher.space_id,
    }
    with RunningServer(data, "--gallery", "near") as server:
        manifest = teacher.manifest.model_dump(mode="json", exclude_none=True)
        assert server.http.put("/v1/galleries/near", json={"teacher": manifest}).status_code == 201
        for name in ("near", "far"):
            send_items(server, name, ITEMS, teacher)
        found = server.http.post("/v1/galleries/far/search", json=query).json()["hits"]
        assert found[0]["id"] == "item 3"

        own_milvus.kill()
        for _ in range(2):
            answer = server.http.post("/v1/galleries/far/search", json=query)
            assert_problem(answer, 503, "not-ready", "The Milvus that holds the items of gallery 'far'")
            # Where it is, is not for everybody who may search.
            assert str(own_milvus.port) not in answer.text
            assert int(answer.headers["Retry-After"]) >= 1
        written = server.http.delete("/v1/galleries/far/items/item%201")
        assert_problem(written, 503, "not-ready", "may be sent again")
        assert_problem(server.http.get("/readyz"), 503, "not-ready", own_milvus.address)
        # The other gallery is served, and one listing shows both.
        assert server.http.post("/v1/galleries/near/search", json=query).json()["hits"][0]["id"] == "item 3"
        listed = server.http.get("/v1/galleries").json()
        assert [each["name"] for each in listed["galleries"]] == ["near"]
        assert [each["name"] for each in listed["damaged"]] == ["far"]

        own_milvus.start()
        wait_until(lambda: server.http.get("/readyz").status_code == 200, "the server to be ready again")
        assert server.http.post("/v1/galleries/far/search", json=query).json()["hits"] == found


def test_a_server_starts_without_its_milvus_and_is_ready_once_it_is_there(
    data: Path, own_milvus: MilvusServer, teacher: Encoder
) -> None:
    own_milvus.kill()
    listed = call_askew("gallery", "list", "--data", data)
    assert own_milvus.address in listed.stderr
    own_milvus.start()
    listed = call_askew("gallery", "list", "--data", data)
    assert "far  (" in listed.stdout


def test_a_collection_of_another_space_or_dimension_or_maker_is_refused(
    own_milvus: MilvusServer, data: Path, tmp_path: Path, teacher: Encoder
) -> None:
    def create(encoder: Path, *options: str) -> str:
        done = call_askew(
            "gallery", "create", "other", "--encoder", encoder, "--data", tmp_path / "data", "--backend",
            own_milvus.address, "--collection", "askew_far", *options,
        )  # fmt: skip
        assert done.returncode == 1
        return done.stderr

    other_space = make_encoder(tmp_path / "space.onnx", role="teacher", seed=5)
    assert f"holds those of {teacher.space_id}" in create(other_space)
    other_dim = make_encoder(tmp_path / "dim.onnx", role="teacher", dim=32, space_id=teacher.space_id)
    assert "holds vectors of 64" in create(other_dim)
    assert not (tmp_path / "data" / "galleries" / "other").exists()


def test_a_token_that_is_missing_is_named_when_a_server_starts(
    own_milvus: MilvusServer, teacher_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = tmp_path / "token"
    secret.write_text("root:Milvus\n")
    with monkeypatch.context() as patched:
        patched.setenv("ASKEW_MILVUS_TOKEN_FILE", str(secret))
        done = call_askew(
            "gallery", "create", "guarded", "--encoder", teacher_file, "--data", tmp_path / "data", "--backend",
            own_milvus.address,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
    assert "root:Milvus" not in "".join(
        path.read_bytes().decode(errors="replace") for path in (tmp_path / "data").rglob("*") if path.is_file()
    )
    missing = call_askew("gallery", "list", "--data", tmp_path / "data")
    assert missing.returncode == 1
    assert "ASKEW_MILVUS_TOKEN" in missing.stderr
