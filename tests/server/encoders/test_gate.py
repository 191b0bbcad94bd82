"""Admission: a student that agrees with the teacher is admitted, one that only claims to is refused, and the report says why."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from askew_client.contract.encoder_file import read_encoder_file
from askew_client.contract.encoders import AdmissionReport
from askew_client.contract.wire import pack
from askew_client.encoding.encoder import Encoder
from askew_client.encoding.photos import MAX_PIXELS
from askew_client.errors import DamagedEncoder
from askew_server.encoders.alignment import Alignment
from askew_server.encoders.gate import judge, run_candidate
from askew_server.processes import Limits
from tests.support.problem_shape import assert_problem
from tests.support.running_server import RunningServer, run_askew
from tests.support.small_encoders import make_encoder, sealed

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def running(indexed: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """One server with three galleries of the same 49 photos: `objects` admits `student@1`, the others have no student."""
    data = tmp_path_factory.mktemp("gate") / "data"
    shutil.copytree(indexed / "data", data)
    for name in ("refusing", "weak"):
        shutil.copytree(data / "galleries" / "objects", data / "galleries" / name)
    with RunningServer(data, "--gallery", "objects") as server:
        yield server


def admit(running: RunningServer, gallery: str, candidate: Path | bytes) -> httpx.Response:
    content = candidate if isinstance(candidate, bytes) else candidate.read_bytes()
    return running.http.post(f"/v1/galleries/{gallery}/encoders", content=content)


def admitted_encoders(running: RunningServer, gallery: str) -> list[str]:
    """The ids that `GET /v1/encoders` lists for a gallery, in its order."""
    listed = running.http.get("/v1/encoders").json()["encoders"]
    return [encoder["id"] for encoder in listed if gallery in encoder["galleries"]]


@pytest.fixture(scope="module")
def report(running: RunningServer, student_file: Path) -> dict[str, Any]:
    """The report of the student, which is admitted to `objects`."""
    answer = admit(running, "objects", student_file)
    assert answer.status_code == 201, answer.text
    report: dict[str, Any] = answer.json()["report"]
    return report


def test_the_report_of_a_good_student(report: dict[str, Any], student_file: Path) -> None:
    assert report["mean_cosine"] > 0.9
    assert report["self_recall_at_1"] > 0.8
    assert (report["probes"], report["probes_from"], report["compared_items"]) == (49, "items", 48)
    assert report["recall_at_10"] > 0.8
    assert report["recall_at_1"] > 0.8
    assert (report["space"], report["opset"]) == (read_encoder_file(student_file).manifest.space_id, 18)
    assert report["size"] == student_file.stat().st_size
    assert report["exact"] is True
    assert len(report["false_matches"]["percentiles"]) == 101


def test_an_admitted_student_is_listed_served_and_searched_with(
    running: RunningServer, report: dict[str, Any], student_file: Path, photo: Path
) -> None:
    assert admitted_encoders(running, "objects") == ["student@1", "teacher@1"]
    assert running.http.get("/v1/galleries/objects").json()["admitted_encoders"] == ["student@1", "teacher@1"]
    manifest = running.http.get("/v1/encoders/student@1/manifest").json()
    assert manifest["role"] == "student"
    content = student_file.read_bytes()
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
        "/search", content=pack(student.encode(photo)), headers={**headers, "Askew-Encoder": "student@1"}
    )
    assert answer.json()["hits"][0]["id"] == photo.stem


def test_max_false_match_uses_the_students_own_scores(
    running: RunningServer, report: dict[str, Any], student_file: Path, photo: Path
) -> None:
    student = Encoder(student_file)
    vector = student.encode(photo).astype(float).tolist()
    query = {"vector": vector, "space": student.space_id, "encoder": "student@1", "limit": 1000}
    hits = running.http.post("/search", json={**query, "max_false_match": 0.5}).json()["hits"]
    threshold = report["false_matches"]["percentiles"][50]
    everything = running.http.post("/search", json=query).json()["hits"]
    assert hits == [hit for hit in everything if hit["score"] >= threshold]
    assert 0 < len(hits) < len(everything)
    unnamed = {name: value for name, value in query.items() if name != "encoder"}
    assert_problem(running.http.post("/search", json={**unnamed, "max_false_match": 0.5}), 422, "validation", "encoder")


def test_an_encoder_never_changes_under_its_name_and_version(
    running: RunningServer, report: dict[str, Any], student_file: Path, tmp_path: Path
) -> None:
    assert admit(running, "objects", student_file).status_code == 201
    other = make_encoder(tmp_path / "other.onnx", role="student", noise=0.2)
    assert_problem(admit(running, "objects", other), 409, "encoder-conflict", "new version")


def test_a_random_network_with_a_copied_space_id_is_refused(
    running: RunningServer, teacher: Encoder, tmp_path: Path
) -> None:
    path = make_encoder(tmp_path / "random.onnx", role="student", seed=7, space_id=teacher.space_id, name="random")
    problem = assert_problem(
        admit(running, "refusing", path), 422, "encoder-refused", "mean cosine", "find themselves first"
    )
    refused: Any = problem["report"]
    assert refused["admitted"] is False
    assert abs(refused["mean_cosine"]) < 0.2
    assert admitted_encoders(running, "refusing") == ["teacher@1"]


def test_a_student_with_permuted_dimensions_is_refused(running: RunningServer, tmp_path: Path) -> None:
    path = make_encoder(tmp_path / "permuted.onnx", role="student", permuted=True, name="permuted")
    assert_problem(admit(running, "refusing", path), 422, "encoder-refused", "mean cosine", "Was it distilled")
    assert admitted_encoders(running, "refusing") == ["teacher@1"]


def test_a_student_of_another_teacher_is_refused(running: RunningServer, teacher: Encoder, tmp_path: Path) -> None:
    path = make_encoder(tmp_path / "foreign.onnx", role="student", seed=9, name="foreign")
    problem = assert_problem(admit(running, "refusing", path), 409, "space-mismatch", teacher.space_id)
    assert problem["expected"] == teacher.space_id


def test_a_file_of_a_newer_format_or_opset_is_refused(running: RunningServer, student_file: Path) -> None:
    model, manifest = onnx.load(student_file), read_encoder_file(student_file).manifest
    newer = sealed(model, {**manifest.to_metadata(), "askew.format_version": "2"})
    problem = assert_problem(admit(running, "refusing", newer), 422, "not-an-encoder", "Upgrade Askew")
    assert problem["reason"] == "newer-manifest"
    model.opset_import[0].version = 22
    answer = admit(running, "refusing", sealed(model, manifest.to_metadata()))
    refused: Any = assert_problem(answer, 422, "encoder-refused", "opset 22")["report"]
    assert refused["opset"] == 22


def test_files_that_are_not_encoders_are_refused(running: RunningServer, student_file: Path) -> None:
    content = student_file.read_bytes()
    flipped = content[:-200] + bytes([content[-200] ^ 1]) + content[-199:]
    for sent in (b"", b"no encoder", content[:1000], flipped):
        assert_problem(admit(running, "refusing", sent), 422, "not-an-encoder")
    assert running.http.get("/readyz").status_code == 200


def test_a_weak_student_may_be_admitted_and_its_report_says_how_weak(
    running: RunningServer, report: dict[str, Any], tmp_path: Path
) -> None:
    weak = make_encoder(tmp_path / "weak.onnx", role="student", noise=2.5, name="weak")
    answer = admit(running, "weak", weak)
    assert answer.status_code == 201, answer.text
    weak_report = answer.json()["report"]
    assert weak_report["recall_at_10"] < report["recall_at_10"] - 0.2
    assert weak_report["mean_cosine"] < report["mean_cosine"] - 0.2
    weaker = make_encoder(tmp_path / "weaker.onnx", role="student", noise=8, name="weaker")
    assert_problem(admit(running, "weak", weaker), 422, "encoder-refused", "mean cosine")


@pytest.mark.parametrize(("items", "is_admitted"), [(100, False), (99, True)])
def test_a_candidate_that_finds_other_items_than_the_teacher_is_refused(items: int, is_admitted: bool) -> None:
    report = AdmissionReport(gallery="g", encoder="e@1", sha256="0" * 64, admitted=False, reasons=[])
    scores = np.full(20, 0.5)
    alignment = Alignment(
        own=scores,
        best_other=scores,
        others=scores,
        self_recall_at_1=1.0,
        recall={1: 0.1, 10: 0.19},
        compared_items=items,
        exact=True,
    )
    judged = judge(report, alignment)
    assert judged.admitted is is_admitted
    assert judged.recall_at_10 == 0.19
    assert is_admitted or "19% of the ten items" in judged.reasons[0]


def test_creating_a_gallery_is_idempotent_and_never_changes_its_space(
    running: RunningServer, teacher_file: Path, student_file: Path, tmp_path: Path
) -> None:
    url = "/v1/galleries/fresh"
    assert running.http.put(url, content=teacher_file.read_bytes()).status_code == 201
    assert running.http.put(url, content=teacher_file.read_bytes()).status_code == 200
    other = make_encoder(tmp_path / "other.onnx", role="teacher", seed=3)
    assert_problem(running.http.put(url, content=other.read_bytes()), 409, "gallery-conflict")
    by_student = running.http.put("/v1/galleries/by-student", content=student_file.read_bytes())
    assert_problem(by_student, 409, "gallery-conflict", "which is a student")
    assert_problem(running.http.put("/v1/galleries/No%20Name", content=teacher_file.read_bytes()), 422, "validation")
    # It has no photos yet by which a student could be judged.
    assert_problem(admit(running, "fresh", student_file), 422, "encoder-refused", "at least 10 photos")


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
    vector = np.asarray(teacher.encode(photo), dtype=float).tolist()
    upsert = {"space": teacher.space_id, "items": [{"id": "one", "vector": vector}]}
    assert running.http.put("/v1/galleries/elsewhere/items", json=upsert).status_code == 200
    answer = running.http.put(
        "/v1/galleries/elsewhere/items/two", content=photo.read_bytes(), headers={"Content-Type": "image/jpeg"}
    )
    assert_problem(answer, 409, "cannot-describe", "teacher@1")


def test_a_candidate_that_never_ends_is_stopped_and_refused(student_file: Path, photo: Path) -> None:
    with pytest.raises(DamagedEncoder, match="more than 2 s of processor time"):
        run_candidate(_endless(student_file), [photo], max_pixels=MAX_PIXELS, limits=Limits(processor_seconds=2))


def _endless(path: Path) -> bytes:
    """An encoder that computes its golden vectors only after 2^62 rounds of a loop."""
    model = onnx.load(path)
    condition = helper.make_tensor_value_info("go", TensorProto.BOOL, [])
    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["going"]), helper.make_node("Relu", ["before"], ["after"])],
        "round",
        [
            helper.make_tensor_value_info("round", TensorProto.INT64, []),
            condition,
            helper.make_tensor_value_info("before", TensorProto.FLOAT, None),
        ],
        [
            helper.make_tensor_value_info("going", TensorProto.BOOL, []),
            helper.make_tensor_value_info("after", TensorProto.FLOAT, None),
        ],
    )
    graph = model.graph
    graph.initializer.append(helper.make_tensor("rounds", TensorProto.INT64, [], [1 << 62]))
    for node in graph.node:
        node.output[:] = ["unfinished" if name == "descriptor" else name for name in node.output]
    graph.node.append(helper.make_node("Loop", ["rounds", "", "unfinished"], ["descriptor"], body=body))
    return sealed(model, read_encoder_file(path).manifest.to_metadata())


def test_the_command_line_admits_and_refuses(data: Path, student_file: Path, tmp_path: Path) -> None:
    admitted = run_askew("admit", student_file, "--data", data, "--gallery", "objects")
    assert admitted.returncode == 0, admitted.stderr
    assert "is admitted to gallery 'objects'" in admitted.stdout
    model = onnx.load(student_file)
    model.opset_import[0].version = 22
    newer = tmp_path / "newer.onnx"
    newer.write_bytes(sealed(model, {**read_encoder_file(student_file).manifest.to_metadata(), "askew.version": "2"}))
    refused = run_askew("admit", newer, "--data", data, "--gallery", "objects")
    assert refused.returncode == 1
    assert "is not admitted" in refused.stderr
    assert "Traceback" not in refused.stderr
