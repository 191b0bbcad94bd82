"""Jobs: photos described in the background, with progress; cancelled, resumed after a kill, bounded."""

from __future__ import annotations

import io
import json
import os
import time
from pathlib import Path
from threading import Event
from urllib.parse import quote

import httpx
import pytest
from PIL import Image
from pydantic import BaseModel, JsonValue

from askew_client.contract.jobs import ENDED_STATES, Job
from askew_client.contract.problems import ProblemKind
from askew_client.encoding.encoder import Encoder
from askew_server.errors import Refusal
from askew_server.jobs.kind import Cancelled, JobStopped, Lane, Report, Task
from askew_server.jobs.queue import JobQueue
from askew_server.jobs.store import MAX_ENDED
from tests.support.paths import DEMO
from tests.support.problem_shape import assert_problem
from tests.support.running_server import RunningServer

PHOTOS = "/v1/galleries/objects/items/photos"
Files = list[tuple[str, tuple[str, bytes, str]]]


def _files(photos: dict[str, bytes]) -> Files:
    return [("photo", (identity, content, "image/jpeg")) for identity, content in photos.items()]


def _some(count: int) -> dict[str, bytes]:
    """Different photos by id: each of the demo's again and again, told apart by bytes behind the picture."""
    files = sorted((DEMO / "gallery").glob("*.jpg"))
    return {f"sent-{n}": files[n % len(files)].read_bytes() + n.to_bytes(4, "big") for n in range(count)}


def _ended(http: httpx.Client, job_id: str, seconds: float = 60) -> dict[str, object]:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        job: dict[str, object] = http.get(f"/v1/jobs/{job_id}").json()
        if job["state"] in ENDED_STATES:
            return job
        time.sleep(0.02)
    raise AssertionError(f"the job did not end: {job}")


def _count(http: httpx.Client) -> int:
    return int(http.get("/v1/galleries/objects").json()["items"])


def test_photos_are_described_as_the_teacher_does_and_carry_their_payloads(
    server: RunningServer, teacher: Encoder
) -> None:
    names = ["plain", 'with/slash and "quotes" ü', "../../etc/passwd", "back\\slash"]
    photos = dict(zip(names, _some(4).values(), strict=True))
    payloads = {"plain": {"kind": "sent", "year": 1999}, names[1]: {}}
    sent = server.http.post(PHOTOS, files=_files(photos), data={"payloads": json.dumps(payloads)})
    assert sent.status_code == 202, sent.text
    assert sent.headers["location"] == f"/v1/jobs/{sent.json()['id']}"
    assert (sent.json()["kind"], sent.json()["gallery"]) == ("photos", "objects")
    job = _ended(server.http, sent.json()["id"])
    assert (job["state"], job["done"], job["total"]) == ("done", 4, 4)
    assert job["result"] == {"described": 4, "known": 0, "refused": 0, "reasons": {}}
    assert job["created_at"] <= job["started_at"] <= job["ended_at"]
    for name, content in photos.items():
        path = f"/v1/galleries/objects/items/{quote(name, safe='')}"
        item = server.http.get(path, params={"with_vectors": "true"}).json()
        assert item["payload"] == payloads.get(name, {})
        assert server.http.get(f"{path}/photo").content == content
        query = {"vector": teacher.encode(content)[0].tolist(), "space": teacher.space_id, "limit": 1}
        best = server.http.post("/search", json=query).json()["hits"][0]
        assert best["score"] > 0.9999
    listed = server.http.get("/v1/jobs").json()["jobs"]
    assert [each["id"] for each in listed][:1] == [job["id"]]
    assert "result" not in listed[0]


def test_photos_that_cannot_be_described_are_named_and_the_others_go_on(server: RunningServer) -> None:
    good = _some(3)
    whole = next(iter(good.values()))
    thin = _encoded(Image.new("RGB", (3000, 4)))
    bad = {"cut": whole[: len(whole) // 2], "text": b"no photo at all", "empty": b"", "thin": thin}
    sent = server.http.post(PHOTOS, files=_files({**bad, **good}))
    job = _ended(server.http, sent.json()["id"])
    assert (job["state"], job["done"], job["total"]) == ("done", 7, 7)
    result = job["result"]
    assert (result["described"] + result["known"], result["refused"]) == (3, 4)
    assert set(result["reasons"]) == set(bad)
    assert "truncated" in result["reasons"]["cut"]
    assert "px" in result["reasons"]["thin"]
    for reason in result["reasons"].values():
        assert "/jobs/" not in reason
    for name in bad:
        assert server.http.get(f"/v1/galleries/objects/items/{name}").status_code == 404


def _encoded(image: Image.Image) -> bytes:
    stream = io.BytesIO()
    image.save(stream, "PNG")
    return stream.getvalue()


def test_sending_the_same_photos_again_describes_none(server: RunningServer) -> None:
    photos = _files(_some(5))
    _ended(server.http, server.http.post(PHOTOS, files=photos).json()["id"])
    again = _ended(server.http, server.http.post(PHOTOS, files=photos).json()["id"])
    assert again["result"] == {"described": 0, "known": 5, "refused": 0, "reasons": {}}


def test_forms_that_are_refused_leave_nothing_behind(server: RunningServer) -> None:
    one = next(iter(_some(1).values()))
    before = server.http.get("/v1/jobs").json()
    assert_problem(server.http.post(PHOTOS, content=b"photo"), 415, "unsupported-media", "multipart/form-data")
    assert_problem(server.http.post(PHOTOS, files=[("photo", ("", one))]), 422, "validation")
    assert_problem(
        server.http.post(PHOTOS, data={"payloads": "{}"}, files=[("x", ("a", one))]), 422, "validation", "'x'"
    )
    twice = server.http.post(PHOTOS, files=[("photo", ("a", one)), ("photo", ("a", one))])
    assert_problem(twice, 422, "validation", "'a'")
    stranger = server.http.post(PHOTOS, files=_files({"a": one}), data={"payloads": '{"b": {}}'})
    assert_problem(stranger, 422, "validation", "'b'")
    nan = server.http.post(PHOTOS, files=_files({"a": one}), data={"payloads": '{"a": {"x": NaN}}'})
    assert nan.status_code in {400, 422}
    cut = b'--b\r\nContent-Disposition: form-data; name="photo"; filename="a"\r\n\r\nabc'
    kind = {"Content-Type": "multipart/form-data; boundary=b"}
    assert_problem(server.http.post(PHOTOS, content=cut, headers=kind), 422, "validation", "ends before")
    assert_problem(server.http.post(PHOTOS, content=b"junk", headers=kind), 422, "validation")
    no_boundary = {"Content-Type": "multipart/form-data"}
    assert_problem(server.http.post(PHOTOS, content=cut, headers=no_boundary), 422, "validation", "boundary")
    missing = server.http.post("/v1/galleries/none/items/photos", files=_files({"a": one}))
    assert_problem(missing, 404, "unknown-gallery")
    assert server.http.get("/v1/jobs").json() == before
    assert_problem(server.http.get("/v1/jobs/none"), 404, "unknown-job")
    assert_problem(server.http.post("/v1/jobs/none/cancel"), 404, "unknown-job")


def test_too_many_photos_or_bytes_are_refused(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASKEW_MAX_JOB_PHOTOS", "3")
    monkeypatch.setenv("ASKEW_MAX_JOB_BYTES", "300000")
    with RunningServer(data, "--gallery", "objects") as running:
        small = {f"id-{n}": b"not even a photo" for n in range(4)}
        assert_problem(running.http.post(PHOTOS, files=_files(small)), 413, "payload-too-large", "at most 3 photos")
        large = running.http.post(PHOTOS, files=_files({"one": b"\xff\xd8\xff" + bytes(400_000)}))
        assert_problem(large, 413, "payload-too-large", "300000")
        assert list((data / "jobs").iterdir()) == []
        assert running.http.get("/v1/jobs").json() == {"jobs": []}


def test_a_gallery_without_its_teachers_file_takes_no_photos(server: RunningServer, teacher: Encoder) -> None:
    manifest = teacher.manifest.model_dump(mode="json", exclude_none=True)
    assert server.http.put("/v1/galleries/bare", json={"teacher": manifest}).status_code == 201
    refused = server.http.post("/v1/galleries/bare/items/photos", files=_files(_some(1)))
    assert_problem(refused, 409, "cannot-describe")


def test_a_job_is_resumed_after_kill_9_and_describes_every_photo_once(data: Path) -> None:
    with RunningServer(data, "--gallery", "objects") as first:
        job_id = first.http.post(PHOTOS, files=_files(_some(150))).json()["id"]
        queued = first.http.post(PHOTOS, files=_files({"queued": next(iter(_some(1).values()))})).json()
        assert queued["state"] == "waiting"
        while _count(first.http) < 49 + 32:
            time.sleep(0.01)
        first.kill()
    with RunningServer(data, "--gallery", "objects") as second:
        job = _ended(second.http, job_id)
        assert job["state"] == "done", job
        result = job["result"]
        assert (result["described"] + result["known"], result["refused"]) == (150, 0)
        # At most the batch that was under way when the server was killed was looked at again.
        assert result["known"] <= 16
        assert _ended(second.http, queued["id"])["state"] == "done"
        assert _count(second.http) == 49 + 150 + 1
        assert list((data / "jobs").iterdir()) == []


def test_a_job_goes_on_after_a_clean_stop_which_does_not_wait_for_it(data: Path) -> None:
    first = RunningServer(data, "--gallery", "objects")
    job_id = first.http.post(PHOTOS, files=_files(_some(150))).json()["id"]
    while _count(first.http) == 49:
        time.sleep(0.01)
    output = first.stop()
    assert "Traceback" not in output
    with RunningServer(data, "--gallery", "objects") as second:
        assert _count(second.http) > 49
        job = _ended(second.http, job_id)
        assert (job["state"], job["done"]) == ("done", 150)
        assert _count(second.http) == 199


def test_a_job_whose_input_is_gone_fails_with_a_sentence(data: Path) -> None:
    with RunningServer(data, "--gallery", "objects") as first:
        job_id = first.http.post(PHOTOS, files=_files(_some(150))).json()["id"]
        first.kill()
    for path in (data / "jobs" / job_id).iterdir():
        path.unlink()
    with RunningServer(data, "--gallery", "objects") as second:
        job = _ended(second.http, job_id)
        assert (job["state"], job["problem"]["detail"].split(".")[-2]) == ("failed", " Send them again")


def test_a_job_is_cancelled_and_what_it_committed_stays(server: RunningServer) -> None:
    before = _count(server.http)
    photos = {f"cancelled-{name}": content for name, content in _some(150).items()}
    running = server.http.post(PHOTOS, files=_files(photos)).json()
    waiting = server.http.post(PHOTOS, files=_files(photos)).json()
    assert server.http.post(f"/v1/jobs/{waiting['id']}/cancel").json()["state"] == "cancelled"
    while _count(server.http) == before:
        time.sleep(0.01)
    assert_problem(server.http.delete("/v1/galleries/objects"), 409, "gallery-in-use")
    server.http.post(f"/v1/jobs/{running['id']}/cancel")
    job = _ended(server.http, running["id"], seconds=5)
    assert job["state"] == "cancelled"
    assert 0 < job["done"] < 150
    assert before < _count(server.http) < before + 150
    assert_problem(server.http.post(f"/v1/jobs/{running['id']}/cancel"), 409, "job-conflict", "cancelled")
    assert _ended(server.http, waiting["id"])["state"] == "cancelled"


def test_the_describing_child_may_be_killed_and_costs_no_photo(server: RunningServer) -> None:
    photos = {f"killed-{name}": content for name, content in _some(100).items()}
    before = _count(server.http)
    job_id = server.http.post(PHOTOS, files=_files(photos)).json()["id"]
    while _count(server.http) == before:
        time.sleep(0.01)
    for child in _children(server.process.pid):
        os.kill(child, 9)
    job = _ended(server.http, job_id)
    assert job["state"] == "done"
    assert job["result"]["described"] + job["result"]["refused"] == 100
    assert job["result"]["refused"] <= 1


def _children(parent: int) -> list[int]:
    found = []
    for task in Path(f"/proc/{parent}/task").iterdir():
        found += (task / "children").read_text().split()
    return [int(c) for c in dict.fromkeys(found) if b"spawn_main" in Path(f"/proc/{c}/cmdline").read_bytes()]


class _Echo(BaseModel):
    """The result of a held job: the parameter `asked`."""

    asked: JsonValue


class _Held:
    """A kind of job that runs until it is released, or fails if its parameters say so."""

    name = "held"
    lane: Lane = "keeping"

    def __init__(self) -> None:
        self.go = Event()
        self.begun = Event()

    def check_input(self, task: Task) -> None:
        pass

    def run(self, task: Task, report: Report, cancelled: Cancelled) -> _Echo:
        report(1, 2)
        self.begun.set()
        while not self.go.wait(0.01):
            if cancelled():
                raise JobStopped
        if "fail" in task.parameters:
            raise ValueError("a fault of the program")
        return _Echo(asked=task.parameters.get("asked"))


def _wait(jobs: JobQueue, job: Job) -> Job:
    deadline = time.monotonic() + 10
    while jobs.job(job.id).state not in ENDED_STATES and time.monotonic() < deadline:
        time.sleep(0.005)
    return jobs.job(job.id)


def test_past_the_bound_jobs_are_refused_with_retry_after(tmp_path: Path) -> None:
    kind, jobs = _Held(), JobQueue(tmp_path, max_jobs=2)
    jobs.register(kind)
    jobs.start()
    try:
        submitted = [jobs.submit("held", gallery="g", parameters={"asked": n}) for n in range(2)]
        for attempt in (lambda: jobs.submit("held", gallery="g", parameters={}), lambda: jobs.spool().__enter__()):
            with pytest.raises(Refusal) as refused:
                attempt()
            assert (refused.value.kind, refused.value.retry_after) == (ProblemKind.OVERLOADED, 30)
        kind.begun.wait(5)
        assert (jobs.job(submitted[0].id).done, jobs.job(submitted[0].id).total) == (1, 2)
        assert [jobs.job(job.id).state for job in submitted] == ["running", "waiting"]
        assert jobs.unfinished_of("g") == [job.id for job in submitted]
        kind.go.set()
        assert [_wait(jobs, job).result for job in submitted] == [{"asked": 0}, {"asked": 1}]
        with jobs.spool() as folder:
            (folder / "input").touch()
        assert list((tmp_path / "jobs").iterdir()) == []
        assert _wait(jobs, jobs.submit("held", gallery="g", parameters={})).state == "done"
    finally:
        jobs.close()


def test_a_fault_of_the_program_fails_one_job_and_the_next_one_runs(tmp_path: Path) -> None:
    kind, jobs = _Held(), JobQueue(tmp_path, max_jobs=9)
    kind.go.set()
    jobs.register(kind)
    jobs.start()
    try:
        failed = _wait(jobs, jobs.submit("held", gallery="g", parameters={"fail": True}))
        assert failed.state == "failed"
        assert failed.problem is not None
        assert failed.id in failed.problem.detail
        assert "a fault" not in failed.problem.detail
        assert _wait(jobs, jobs.submit("held", gallery="g", parameters={})).state == "done"
    finally:
        jobs.close()


def test_a_stopped_job_waits_for_the_next_start_and_a_kind_nobody_knows_fails(tmp_path: Path) -> None:
    kind, jobs = _Held(), JobQueue(tmp_path, max_jobs=9)
    jobs.register(kind)
    jobs.start()
    job = jobs.submit("held", gallery="g", parameters={"asked": "again"})
    kind.begun.wait(5)
    jobs.close()
    kind.go.set()
    again = JobQueue(tmp_path, max_jobs=9)
    again.register(kind)
    again.start()
    assert _wait(again, job).result == {"asked": "again"}
    kind.go.clear()
    left = again.submit("held", gallery="g", parameters={})
    again.close()
    other = JobQueue(tmp_path, max_jobs=9)
    other.start()
    try:
        assert other.job(left.id).state == "failed"
    finally:
        other.close()


def test_the_oldest_ended_jobs_are_forgotten(tmp_path: Path) -> None:
    assert MAX_ENDED == 1_000
    kind, jobs = _Held(), JobQueue(tmp_path, max_jobs=9, max_ended=3)
    kind.go.set()
    jobs.register(kind)
    jobs.start()
    try:
        ended = [_wait(jobs, jobs.submit("held", gallery="g", parameters={})).id for _ in range(5)]
        assert [job.id for job in jobs.newest(100, None)] == ended[:1:-1]
        assert jobs.newest(100, "other") == []
    finally:
        jobs.close()
