"""A flipped bit in any file of a gallery: it is noticed, and the index is rebuilt or the gallery set aside.

A DATA directory holds an intact gallery and many copies of it, each with one other bit flipped. No copy may answer
wrongly.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from askew_client.contract.wire import pack_base64
from askew_client.encoding.encoder import Encoder
from tests.support.gallery_files import described, item_json, unit_vector, write_gallery
from tests.support.in_process_cli import call_askew
from tests.support.running_server import RunningServer

COPIES = 12
SEED = int(os.environ.get("SOAK_SEED", "0"))
"""Another seed flips other bits: `make soak` tries several."""
FLIPPED_KEYS = 6 if SEED else 2
"""How many variants of askew.db with one flipped bit are tried."""


@pytest.fixture(scope="module")
def indexed(teacher_file: Path, photos: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """DATA with the gallery `objects`: 12 photos of the demo."""
    data = tmp_path_factory.mktemp("indexed") / "data"
    write_gallery(data, "objects", teacher_file, described(Encoder(teacher_file), photos))
    return data


@pytest.fixture(scope="module")
def stopped(indexed: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """DATA of a server that was stopped, with the gallery `objects`."""
    data = tmp_path_factory.mktemp("stopped") / "data"
    shutil.copytree(indexed, data)
    with RunningServer(data, "--gallery", "objects") as server:
        _write(server.http, range(30))
    return data


@pytest.fixture(scope="module")
def killed(indexed: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """DATA of a server that was killed: its last writes are in the write-ahead log."""
    data = tmp_path_factory.mktemp("killed") / "data"
    shutil.copytree(indexed, data)
    server = RunningServer(data, "--gallery", "objects")
    _write(server.http, range(30))
    server.kill()
    server.http.close()
    assert server.process.stdout is not None
    server.process.stdout.close()
    assert (data / "galleries" / "objects" / "gallery.db-wal").stat().st_size > 30 * 4_096
    return data


def _write(http: httpx.Client, seeds: range) -> None:
    space = http.get("/v1/galleries/objects").json()["space"]
    for seed in seeds:
        items = [item_json(f"seed-{seed}", seed, seed=seed)]
        answer = http.put("/v1/galleries/objects/items", json={"space": space, "items": items})
        assert answer.status_code == 200, answer.text


def _answers(http: httpx.Client, gallery: str) -> Iterator[tuple[str, httpx.Response, Any]]:
    """The answers of a gallery: a name of the question, the answer, and the part of it that must be right."""
    space = http.get("/v1/galleries/intact").json()["space"]
    path = f"/v1/galleries/{gallery}"
    listing = http.get(f"{path}/items?limit=1000&with_vectors=true")
    yield "listing", listing, listing.json().get("items")
    for seed in (0, 7, 29):
        query = {"vector": pack_base64(unit_vector(seed)), "dtype": "f16le", "space": space, "limit": 5}
        found = http.post(f"{path}/search", json=query)
        yield f"search {seed}", found, found.json().get("hits")
        filtered = {**query, "filter": {"field": "seed", "range": {"gte": 10}}}
        found = http.post(f"{path}/search", json=filtered)
        yield f"filtered {seed}", found, found.json().get("hits")
    for item in ("seed-3", "seed-28"):
        one = http.get(f"{path}/items/{item}")
        yield item, one, one.json()


def _copies(data: Path, target: Path, file: str, bits: np.random.Generator) -> list[str]:
    """Make DATA with an intact copy and many with one flipped bit in `file`, a pattern within the gallery's folder."""
    source = data / "galleries" / "objects"
    names = []
    shutil.copytree(source, target / "galleries" / "intact")
    for number in range(COPIES):
        name = f"flipped-{number}"
        folder = target / "galleries" / name
        shutil.copytree(source, folder)
        files = sorted(folder.glob(file))
        assert files, f"there is no {file}"
        path = files[number % len(files)]
        content = bytearray(path.read_bytes())
        # Empty pages are never read. The beginning, which everything else depends on, is hit more often.
        used = np.flatnonzero(np.frombuffer(bytes(content), dtype=np.uint8))
        position = int(bits.choice(used[used < 600] if number % 3 == 0 else used))
        content[position] ^= 1 << int(bits.integers(8))
        path.write_bytes(content)
        names.append(name)
    return names


@pytest.mark.parametrize("file", ["gallery.db", "gallery.db-wal", "gallery.db-shm"])
def test_a_flipped_bit_in_a_database_is_noticed_or_without_effect(
    stopped: Path, killed: Path, tmp_path: Path, file: str
) -> None:
    data = tmp_path / "data"
    names = _copies(stopped if file == "gallery.db" else killed, data, file, np.random.default_rng([len(file), SEED]))
    set_aside = 0
    with RunningServer(data, "--gallery", "intact") as server:
        right = {question: value for question, _, value in _answers(server.http, "intact")}
        assert len(right["listing"]) == 12 + 30
        for name in names:
            for question, answer, value in _answers(server.http, name):
                if answer.status_code == 200:
                    assert value == right[question], f"{name} answers {question} wrongly"
                else:
                    assert answer.status_code == 503, f"{name}, {question}: {answer.status_code} {answer.text}"
                    assert answer.json()["type"] == "/problems/damaged-gallery", answer.text
            damaged = server.http.get(f"/v1/galleries/{name}").status_code == 503
            set_aside += damaged
        output = server.stop()
        assert "Traceback" not in output
    # The shared memory is rebuilt; in the other files almost every bit matters.
    assert set_aside >= (0 if file.endswith("-shm") else COPIES // 2)


def test_a_flipped_bit_in_a_photo_is_not_served(stopped: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    names = _copies(stopped, data, "photos/*/*.jpg", np.random.default_rng([3, SEED]))
    with RunningServer(data, "--gallery", "intact") as server:
        items = server.http.get("/v1/galleries/intact/items?limit=1000").json()["items"]
        pictured = [item for item in items if item["has_photo"]]
        for name in names:
            refused = 0
            for item in pictured:
                answer = server.http.get(f"/v1/galleries/{name}/items/{item['id']}/photo")
                if answer.status_code != 200:
                    assert answer.json()["type"] == "/problems/damaged-gallery", answer.text
                    refused += 1
            assert refused == 1


def test_a_flipped_bit_in_an_encoder_file_is_noticed_by_clients_and_by_the_doctor(
    stopped: Path, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    shutil.copytree(stopped, data)
    (encoder,) = (data / "galleries" / "objects" / "encoders").glob("*.onnx")
    content = bytearray(encoder.read_bytes())
    content[len(content) // 2] ^= 1
    encoder.write_bytes(content)
    photo = next((data / "galleries" / "objects" / "photos").glob("*/*.jpg")).read_bytes()
    with RunningServer(data, "--gallery", "objects", "--photo-search") as server:
        fetched = server.http.get("/v1/encoders/teacher@1/file")
        assert fetched.status_code == 200
        searched = server.http.post("/search/photo", content=photo, headers={"Content-Type": "image/jpeg"})
        assert searched.status_code >= 400
        assert "Traceback" not in searched.text
        query = {"vector": pack_base64(unit_vector(3)), "dtype": "f16le", "limit": 1}
        query["space"] = server.http.get("/v1/galleries/objects").json()["space"]
        assert server.http.post("/search", json=query).json()["hits"][0]["id"] == "seed-3"
    (tmp_path / "fetched.onnx").write_bytes(fetched.content)
    inspected = call_askew("inspect", tmp_path / "fetched.onnx")
    assert inspected.returncode == 1
    assert "damaged" in inspected.stderr
    assert call_askew("doctor", "--data", data).returncode == 1


@pytest.mark.parametrize("damage", ["flipped", "truncated", "empty", "not a database"])
def test_a_damaged_database_of_the_server_never_opens_it_to_everybody(
    stopped: Path, tmp_path: Path, damage: str
) -> None:
    """Keys are in askew.db: a server that cannot read them starts with a sentence why not, or not at all."""
    data = tmp_path / "data"
    shutil.copytree(stopped, data)
    made = call_askew("key", "create", "a", "--scope", "admin", "--data", data)
    assert made.returncode == 0, made.stderr
    path = data / "askew.db"
    content = path.read_bytes()
    bits = np.random.default_rng([9, SEED])
    variants = {
        "flipped": [_flipped(content, bits) for _ in range(FLIPPED_KEYS)],
        "truncated": [content[: len(content) // 2], content[:100]],
        "empty": [b""],
        "not a database": [b"x" * len(content)],
    }
    for variant in variants[damage]:
        path.write_bytes(variant)
        for file in data.glob("askew.db-*"):
            file.unlink()
        try:
            server = RunningServer(data, "--gallery", "objects")
        except AssertionError as error:
            assert "askew.db" in str(error)
            assert "Traceback" not in str(error)
            continue
        with server:
            answer = server.http.get("/v1/keys")
            assert answer.status_code in {401, 403, 503}, answer.text


def _flipped(content: bytes, bits: np.random.Generator) -> bytes:
    changed = bytearray(content)
    changed[int(bits.integers(len(changed)))] ^= 1 << int(bits.integers(8))
    return bytes(changed)


def test_truncated_databases_are_set_aside_and_the_others_serve(stopped: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    shutil.copytree(stopped, data)
    lengths = (0, 1, 100, 4_096, 6_000)
    for length in lengths:
        shutil.copytree(data / "galleries" / "objects", data / "galleries" / f"cut-{length}")
        path = data / "galleries" / f"cut-{length}" / "gallery.db"
        path.write_bytes(path.read_bytes()[:length])
    with RunningServer(data, "--gallery", "objects") as server:
        for length in lengths:
            cut = server.http.get(f"/v1/galleries/cut-{length}")
            assert cut.status_code == 503, length
            assert cut.json()["type"] == "/problems/damaged-gallery"
        assert server.http.get("/v1/galleries/objects").json()["items"] == 12 + 30
        assert server.http.get("/readyz").json()["status"] == "ok"
