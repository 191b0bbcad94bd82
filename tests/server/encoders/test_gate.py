"""Admission: what lands is admitted, what only claims to is refused, and the report says why."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from askew_client.contract.encoder_file import read_encoder_file
from askew_client.contract.encoders import AdmissionReport
from askew_client.contract.wire import pack
from askew_client.encoding.encoder import Encoder
from askew_client.encoding.photos import MAX_PIXELS
from askew_client.errors import DamagedEncoder
from askew_server.encoders.alignment import Alignment
from askew_server.encoders.gate import _probe_in_child, judge
from tests.support.paths import DEMO
from tests.support.problem_shape import assert_problem
from tests.support.running_server import RunningServer, run_askew
from tests.support.small_encoders import make_encoder, sealed

ENCODERS = "/v1/galleries/objects/encoders"


@pytest.fixture
def running(data: Path):  # type: ignore[no-untyped-def]
    with RunningServer(data, "--gallery", "objects") as server:
        yield server


def test_a_student_that_lands_is_admitted_listed_and_served(
    running: RunningServer, student_file: Path, photo: Path, tmp_path: Path
) -> None:
    content = student_file.read_bytes()
    admitted = running.http.post(ENCODERS, content=content)
    assert admitted.status_code == 201, admitted.text
    report = admitted.json()["report"]
    assert report["mean_cosine"] > 0.9
    assert report["self_recall_at_1"] > 0.8
    assert (report["probes"], report["probes_from"], report["compared_items"]) == (49, "items", 48)
    assert report["recall_at_10"] > 0.8
    assert report["recall_at_1"] > 0.8
    assert (report["space"], report["opset"]) == (read_encoder_file(student_file).manifest.space_id, 18)
    assert report["size"] == len(content)
    assert report["exact"] is True
    assert len(report["false_matches"]["percentiles"]) == 101

    listed = running.http.get("/v1/encoders").json()["encoders"]
    assert [encoder["id"] for encoder in listed] == ["student@1", "teacher@1"]
    assert running.http.get("/v1/galleries/objects").json()["admitted_encoders"] == ["student@1", "teacher@1"]
    manifest = running.http.get("/v1/encoders/student@1/manifest").json()
    assert manifest["role"] == "student"
    file = running.http.get("/v1/encoders/student@1/file")
    assert file.content == content
    etag = file.headers["etag"]
    assert etag.strip('"') == read_encoder_file(student_file).sha256
    again = running.http.get("/v1/encoders/student@1/file", headers={"If-None-Match": etag})
    assert again.status_code == 304
    part = running.http.get("/v1/encoders/student@1/file", headers={"Range": "bytes=10-19"})
    assert (part.status_code, part.content) == (206, content[10:20])

    student = Encoder(student_file)
    headers = {"Content-Type": "application/octet-stream", "Askew-Space": student.space_id, "Askew-Dtype": "f16le"}
    answer = running.http.post(
        "/search", content=pack(student.encode(photo)[0]), headers={**headers, "Askew-Encoder": "student@1"}
    )
    assert answer.json()["hits"][0]["id"] == photo.stem


def test_max_false_match_uses_the_students_own_scores(running: RunningServer, student_file: Path, photo: Path) -> None:
    report = running.http.post(ENCODERS, content=student_file.read_bytes()).json()["report"]
    student = Encoder(student_file)
    vector = student.encode(photo)[0].astype(float).tolist()
    query = {"vector": vector, "space": student.space_id, "encoder": "student@1", "limit": 1000}
    hits = running.http.post("/search", json={**query, "max_false_match": 0.5}).json()["hits"]
    threshold = report["false_matches"]["percentiles"][50]
    everything = running.http.post("/search", json=query).json()["hits"]
    assert hits == [hit for hit in everything if hit["score"] >= threshold]
    assert 0 < len(hits) < len(everything)
    unnamed = {name: value for name, value in query.items() if name != "encoder"}
    assert_problem(running.http.post("/search", json={**unnamed, "max_false_match": 0.5}), 422, "validation", "encoder")


def test_a_random_network_with_a_copied_space_id_is_refused(
    running: RunningServer, teacher: Encoder, tmp_path: Path
) -> None:
    path = make_encoder(tmp_path / "random.onnx", role="student", seed=7, space_id=teacher.space_id, name="random")
    answer = running.http.post(ENCODERS, content=path.read_bytes())
    problem = assert_problem(answer, 422, "encoder-refused", "mean cosine", "find themselves first")
    assert problem["report"]["admitted"] is False  # type: ignore[index]
    assert abs(problem["report"]["mean_cosine"]) < 0.2  # type: ignore[index]
    assert [encoder["id"] for encoder in running.http.get("/v1/encoders").json()["encoders"]] == ["teacher@1"]


def test_a_student_with_permuted_dimensions_is_refused(running: RunningServer, tmp_path: Path) -> None:
    path = make_encoder(tmp_path / "permuted.onnx", role="student", permuted=True, name="permuted")
    answer = running.http.post(ENCODERS, content=path.read_bytes())
    assert_problem(answer, 422, "encoder-refused", "mean cosine", "Was it distilled")


def test_a_weak_student_that_still_lands_is_admitted_and_its_report_says_how_weak(
    running: RunningServer, student_file: Path, tmp_path: Path
) -> None:
    good = running.http.post(ENCODERS, content=student_file.read_bytes()).json()["report"]
    weak = make_encoder(tmp_path / "weak.onnx", role="student", noise=2.5, name="weak")
    answer = running.http.post(ENCODERS, content=weak.read_bytes())
    assert answer.status_code == 201, answer.text
    report = answer.json()["report"]
    assert report["recall_at_10"] < good["recall_at_10"] - 0.2
    assert report["mean_cosine"] < good["mean_cosine"] - 0.2
    weaker = make_encoder(tmp_path / "weaker.onnx", role="student", noise=8, name="weaker")
    assert_problem(running.http.post(ENCODERS, content=weaker.read_bytes()), 422, "encoder-refused", "mean cosine")


@pytest.mark.parametrize(("items", "is_admitted"), [(100, False), (99, True)])
def test_a_candidate_that_finds_other_items_than_the_teacher_is_refused(items: int, is_admitted: bool) -> None:
    report = AdmissionReport(gallery="g", encoder="e@1", sha256="0" * 64, admitted=False, reasons=[])
    scores = np.full(20, 0.5)
    landing = Alignment(
        own=scores,
        best_other=scores,
        others=scores,
        self_recall_at_1=1.0,
        recall={1: 0.1, 10: 0.19},
        compared_items=items,
        exact=True,
    )
    judged = judge(report, landing)
    assert judged.admitted is is_admitted
    assert judged.recall_at_10 == 0.19
    assert is_admitted or "19% of the ten items" in judged.reasons[0]


def test_a_file_of_a_newer_format_or_opset_is_refused(running: RunningServer, student_file: Path) -> None:
    model, manifest = onnx.load(student_file), read_encoder_file(student_file).manifest
    newer = sealed(model, {**manifest.to_metadata(), "askew.format_version": "2"})
    problem = assert_problem(running.http.post(ENCODERS, content=newer), 422, "not-an-encoder", "Upgrade Askew")
    assert problem["reason"] == "newer-manifest"
    model.opset_import[0].version = 22
    answer = running.http.post(ENCODERS, content=sealed(model, manifest.to_metadata()))
    problem = assert_problem(answer, 422, "encoder-refused", "opset 22")
    assert problem["report"]["opset"] == 22  # type: ignore[index]


def test_a_student_of_another_teacher_is_refused(running: RunningServer, teacher: Encoder, tmp_path: Path) -> None:
    path = make_encoder(tmp_path / "foreign.onnx", role="student", seed=9, name="foreign")
    answer = running.http.post(ENCODERS, content=path.read_bytes())
    problem = assert_problem(answer, 409, "space-mismatch", teacher.space_id)
    assert problem["expected"] == teacher.space_id


def test_an_encoder_never_changes_under_its_name_and_version(
    running: RunningServer, student_file: Path, tmp_path: Path
) -> None:
    assert running.http.post(ENCODERS, content=student_file.read_bytes()).status_code == 201
    assert running.http.post(ENCODERS, content=student_file.read_bytes()).status_code == 201
    other = make_encoder(tmp_path / "other.onnx", role="student", noise=0.2)
    assert_problem(running.http.post(ENCODERS, content=other.read_bytes()), 409, "encoder-conflict", "new version")


def test_files_that_are_no_encoder_are_refused(running: RunningServer, student_file: Path) -> None:
    content = student_file.read_bytes()
    flipped = content[:-200] + bytes([content[-200] ^ 1]) + content[-199:]
    for sent in (b"", b"no encoder", content[:1000], flipped):
        assert_problem(running.http.post(ENCODERS, content=sent), 422, "not-an-encoder")
    assert running.http.get("/readyz").status_code == 200


def test_a_gallery_with_too_few_photos_cannot_judge(
    running: RunningServer, teacher_file: Path, student_file: Path
) -> None:
    assert running.http.put("/v1/galleries/empty", content=teacher_file.read_bytes()).status_code == 201
    answer = running.http.post("/v1/galleries/empty/encoders", content=student_file.read_bytes())
    assert_problem(answer, 422, "encoder-refused", "at least 10 photos")


def test_creating_a_gallery_is_idempotent_and_never_changes_its_space(
    running: RunningServer, teacher_file: Path, student_file: Path, tmp_path: Path
) -> None:
    url = "/v1/galleries/fresh"
    assert running.http.put(url, content=teacher_file.read_bytes()).status_code == 201
    assert running.http.put(url, content=teacher_file.read_bytes()).status_code == 200
    other = make_encoder(tmp_path / "other.onnx", role="teacher", seed=3)
    assert_problem(running.http.put(url, content=other.read_bytes()), 409, "gallery-conflict")
    assert_problem(
        running.http.put("/v1/galleries/by-student", content=student_file.read_bytes()), 409, "gallery-conflict"
    )
    assert_problem(running.http.put("/v1/galleries/No%20Name", content=teacher_file.read_bytes()), 422, "validation")


def test_a_teacher_that_does_not_compute_its_golden_vectors_gets_no_gallery(
    running: RunningServer, teacher_file: Path
) -> None:
    model = onnx.load(teacher_file)
    manifest = read_encoder_file(teacher_file).manifest
    swapped = {**manifest.golden, "large": manifest.golden["thin"], "thin": manifest.golden["large"]}
    content = sealed(model, manifest.model_copy(update={"golden": swapped}).to_metadata())
    answer = running.http.put("/v1/galleries/wrong", content=content)
    assert_problem(answer, 422, "not-an-encoder", "golden vectors")
    assert_problem(running.http.get("/v1/galleries/wrong"), 404, "unknown-gallery")


def test_a_gallery_described_elsewhere_takes_vectors_but_describes_no_photos(
    running: RunningServer, teacher: Encoder, photo: Path
) -> None:
    manifest = teacher.manifest.model_dump(mode="json", exclude_none=True)
    created = running.http.put("/v1/galleries/elsewhere", json={"teacher": manifest})
    assert created.status_code == 201, created.text
    assert created.json()["describes_photos"] is False
    vector = np.asarray(teacher.encode(photo)[0], dtype=float).tolist()
    upsert = {"space": teacher.space_id, "items": [{"id": "one", "vector": vector}]}
    assert running.http.put("/v1/galleries/elsewhere/items", json=upsert).status_code == 200
    answer = running.http.put(
        "/v1/galleries/elsewhere/items/two", content=photo.read_bytes(), headers={"Content-Type": "image/jpeg"}
    )
    assert_problem(answer, 409, "cannot-describe", "teacher@1")


def test_a_candidate_that_does_not_come_to_an_end_is_stopped_and_refused(indexed: Path) -> None:
    teacher = (DEMO / "encoders" / "teacher.onnx").read_bytes()
    photos = sorted((indexed / "photos").iterdir()) * 4
    with pytest.raises(DamagedEncoder, match="more than 3 s of processor time"):
        _probe_in_child(teacher, photos, MAX_PIXELS, processor_seconds=3)


def test_the_command_line_admits_and_refuses(data: Path, student_file: Path, tmp_path: Path) -> None:
    admitted = run_askew("admit", student_file, "--data", data, "--gallery", "objects")
    assert admitted.returncode == 0, admitted.stderr
    assert "is admitted to gallery 'objects'" in admitted.stdout
    path = make_encoder(tmp_path / "permuted.onnx", role="student", permuted=True, name="permuted")
    refused = run_askew("admit", path, "--data", data, "--gallery", "objects")
    assert refused.returncode == 1
    assert "is not admitted" in refused.stderr
    assert "Traceback" not in refused.stderr
