"""Delivery of students: files that never change, the best one for a device, the choice for a runtime, retirement."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import onnx
import pytest

from askew_client.contract.encoder_file import read_encoder_file
from askew_client.contract.encoders import EncoderDescription
from askew_client.contract.wire import pack
from askew_client.encoding.encoder import Encoder
from askew_server.encoders.selection import best_encoder
from askew_server.errors import Refusal
from askew_server.storage.encoders import EncoderFacts
from tests.support.problem_shape import assert_problem
from tests.support.running_server import RunningServer, run_askew
from tests.support.small_encoders import make_encoder, sealed

OBJECTS = "/v1/galleries/objects"


@pytest.fixture
def running(data: Path) -> Iterator[RunningServer]:
    with RunningServer(data, "--gallery", "objects", "--photo-search") as server:
        yield server


@pytest.fixture(scope="session")
def students(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Students by id: a good one, a weaker newer version of it, and one of an opset that only Python runs."""
    folder = tmp_path_factory.mktemp("students")
    weak = make_encoder(folder / "weak.onnx", role="student", noise=1.0, version="2")
    late = make_encoder(folder / "plain.onnx", role="student", noise=0.05, name="late")
    return {
        "student@1": make_encoder(folder / "good.onnx", role="student", noise=0.1),
        "student@2": weak,
        "late@1": _with_opset(late, folder / "late.onnx", 20),
    }


def _with_opset(file: Path, path: Path, opset: int) -> Path:
    model = onnx.load(file)
    model.opset_import[0].version = opset
    path.write_bytes(sealed(model, read_encoder_file(file).manifest.to_metadata()))
    return path


def _admit(server: RunningServer, file: Path) -> dict[str, Any]:
    answer = server.http.post(f"{OBJECTS}/encoders", content=file.read_bytes())
    assert answer.status_code == 201, answer.text
    return answer.json()


def _query(encoder: Encoder, photo: Path) -> dict[str, object]:
    vector = encoder.encode(photo).astype(float).tolist()
    return {"vector": vector, "space": encoder.space_id, "encoder": encoder.manifest.encoder_id, "limit": 3}


@pytest.mark.slow
def test_a_retired_students_queries_are_refused_with_its_successors(
    running: RunningServer, students: dict[str, Path], photo: Path, data: Path
) -> None:
    for file in students.values():
        _admit(running, file)
    query = _query(Encoder(students["student@1"]), photo)
    assert running.http.post("/search", json=query).status_code == 200
    retired = running.http.delete(f"{OBJECTS}/encoders/student@1")
    assert retired.status_code == 200, retired.text
    assert retired.json()["id"] == "student@1"

    def is_refused(server: RunningServer) -> None:
        problem = assert_problem(
            server.http.post("/search", json=query), 409, "encoder-not-admitted", "retired", "late@1, student@2"
        )
        assert problem["successors"] == ["late@1", "student@2"]
        batch = {"queries": [{each: query[each] for each in ("vector", "space", "encoder")}]}
        assert_problem(server.http.post("/search/batch", json=batch), 409, "encoder-not-admitted", "retired")
        raw = {"Content-Type": "application/octet-stream", "Askew-Space": str(query["space"]), "Askew-Dtype": "f16le"}
        body = pack(Encoder(students["student@1"]).encode(photo))
        answer = server.http.post("/search", content=body, headers={**raw, "Askew-Encoder": "student@1"})
        assert_problem(answer, 409, "encoder-not-admitted", "retired")
        described = server.http.post(
            "/search/photo?encoder=student@1", content=photo.read_bytes(), headers={"Content-Type": "image/jpeg"}
        )
        assert_problem(described, 409, "encoder-not-admitted", "retired")

    is_refused(running)
    assert_problem(running.http.get("/v1/encoders/student@1/file"), 404, "unknown-encoder")
    assert "student@1" not in running.http.get(OBJECTS).json()["admitted_encoders"]
    assert len(list((data / "galleries" / "objects" / "encoders").iterdir())) == 3
    assert_problem(running.http.delete(f"{OBJECTS}/encoders/student@1"), 404, "unknown-encoder", "student@2")
    running.kill()
    with RunningServer(data, "--gallery", "objects", "--photo-search") as again:
        is_refused(again)
        other = make_encoder(data / "other.onnx", role="student", noise=0.2)
        answer = again.http.post(f"{OBJECTS}/encoders", content=other.read_bytes())
        assert_problem(answer, 409, "encoder-conflict", "other bytes")
        _admit(again, students["student@1"])
        assert again.http.post("/search", json=query).status_code == 200


@pytest.mark.slow
def test_without_a_name_the_best_student_describes_and_the_teacher_only_without_one(
    running: RunningServer, students: dict[str, Path], photo: Path
) -> None:
    def describer() -> str:
        answer = running.http.post("/search/photo", content=photo.read_bytes())
        assert answer.status_code == 200, answer.text
        return str(answer.json()["encoder"])

    def best() -> str:
        return str(running.http.get("/v1/encoders/best").json()["id"])

    assert describer() == "teacher@1"
    for name in ("student@2", "student@1"):
        _admit(running, students[name])
        assert describer() == best() != "teacher@1"
    query = _query(Encoder(students["student@1"]), photo)
    for name in ("student@1", "student@2"):
        assert running.http.delete(f"{OBJECTS}/encoders/{name}").status_code == 200
        assert describer() == (best() if name == "student@1" else "teacher@1")
    # The phone's own student is retired, and there is no other.
    problem = assert_problem(
        running.http.post("/search", json=query), 409, "encoder-not-admitted", "send the photo itself"
    )
    assert problem["successors"] == []
    assert "teacher" not in str(problem["detail"])


def test_the_teacher_cannot_be_retired(running: RunningServer) -> None:
    answer = running.http.delete(f"{OBJECTS}/encoders/teacher@1")
    assert_problem(answer, 409, "encoder-in-use", "teacher")
    assert running.http.get("/v1/encoders/teacher@1/file").status_code == 200


@pytest.mark.slow
def test_a_file_that_another_gallery_has_is_still_served(
    running: RunningServer, student_file: Path, teacher_file: Path, indexed: Path
) -> None:
    _admit(running, student_file)
    assert running.http.put("/v1/galleries/second", content=teacher_file.read_bytes()).status_code == 201
    for photo in sorted((indexed / "photos").iterdir())[:10]:
        url = f"/v1/galleries/second/probes/{photo.stem}"
        running.http.put(url, content=photo.read_bytes(), headers={"Content-Type": "image/jpeg"})
    second = running.http.post("/v1/galleries/second/encoders", content=student_file.read_bytes())
    assert second.status_code == 201, second.text
    assert running.http.get("/v1/encoders/student@1").json()["galleries"] == ["objects", "second"]
    assert running.http.delete(f"{OBJECTS}/encoders/student@1").status_code == 200
    assert running.http.get("/v1/encoders/student@1").json()["galleries"] == ["second"]
    assert running.http.get("/v1/encoders/student@1/file").content == student_file.read_bytes()
    absent = running.http.get("/v1/encoders/student@1/file", params={"gallery": "objects"})
    assert_problem(absent, 404, "unknown-encoder")


@pytest.mark.slow
def test_a_file_answers_range_conditions_and_head(running: RunningServer, student_file: Path) -> None:
    _admit(running, student_file)
    content = student_file.read_bytes()
    url = "/v1/encoders/student@1/file"
    head = running.http.head(url)
    assert (head.status_code, head.content, head.headers["content-length"]) == (200, b"", str(len(content)))
    etag = head.headers["etag"]
    assert etag.strip('"') == read_encoder_file(student_file).sha256
    assert "immutable" in head.headers["cache-control"]
    for sent in (etag, f'"other", {etag}', f"W/{etag}", "*"):
        answer = running.http.get(url, headers={"If-None-Match": sent})
        assert (answer.status_code, answer.content, answer.headers["etag"]) == (304, b"", etag)
    assert running.http.get(url, headers={"If-None-Match": '"other"'}).status_code == 200
    rest = running.http.get(url, headers={"Range": f"bytes={len(content) - 7}-"})
    assert (rest.status_code, rest.content) == (206, content[-7:])
    assert rest.headers["content-range"] == f"bytes {len(content) - 7}-{len(content) - 1}/{len(content)}"
    resumed = running.http.get(url, headers={"Range": "bytes=5-", "If-Range": etag})
    assert (resumed.status_code, resumed.content) == (206, content[5:])
    changed = running.http.get(url, headers={"Range": "bytes=5-", "If-Range": '"other"'})
    assert (changed.status_code, changed.content) == (200, content)
    beyond = running.http.get(url, headers={"Range": f"bytes={len(content)}-"})
    assert beyond.status_code == 416
    assert beyond.headers["content-range"] == f"bytes */{len(content)}"
    manifest = running.http.get("/v1/encoders/student@1/manifest", headers={"If-None-Match": etag})
    assert manifest.status_code == 304


@pytest.mark.slow
def test_the_best_encoder_is_the_choice_for_the_runtime_or_the_one_with_the_best_recall(
    running: RunningServer, students: dict[str, Path]
) -> None:
    def best(**wanted: object) -> httpx.Response:
        return running.http.get("/v1/encoders/best", params=wanted)  # type: ignore[arg-type]

    assert_problem(best(), 404, "no-encoder-fits", "no admitted student")
    reports = {each: _admit(running, file)["report"] for each, file in students.items()}
    assert (
        reports["late@1"]["recall_at_10"] > reports["student@1"]["recall_at_10"] > reports["student@2"]["recall_at_10"]
    )
    assert (reports["late@1"]["opset"], reports["student@1"]["opset"]) == (20, 18)

    assert best(gallery="objects").json()["id"] == "late@1"
    assert best(runtime="python").json()["id"] == "late@1"
    for runtime in ("web", "ios", "android"):
        assert best(runtime=runtime).json()["id"] == "student@1"

    chosen = running.http.put(f"{OBJECTS}/encoders/student@2/default", json={"runtime": "web"})
    assert (chosen.status_code, chosen.json()["default_for"]) == (200, ["web"])
    assert best(runtime="web").json()["id"] == "student@2"
    assert best(runtime="ios").json()["id"] == "student@1"
    size = students["student@2"].stat().st_size
    assert best(runtime="web", max_bytes=size).json()["id"] == "student@2"
    refused = assert_problem(best(runtime="web", max_bytes=100), 404, "no-encoder-fits", "100 bytes", "smallest is")
    assert refused["smallest"] in students
    assert_problem(best(max_milliseconds=0.0001), 404, "no-encoder-fits", "0.0001 ms")
    assert best(max_milliseconds=10_000).status_code == 200

    running.http.put(f"{OBJECTS}/encoders/student@1/default", json={"runtime": "web"})
    assert best(runtime="web").json()["id"] == "student@1"
    running.http.delete(f"{OBJECTS}/encoders/student@1")
    assert best(runtime="web").json()["id"] == "student@2"

    known = best(runtime="web").headers["etag"]
    assert running.http.get(
        "/v1/encoders/best", params={"runtime": "web"}, headers={"If-None-Match": known}
    ).status_code == 304  # fmt: skip
    assert_problem(best(runtime="toaster"), 422, "validation", "runtime")
    assert_problem(best(max_bytes=-1), 422, "validation")
    assert_problem(best(gallery="none"), 404, "unknown-gallery")
    unknown = running.http.put(f"{OBJECTS}/encoders/nobody@1/default", json={"runtime": "web"})
    assert_problem(unknown, 404, "unknown-encoder")
    wrong = running.http.put(f"{OBJECTS}/encoders/student@2/default", json={"runtime": "toaster"})
    assert_problem(wrong, 422, "validation", "runtime")


def test_of_equal_students_the_newest_is_best_and_a_choice_that_does_not_fit_is_passed_over() -> None:
    def described(name: str, size: int, milliseconds: float, chosen_for: list[str]) -> EncoderDescription:
        report = {
            "gallery": "g", "encoder": f"{name}@1", "sha256": "0" * 64, "admitted": True, "reasons": [], "opset": 18,
            "recall_at_10": 0.5, "milliseconds_per_photo": milliseconds,
        }  # fmt: skip
        return EncoderDescription.model_validate(
            {
                "id": f"{name}@1", "name": name, "version": "1", "role": "student", "space": "sp1-" + "0" * 32, "dim": 8,
                "photo_size": 96, "precision": "fp32", "sha256": "0" * 64, "size": size, "galleries": ["g"],
                "admitted_at": "2026-01-01", "default_for": chosen_for, "report": report,
            }
        )  # fmt: skip

    encoders = (described("new", 300, 20, []), described("old", 200, 5, []), described("older", 400, 9, ["ios"]))
    files = {each.id: Path(each.id) for each in encoders}
    facts = EncoderFacts("g", "teacher@1", encoders, {}, files, {}, {"ios": "older@1"})

    def best(**wanted: Any) -> str:
        return best_encoder(facts, **{"runtime": None, "max_bytes": None, "max_milliseconds": None, **wanted}).id

    assert best() == "new@1"
    assert best(runtime="ios") == "older@1"
    assert best(runtime="ios", max_bytes=300) == "new@1"
    assert best(max_bytes=299) == "old@1"
    assert best(max_milliseconds=10) == "old@1"
    assert best(runtime="ios", max_milliseconds=9) == "older@1"
    with pytest.raises(Refusal, match=r"199 bytes at most.*smallest is old@1: 200 bytes"):
        best(max_bytes=199)


@pytest.mark.slow
def test_searches_continue_while_the_gate_examines_one_candidate_at_a_time(
    running: RunningServer, student_file: Path, students: dict[str, Path], teacher: Encoder, photo: Path
) -> None:
    answers: list[httpx.Response] = []

    def admit(file: Path) -> None:
        with httpx.Client(base_url=running.url, timeout=60) as client:
            answers.append(client.post(f"{OBJECTS}/encoders", content=file.read_bytes()))

    gates = [threading.Thread(target=admit, args=(file,)) for file in (student_file, students["student@2"])]
    query = _query(teacher, photo)
    for gate in gates:
        gate.start()
    searches, slowest = 0, 0.0
    while any(gate.is_alive() for gate in gates):
        started = time.perf_counter()
        assert running.http.post("/search", json=query).status_code == 200
        slowest = max(slowest, time.perf_counter() - started)
        searches += 1
    assert sorted(answer.status_code for answer in answers) == [201, 429]
    busy = next(answer for answer in answers if answer.status_code == 429)
    assert_problem(busy, 429, "overloaded", "another candidate")
    assert int(busy.headers["retry-after"]) > 0
    assert searches > 20
    assert slowest < 1


@pytest.mark.slow
def test_the_metrics_show_the_score_that_matches_had_at_admission(running: RunningServer, student_file: Path) -> None:
    report = _admit(running, student_file)["report"]
    expected = report["matches"]["percentiles"][50]
    lines = running.http.get("/metrics").text.splitlines()
    found = [line for line in lines if line.startswith("askew_expected_match_score{")]
    assert found == [f'askew_expected_match_score{{encoder="student@1",gallery="objects"}} {expected}']


@pytest.mark.slow
@pytest.mark.parametrize("served", [False, True])
def test_the_command_line_lists_chooses_fetches_and_retires(
    data: Path, student_file: Path, tmp_path: Path, served: bool
) -> None:
    def commands(*where: str | Path) -> None:
        assert run_askew("admit", student_file, "--gallery", "objects", *where).returncode == 0
        listed = run_askew("encoder", "list", *where)
        assert "student@1  (student; " in listed.stdout
        assert "recall@10" in listed.stdout
        chosen = run_askew("encoder", "default", "student@1", "--runtime", "web", "--gallery", "objects", *where)
        assert chosen.returncode == 0, chosen.stderr
        best = run_askew("encoder", "best", "--gallery", "objects", "--runtime", "web", "--json", *where)
        assert json.loads(best.stdout)["default_for"] == ["web"]
        output = tmp_path / "fetched.onnx"
        fetched = run_askew("encoder", "fetch", "student@1", "--output", output, *where)
        assert fetched.returncode == 0, fetched.stderr
        assert output.read_bytes() == student_file.read_bytes()
        small = run_askew("encoder", "best", "--gallery", "objects", "--max-bytes", "9", *where)
        assert (small.returncode, "The smallest is student@1" in small.stderr) == (1, True)
        retired = run_askew("encoder", "retire", "student@1", "--gallery", "objects", *where)
        assert retired.returncode == 0, retired.stderr
        assert "student@1" not in run_askew("encoder", "list", *where).stdout
        wrong = run_askew("encoder", "default", "teacher@1", "--runtime", "toaster", "--gallery", "objects", *where)
        assert "Expected a runtime" in wrong.stderr
        teacher = run_askew("encoder", "retire", "teacher@1", "--gallery", "objects", *where)
        assert (teacher.returncode, "cannot be retired" in teacher.stderr) == (1, True)

    if served:
        with RunningServer(data) as server:
            commands("--server", server.url)
    else:
        commands("--data", data)
