"""The probe set: photos with teacher vectors apart from the items, by which a gallery without photos judges a student."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from askew_client.contract.wire import pack_base64
from askew_client.encoding.encoder import Encoder
from askew_server.encoders.alignment import GateProbe, Hits, measure_alignment
from tests.support.paths import DEMO
from tests.support.problem_shape import assert_problem
from tests.support.running_server import RunningServer, run_askew
from tests.support.small_encoders import make_encoder

BARE = "/v1/galleries/bare"


@pytest.fixture
def bare(data: Path, teacher: Encoder, teacher_file: Path) -> Iterator[RunningServer]:
    """A server with the gallery `bare`: 60 items that came as vectors, without a photo."""
    with RunningServer(data, "--gallery", "bare") as server:
        assert server.http.put(BARE, content=teacher_file.read_bytes()).status_code == 201
        photos = sorted((DEMO / "gallery").glob("*.jpg"))[-60:]
        items = [{"id": each.stem, "vector": teacher.encode(each)[0].astype(float).tolist()} for each in photos]
        answer = server.http.put(f"{BARE}/items", json={"space": teacher.space_id, "items": items})
        assert answer.status_code == 200, answer.text
        yield server


@pytest.fixture(scope="session")
def probe_photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with 12 photos of the demo."""
    folder = tmp_path_factory.mktemp("probes")
    for photo in sorted((DEMO / "gallery").glob("*.jpg"))[:12]:
        (folder / photo.name).write_bytes(photo.read_bytes())
    return folder


def _put_all(server: RunningServer, folder: Path) -> None:
    for photo in sorted(folder.iterdir()):
        url = f"{BARE}/probes/{photo.stem}"
        answer = server.http.put(url, content=photo.read_bytes(), headers={"Content-Type": "image/jpeg"})
        assert answer.status_code == 200, answer.text


def test_a_gallery_of_vectors_judges_a_student_by_its_probe_set(
    bare: RunningServer, student_file: Path, probe_photos: Path, teacher: Encoder, tmp_path: Path
) -> None:
    refused = bare.http.post(f"{BARE}/encoders", content=student_file.read_bytes())
    assert_problem(refused, 422, "encoder-refused", "at least 10 photos", "askew probes add")
    _put_all(bare, probe_photos)
    assert bare.http.get(BARE).json()["items"] == 60
    assert bare.http.get(BARE).json()["photos"] == 0

    admitted = bare.http.post(f"{BARE}/encoders", content=student_file.read_bytes())
    assert admitted.status_code == 201, admitted.text
    report = admitted.json()["report"]
    assert (report["probes"], report["probes_from"]) == (12, "probes")
    # 60 items, and the other 11 probes, which count as if they were items.
    assert report["compared_items"] == 71
    assert report["recall_at_10"] > 0.7
    for options in (
        {"seed": 7, "space_id": teacher.space_id, "name": "random"},
        {"permuted": True, "name": "permuted"},
    ):
        path = make_encoder(tmp_path / "candidate.onnx", role="student", **options)  # type: ignore[arg-type]
        answer = bare.http.post(f"{BARE}/encoders", content=path.read_bytes())
        problem = assert_problem(answer, 422, "encoder-refused", "mean cosine", "find themselves first")
        assert problem["report"]["recall_at_10"] < 0.4  # type: ignore[index]


def test_probes_are_no_items_and_survive_a_restart(bare: RunningServer, probe_photos: Path, data: Path) -> None:
    _put_all(bare, probe_photos)
    listed = bare.http.get(f"{BARE}/probes").json()
    assert [probe["id"] for probe in listed["probes"]] == sorted(photo.stem for photo in probe_photos.iterdir())
    assert listed["needed"] == 10
    first = listed["probes"][0]["id"]
    assert_problem(bare.http.get(f"{BARE}/items/{first}"), 404, "unknown-item")
    assert bare.http.delete(f"{BARE}/probes/{first}").json() == {"deleted": first}
    assert_problem(bare.http.delete(f"{BARE}/probes/{first}"), 404, "unknown-probe", first)
    bare.kill()
    assert len(list((data / "galleries" / "bare" / "probes").iterdir())) == 11
    with RunningServer(data, "--gallery", "bare") as again:
        assert len(again.http.get(f"{BARE}/probes").json()["probes"]) == 11


def test_a_photo_shared_by_two_probes_goes_with_the_second(bare: RunningServer, probe_photos: Path, data: Path) -> None:
    photo = next(probe_photos.iterdir()).read_bytes()
    for identity in ("one", "folder%2Ftwo"):
        answer = bare.http.put(f"{BARE}/probes/{identity}", content=photo, headers={"Content-Type": "image/jpeg"})
        assert answer.status_code == 200, answer.text
    folder = data / "galleries" / "bare" / "probes"
    bare.http.delete(f"{BARE}/probes/one")
    assert len(list(folder.iterdir())) == 1
    assert bare.http.delete(f"{BARE}/probes/folder%2Ftwo").json() == {"deleted": "folder/two"}
    assert list(folder.iterdir()) == []


def test_a_probe_may_bring_its_vector_in_the_right_space(
    bare: RunningServer, probe_photos: Path, teacher: Encoder
) -> None:
    photo = next(probe_photos.iterdir())
    url = f"{BARE}/probes/mine"
    vector = {"vector": pack_base64(teacher.encode(photo)[0]), "dtype": "f16le"}
    files = {"photo": photo.read_bytes()}
    assert_problem(bare.http.put(url, files=files, data=vector), 422, "space-missing")
    foreign = {**vector, "space": "sp1-" + "0" * 32}
    assert_problem(bare.http.put(url, files=files, data=foreign), 409, "space-mismatch", teacher.space_id)
    assert bare.http.put(url, files=files, data={**vector, "space": teacher.space_id}).status_code == 200
    truncated = {"photo": photo.read_bytes()[:2000]}
    answer = bare.http.put(url, files=truncated, data={**vector, "space": teacher.space_id})
    assert_problem(answer, 422, "unreadable-photo")
    assert_problem(
        bare.http.put(url, content=b"{}", headers={"Content-Type": "application/json"}), 415, "unsupported-media"
    )


@pytest.mark.parametrize("served", [False, True])
def test_the_command_line_keeps_the_probe_set(
    data: Path, probe_photos: Path, teacher_file: Path, student_file: Path, tmp_path: Path, served: bool
) -> None:
    def commands(*where: str | Path) -> None:
        options = ["--gallery", "objects", *where]
        added = run_askew("probes", "add", probe_photos, "--encoder", teacher_file, *options)
        assert added.returncode == 0, added.stderr
        assert "12 probes added, 0 known already, 12 in all." in added.stdout
        again = run_askew("probes", "add", probe_photos, "--encoder", teacher_file, *options)
        assert "0 probes added, 12 known already" in again.stdout
        listed = json.loads(run_askew("probes", "list", "--json", *options).stdout)
        ids = [probe["id"] for probe in listed["probes"]]
        assert ids == sorted(photo.name for photo in probe_photos.iterdir())
        removed = run_askew("probes", "remove", ids[0], ids[1], *options)
        assert removed.returncode == 0, removed.stderr
        admitted = run_askew("admit", student_file, "--json", *options)
        assert json.loads(admitted.stdout)["report"]["probes"] == 10
        other = make_encoder(tmp_path / "other.onnx", role="teacher", seed=3)
        refused = run_askew("probes", "add", probe_photos, "--encoder", other, *options)
        assert refused.returncode == 1
        assert "the gallery's own teacher" in refused.stderr

    if served:
        with RunningServer(data) as server:
            commands("--server", server.url)
    else:
        commands("--data", data)


@pytest.mark.parametrize("are_items", [False, True])
def test_the_landing_is_that_of_the_whole_matrix_and_asks_in_small_steps(are_items: bool) -> None:
    random = np.random.default_rng(5)
    items = _unit(random.standard_normal((300, 16)))
    # Two items that the teacher cannot tell apart.
    items[7] = items[3]
    vectors = items[:20] if are_items else _unit(random.standard_normal((20, 16)))
    candidate = _unit(vectors + 0.6 * random.standard_normal(vectors.shape) / 4)
    asked = []

    def nearest(queries: NDArray[np.float32], limit: int) -> Hits:
        asked.append((len(queries), limit))
        scores = queries.astype(np.float64) @ items.T
        order = np.argsort(-scores, axis=1)[:, :limit]
        return Hits([[(str(i), float(row[i])) for i in best] for row, best in zip(scores, order, strict=True)], True)

    probes = [GateProbe(Path("x"), vector, str(i) if are_items else None) for i, vector in enumerate(vectors)]
    landing = measure_alignment(probes, candidate, nearest, len(items))

    pool = items if are_items else np.concatenate([items, vectors])
    by_candidate, by_teacher = candidate @ pool.T, vectors @ pool.T
    same = by_teacher > 1 - 1e-4
    by_candidate[same], by_teacher[same] = -2, -2
    expected = [
        len(set(np.argsort(-a)[:10]) & set(np.argsort(-b)[:10])) / 10
        for a, b in zip(by_candidate, by_teacher, strict=True)
    ]
    own = (candidate * vectors).sum(axis=1)
    assert 0.3 < np.mean(expected) < 0.9
    assert landing.recall[10] == pytest.approx(np.mean(expected))
    assert landing.best_other == pytest.approx(by_candidate.max(axis=1), abs=1e-6)
    assert landing.self_recall_at_1 == np.mean(own > by_candidate.max(axis=1))
    assert landing.compared_items == (299 if are_items else 319)
    assert max(count for count, _ in asked) <= 8
    assert max(limit for _, limit in asked) < 20


def test_vectors_that_are_not_finite_land_nowhere() -> None:
    vectors = _unit(np.random.default_rng(6).standard_normal((12, 8)))
    probes = [GateProbe(Path("x"), vector, None) for vector in vectors]
    candidate = np.full_like(vectors, np.nan)
    landing = measure_alignment(probes, candidate, lambda queries, _: Hits([[] for _ in queries], True), 0)
    assert landing.self_recall_at_1 == 0
    assert np.all(landing.own == 0)
    assert np.all(np.isfinite(landing.best_other))


def _unit(vectors: NDArray[np.float64]) -> NDArray[np.float32]:
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
