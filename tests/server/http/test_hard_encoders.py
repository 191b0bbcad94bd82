"""Encoders that loop for ever, take all memory or fail: each costs its own request or photo, and nothing else."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from askew_server.http.state import MOST_CHECKED
from tests.support.hard_encoders import Fault, make_hard_encoder, marked_photo, plain_photo
from tests.support.job_waiting import wait_for_job
from tests.support.problem_shape import assert_problem
from tests.support.raw_http import connect
from tests.support.running_server import RunningServer
from tests.support.small_encoders import make_encoder
from tests.support.waiting import in_thread, wait_until

pytestmark = pytest.mark.slow

PNG = {"Content-Type": "image/png"}
FAULTS: tuple[Fault, ...] = ("loop", "memory", "exception", "slow")
WORDS = {"loop": "3 s of processor time", "memory": "MB of memory", "exception": "onnxruntime reports"}
JOB_SECONDS = 400.0
"""A loop is ended after seconds of processor time, at low priority: minutes on a machine that does much else."""
SMALL_LIMITS = {
    # The processor time is what ends a loop here: on a busy machine it passes more slowly than the time of day.
    "ASKEW_PHOTO_PROCESSOR_SECONDS": "3",
    "ASKEW_CHECK_PROCESSOR_SECONDS": "3",
    "ASKEW_PHOTO_MEMORY_BYTES": "1000000000",
}


@pytest.fixture(scope="module")
def encoders(tmp_path_factory: pytest.TempPathFactory) -> dict[Fault, Path]:
    """A teacher for each fault, which fails on marked photos alone."""
    folder = tmp_path_factory.mktemp("hard")
    return {
        fault: make_hard_encoder(folder / f"{fault}.onnx", fault, seed=20 + number, name=fault)
        for number, fault in enumerate(FAULTS)
    }


@pytest.fixture(scope="module")
def limited(
    indexed: Path, encoders: dict[Fault, Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningServer]:
    """A server with small limits: `objects`, a gallery for each fault, and `source` with four photos, one of them marked."""
    data = tmp_path_factory.mktemp("limited") / "data"
    shutil.copytree(indexed / "data", data)
    with RunningServer(data, "--gallery", "objects", "--photo-search", environment=SMALL_LIMITS) as server:
        for fault, file in encoders.items():
            assert server.http.put(f"/v1/galleries/{fault}", content=file.read_bytes()).status_code == 201
        plain = make_encoder(data / "source.onnx", role="teacher", seed=30, name="source")
        assert server.http.put("/v1/galleries/source", content=plain.read_bytes()).status_code == 201
        for name, photo in _photos().items():
            assert _put(server, "source", name, photo).status_code == 200
        yield server


@pytest.fixture
def patient(indexed: Path, encoders: dict[Fault, Path], tmp_path: Path) -> Iterator[RunningServer]:
    """A server with the limits that it has by default, which end no loop within a test: `objects` and `loop`."""
    shutil.copytree(indexed / "data", tmp_path / "data")
    server = RunningServer(tmp_path / "data", "--gallery", "objects", "--photo-search")
    assert server.http.put("/v1/galleries/loop", content=encoders["loop"].read_bytes()).status_code == 201
    yield server
    if server.process.poll() is None:
        server.process.kill()
        server.process.communicate(timeout=60)
    server.http.close()


def _photos() -> dict[str, bytes]:
    return {"a": plain_photo(1), "marked": marked_photo(2), "c": plain_photo(3), "d": plain_photo(4)}


def _put(server: RunningServer, gallery: str, item: str, photo: bytes) -> httpx.Response:
    return server.http.put(f"/v1/galleries/{gallery}/items/{item}", content=photo, headers=PNG, timeout=120)


def _search(server: RunningServer, gallery: str, photo: bytes) -> httpx.Response:
    return server.http.post(f"/v1/galleries/{gallery}/search/photo", content=photo, headers=PNG, timeout=120)


def _children(server: RunningServer) -> list[psutil.Process]:
    """The child processes that do the server's work; multiprocessing's resource tracker is none."""
    found = []
    for child in psutil.Process(server.process.pid).children(recursive=True):
        try:
            if "spawn_main" in " ".join(child.cmdline()):
                found.append(child)
        except psutil.Error:
            continue
    return found


def _at_work(server: RunningServer) -> list[psutil.Process]:
    """The children that have more than begun: importing what they need takes a second of processor time."""
    found = []
    for child in _children(server):
        try:
            if sum(child.cpu_times()[:2]) > 2:
                found.append(child)
        except psutil.Error:
            continue
    return found


def _wait_until_ended(children: list[psutil.Process]) -> None:
    wait_until(lambda: not any(child.is_running() for child in children), "the children to end")


def _send_and_leave(server: RunningServer, method: str, path: str, body: bytes, until: Any) -> None:
    """Send a request, and close the connection without its answer once `until()` is true."""
    with closing(connect(server.url)) as connection:
        head = f"{method} {path} HTTP/1.1\r\nHost: a\r\nContent-Type: image/png\r\nContent-Length: {len(body)}\r\n\r\n"
        connection.sendall(head.encode() + body)
        wait_until(until, f"{method} {path} to begin")


# One photo


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize(
    "use", [lambda server, gallery, photo: _put(server, gallery, "one", photo), _search], ids=["put", "search"]
)
def test_a_photo_that_an_encoder_fails_on_is_refused_and_all_others_are_described(
    limited: RunningServer, fault: Fault, use: Any
) -> None:
    refused = in_thread(lambda: use(limited, fault, marked_photo(11)))
    others = [in_thread(partial(_search, limited, "objects", plain_photo(seed))) for seed in range(3)]
    same = in_thread(lambda: use(limited, fault, plain_photo(12)))
    answer = refused.result()
    if fault == "slow":
        assert answer.status_code == 200, answer.text
    else:
        slug = "unreadable-photo" if fault == "loop" else answer.json()["type"].rsplit("/", 1)[-1]
        assert_problem(answer, 422, slug, WORDS[fault])
        assert slug in {"unreadable-photo", "not-an-encoder"}
    assert [other.result().status_code for other in others] == [200, 200, 200]
    assert same.result().status_code == 200


def test_a_photo_that_ends_the_process_twice_is_refused_and_the_next_one_is_described(patient: RunningServer) -> None:
    refused = in_thread(lambda: _put(patient, "loop", "one", marked_photo()))
    killed: set[int] = set()
    while len(killed) < 2:
        wait_until(lambda: bool({child.pid for child in _at_work(patient)} - killed), "a child at work")
        for child in _children(patient):
            if child.pid not in killed:
                child.kill()
                killed.add(child.pid)
    assert_problem(refused.result(), 422, "unreadable-photo", "ended by signal 9")
    assert _put(patient, "loop", "two", plain_photo()).status_code == 200


# Jobs


@pytest.mark.parametrize("fault", FAULTS)
def test_a_photos_job_refuses_the_photo_that_fails_and_describes_the_rest(limited: RunningServer, fault: Fault) -> None:
    files = [("photo", (f"job-{name}", photo, "image/png")) for name, photo in _photos().items()]
    answer = limited.http.post(f"/v1/galleries/{fault}/items/photos", files=files)
    job = wait_for_job(limited.http, answer.json()["id"], JOB_SECONDS)
    assert job["state"] == "done", job
    result = job["result"]
    bad = 0 if fault == "slow" else 1
    assert (result["described"], result["refused"]) == (4 - bad, bad), result
    if bad:
        assert WORDS[fault] in result["reasons"]["job-marked"]
        assert "/jobs/" not in result["reasons"]["job-marked"]


@pytest.mark.parametrize("fault", FAULTS)
def test_a_gallery_is_redescribed_but_for_the_photo_that_fails(
    limited: RunningServer, fault: Fault, tmp_path: Path
) -> None:
    file = make_hard_encoder(tmp_path / "teacher.onnx", fault, seed=40 + FAULTS.index(fault), name=f"new-{fault}")
    assert limited.http.put(f"/v1/galleries/into-{fault}", content=file.read_bytes()).status_code == 201
    answer = limited.http.post("/v1/galleries/source/redescribe", json={"into": f"into-{fault}"})
    job = wait_for_job(limited.http, answer.json()["id"], JOB_SECONDS)
    bad = 0 if fault == "slow" else 1
    assert job["state"] == "done", job
    assert (job["result"]["described"], job["result"]["refused"]) == (4 - bad, bad)
    if bad:
        assert WORDS[fault] in job["result"]["reasons"]["marked"]


# Encoder files


@pytest.mark.parametrize("fault", FAULTS)
def test_a_teacher_that_fails_on_its_golden_pictures_gets_no_gallery(
    limited: RunningServer, fault: Fault, tmp_path: Path
) -> None:
    file = make_hard_encoder(tmp_path / "teacher.onnx", fault, seed=50, always=True, amount=_amount(fault))
    answer = limited.http.put(f"/v1/galleries/always-{fault}", content=file.read_bytes(), timeout=120)
    if fault == "slow":
        assert answer.status_code == 201, answer.text
        return
    assert_problem(answer, 422, "not-an-encoder", WORDS[fault])
    assert_problem(limited.http.get(f"/v1/galleries/always-{fault}"), 404, "unknown-gallery")


@pytest.mark.parametrize("fault", FAULTS)
def test_a_student_that_fails_is_not_admitted(limited: RunningServer, fault: Fault, tmp_path: Path) -> None:
    file = make_hard_encoder(
        tmp_path / "student.onnx", fault, role="student", always=True, amount=_amount(fault), name=f"student-{fault}"
    )
    answer = limited.http.post("/v1/galleries/objects/encoders", content=file.read_bytes(), timeout=120)
    if fault == "slow":
        assert answer.status_code == 201, answer.text
    else:
        assert_problem(answer, 422, "encoder-refused", WORDS[fault])
    assert _search(limited, "objects", plain_photo()).status_code == 200


def _amount(fault: Fault) -> int | None:
    """3 GiB, which the machine has; and loops that end after some milliseconds."""
    return {"memory": 3 * 2**30, "slow": 5_000}.get(fault)


# Clients that leave


@pytest.mark.parametrize("use", ["put", "search"])
def test_describing_ends_when_its_client_has_gone(patient: RunningServer, use: str) -> None:
    method, path = ("PUT", "items/one") if use == "put" else ("POST", "search/photo")
    assert _put(patient, "loop", "warm", plain_photo()).status_code == 200
    _send_and_leave(patient, method, f"/v1/galleries/loop/{path}", marked_photo(), lambda: bool(_at_work(patient)))
    _wait_until_ended(_at_work(patient))
    assert _put(patient, "loop", "two", plain_photo()).status_code == 200


def test_photos_that_hang_leave_a_child_to_other_galleries(patient: RunningServer) -> None:
    for name in ("one", "two", "three", "four"):
        in_thread(partial(_put, patient, "loop", name, marked_photo()))
    wait_until(lambda: len(_at_work(patient)) >= 2, "two children to hang")
    for seed in range(3):
        assert _search(patient, "objects", plain_photo(seed)).status_code == 200


def test_encoder_files_that_never_end_keep_nothing_else_waiting(
    patient: RunningServer, tmp_path: Path, student_file: Path
) -> None:
    file = make_hard_encoder(tmp_path / "endless.onnx", "loop", always=True).read_bytes()
    gone = threading.Event()
    for number in range(MOST_CHECKED):
        path = f"/v1/galleries/e{number}"
        in_thread(partial(_send_and_leave, patient, "PUT", path, file, gone.is_set))
    wait_until(lambda: len(_children(patient)) >= MOST_CHECKED, "the checks to begin")
    assert_problem(patient.http.put("/v1/galleries/more", content=file), 429, "overloaded", "being checked already")
    checks = _children(patient)
    began = time.monotonic()
    for path in ("/v1/jobs", "/v1/galleries", "/v1/galleries/objects", "/v1/galleries/objects/index", "/healthz"):
        assert patient.http.get(path, timeout=20).status_code == 200
    assert _search(patient, "objects", plain_photo()).status_code == 200
    assert time.monotonic() - began < 60
    gone.set()
    _wait_until_ended(checks)
    admitted = patient.http.post("/v1/galleries/objects/encoders", content=student_file.read_bytes(), timeout=120)
    assert admitted.status_code == 201, admitted.text


# The end of the server


def test_sigterm_ends_the_server_whatever_its_children_do(
    patient: RunningServer, encoders: dict[Fault, Path], tmp_path: Path
) -> None:
    endless = make_hard_encoder(tmp_path / "endless.onnx", "loop", always=True).read_bytes()
    files = [("photo", ("job-marked", marked_photo(), "image/png"))]
    assert patient.http.post("/v1/galleries/loop/items/photos", files=files).status_code == 202
    in_thread(lambda: _put(patient, "loop", "one", marked_photo()))
    in_thread(lambda: patient.http.put("/v1/galleries/new", content=endless, timeout=120))
    wait_until(lambda: len(_at_work(patient)) >= 3, "the children to hang")
    children = _children(patient)
    began = time.monotonic()
    patient.process.terminate()
    patient.process.communicate(timeout=100)
    # uvicorn waits for requests for 10 s; the rest is for a busy machine.
    assert time.monotonic() - began < 40
    wait_until(lambda: not any(child.is_running() for child in children), "the children to end")
