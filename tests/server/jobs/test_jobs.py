"""Jobs: photos are described in the background, with progress; jobs are cancelled, resumed after a kill, bounded."""

from __future__ import annotations

import io
import json
import os
import time
from contextlib import ExitStack
from pathlib import Path
from threading import Event
from typing import Any
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
from askew_server.jobs.queue import MAX_RECEIVED, JobQueue
from askew_server.jobs.store import MAX_ENDED, JobStore
from askew_server.storage.errors import DiskFull
from tests.support.job_waiting import DEADLINE, wait_for_job
from tests.support.paths import DEMO
from tests.support.problem_shape import assert_problem
from tests.support.running_server import RunningServer

PHOTOS = "/v1/galleries/objects/items/photos"
Files = list[tuple[str, tuple[str, bytes, str]]]


def _files(photos: dict[str, bytes]) -> Files:
    return [("photo", (identity, content, "image/jpeg")) for identity, content in photos.items()]


def _some(count: int) -> dict[str, bytes]:
    """Different small photos by id: some of the demo's repeated, with different bytes after the picture."""
    files = sorted((DEMO / "gallery").glob("*.jpg"), key=lambda path: path.stat().st_size)[:20]
    return {f"sent-{n}": files[n % len(files)].read_bytes() + n.to_bytes(4, "big") for n in range(count)}


def _count(http: httpx.Client) -> int:
    return int(http.get("/v1/galleries/objects").json()["items"])


@pytest.mark.slow
def test_photos_are_described_by_the_teacher_once_and_keep_their_payloads(
    server: RunningServer, teacher: Encoder
) -> None:
    names = ["plain", 'with/slash and "quotes" ü', "../../etc/passwd", "back\\slash"]
    photos = dict(zip(names, _some(4).values(), strict=True))
    payloads = {"plain": {"kind": "sent", "year": 1999}, names[1]: {}}
    sent = server.http.post(PHOTOS, files=_files(photos), data={"payloads": json.dumps(payloads)})
    assert sent.status_code == 202, sent.text
    assert sent.url.join(sent.headers["location"]).path == f"/v1/jobs/{sent.json()['id']}"
    assert (sent.json()["kind"], sent.json()["gallery"]) == ("photos", "objects")
    job = wait_for_job(server.http, sent.json()["id"])
    assert (job["state"], job["done"], job["total"]) == ("done", 4, 4)
    assert job["result"] == {"described": 4, "known": 0, "refused": 0, "reasons": {}}
    assert job["created_at"] <= job["started_at"] <= job["ended_at"]
    for name, content in photos.items():
        path = f"/v1/galleries/objects/items/{quote(name, safe='')}"
        item = server.http.get(path, params={"with_vectors": "true"}).json()
        assert item["payload"] == payloads.get(name, {})
        assert server.http.get(f"{path}/photo").content == content
        query = {"vector": teacher.encode(content).tolist(), "space": teacher.space_id, "limit": 1}
        best = server.http.post("/search", json=query).json()["hits"][0]
        assert best["score"] > 0.9999
    listed = server.http.get("/v1/jobs").json()["jobs"]
    assert [each["id"] for each in listed][:1] == [job["id"]]
    assert "result" not in listed[0]

    again = server.http.post(PHOTOS, files=_files(photos), data={"payloads": json.dumps(payloads)}).json()
    described_none = wait_for_job(server.http, again["id"])
    assert described_none["result"] == {"described": 0, "known": 4, "refused": 0, "reasons": {}}


@pytest.mark.slow
def test_photos_that_cannot_be_described_are_named_and_the_others_are_described(server: RunningServer) -> None:
    good = _some(3)
    whole = next(iter(good.values()))
    thin = _encoded(Image.new("RGB", (3000, 4)))
    bad = {"cut": whole[: len(whole) // 2], "text": b"no photo at all", "empty": b"", "thin": thin}
    sent = server.http.post(PHOTOS, files=_files({**bad, **good}))
    job = wait_for_job(server.http, sent.json()["id"])
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


@pytest.mark.slow
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


@pytest.mark.slow
def test_jobs_survive_a_stop_and_a_kill_9_and_describe_every_photo_once(data: Path) -> None:
    """One job is stopped with its server, killed with the next one, and ends under the third. Two wait for it.

    The last one has lost its input: it fails with a sentence, whenever it runs.
    """
    first = RunningServer(data, "--gallery", "objects")
    job_id = first.http.post(PHOTOS, files=_files(_some(150))).json()["id"]
    queued = first.http.post(PHOTOS, files=_files({"queued": next(iter(_some(1).values()))})).json()
    lost = first.http.post(PHOTOS, files=_files(_some(2))).json()
    assert (queued["state"], lost["state"]) == ("waiting", "waiting")
    for path in (data / "jobs" / lost["id"]).iterdir():
        path.unlink()
    stopped_at = _count_above(first.http, 49)
    # A clean stop does not wait for the job.
    output = first.stop()
    assert "Traceback" not in output
    with RunningServer(data, "--gallery", "objects") as second:
        _count_above(second.http, stopped_at + 31)
        second.kill()
    with RunningServer(data, "--gallery", "objects") as third:
        job = wait_for_job(third.http, job_id)
        assert (job["state"], job["done"], job["total"]) == ("done", 150, 150), job
        result = job["result"]
        assert (result["described"] + result["known"], result["refused"]) == (150, 0)
        # At most the batch that was being committed when the server was killed is looked at again.
        assert result["known"] <= 16
        assert wait_for_job(third.http, queued["id"])["state"] == "done"
        failed = wait_for_job(third.http, lost["id"])
        assert failed["state"] == "failed"
        assert "Send them again" in failed["problem"]["detail"]
        assert _count(third.http) == 49 + 150 + 1
        assert list((data / "jobs").iterdir()) == []


def _count_above(http: httpx.Client, least: int) -> int:
    """Wait until the gallery has more items than this, and return how many."""
    deadline = time.monotonic() + DEADLINE
    while (count := _count(http)) <= least:
        assert time.monotonic() < deadline, f"the gallery still has {count} items"
        time.sleep(0.01)
    return count


@pytest.mark.slow
def test_a_cancelled_job_keeps_its_committed_items(server: RunningServer) -> None:
    before = _count(server.http)
    photos = {f"cancelled-{name}": content for name, content in _some(150).items()}
    running = server.http.post(PHOTOS, files=_files(photos)).json()
    waiting = server.http.post(PHOTOS, files=_files(photos)).json()
    assert server.http.post(f"/v1/jobs/{waiting['id']}/cancel").json()["state"] == "cancelled"
    _count_above(server.http, before)
    assert_problem(server.http.delete("/v1/galleries/objects"), 409, "gallery-in-use")
    server.http.post(f"/v1/jobs/{running['id']}/cancel")
    job = wait_for_job(server.http, running["id"])
    assert job["state"] == "cancelled"
    assert 0 < job["done"] < 150
    assert before < _count(server.http) < before + 150
    assert_problem(server.http.post(f"/v1/jobs/{running['id']}/cancel"), 409, "job-conflict", "cancelled")
    assert wait_for_job(server.http, waiting["id"])["state"] == "cancelled"


@pytest.mark.slow
def test_killing_the_describing_child_costs_at_most_one_photo(server: RunningServer) -> None:
    photos = {f"killed-{name}": content for name, content in _some(100).items()}
    before = _count(server.http)
    job_id = server.http.post(PHOTOS, files=_files(photos)).json()["id"]
    _count_above(server.http, before)
    for child in _children(server.process.pid):
        os.kill(child, 9)
    job = wait_for_job(server.http, job_id)
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
            raise ValueError("a bug")
        return _Echo(asked=task.parameters.get("asked"))


def _wait(jobs: JobQueue, job: Job) -> Job:
    deadline = time.monotonic() + DEADLINE
    while jobs.job(job.id).state not in ENDED_STATES:
        assert time.monotonic() < deadline, "the job did not end"
        time.sleep(0.005)
    return jobs.job(job.id)


def test_past_the_bound_jobs_are_refused_with_retry_after(tmp_path: Path) -> None:
    kind, jobs = _Held(), JobQueue(tmp_path, max_jobs=2)
    jobs.register(kind)
    jobs.start()
    try:
        submitted = [jobs.submit("held", gallery="g", parameters={"asked": n}) for n in range(2)]
        for attempt in (lambda: jobs.submit("held", gallery="g", parameters={}), lambda: jobs.spool("g").__enter__()):
            with pytest.raises(Refusal) as refused:
                attempt()
            assert (refused.value.kind, refused.value.retry_after) == (ProblemKind.OVERLOADED, 30)
        assert kind.begun.wait(DEADLINE)
        assert (jobs.job(submitted[0].id).done, jobs.job(submitted[0].id).total) == (1, 2)
        assert [jobs.job(job.id).state for job in submitted] == ["running", "waiting"]
        assert [task.id for task in jobs.unfinished_of("g")] == [job.id for job in submitted]
        kind.go.set()
        assert [_wait(jobs, job).result for job in submitted] == [{"asked": 0}, {"asked": 1}]
        with jobs.spool("g") as folder:
            (folder / "input").touch()
        assert list((tmp_path / "jobs").iterdir()) == []
        assert _wait(jobs, jobs.submit("held", gallery="g", parameters={})).state == "done"
    finally:
        jobs.close()


def test_inputs_that_are_being_received_take_no_place_and_are_bounded_for_each_gallery(tmp_path: Path) -> None:
    kind, jobs = _Held(), JobQueue(tmp_path, max_jobs=2)
    kind.go.set()
    jobs.register(kind)
    jobs.start()
    try:
        with ExitStack() as held:
            folders = [held.enter_context(jobs.spool("slow")) for _ in range(MAX_RECEIVED)]
            with pytest.raises(Refusal, match="gallery 'slow' are being received") as refused:
                held.enter_context(jobs.spool("slow"))
            assert refused.value.kind is ProblemKind.OVERLOADED
            assert _wait(jobs, jobs.submit("held", gallery="other", parameters={})).state == "done"
            with jobs.spool("other") as folder:
                ended = jobs.submit("held", gallery="other", parameters={}, folder=folder)
            assert _wait(jobs, ended).state == "done"
            kept = jobs.submit("held", gallery="slow", parameters={}, folder=folders[0])
            assert _wait(jobs, kept).state == "done"
        with jobs.spool("slow"):
            pass
        assert list((tmp_path / "jobs").iterdir()) == []
    finally:
        jobs.close()


def test_a_bug_fails_one_job_and_the_next_one_runs(tmp_path: Path) -> None:
    kind, jobs = _Held(), JobQueue(tmp_path, max_jobs=9)
    kind.go.set()
    jobs.register(kind)
    jobs.start()
    try:
        failed = _wait(jobs, jobs.submit("held", gallery="g", parameters={"fail": True}))
        assert failed.state == "failed"
        assert failed.problem is not None
        assert failed.id in failed.problem.detail
        assert "a bug" not in failed.problem.detail
        assert _wait(jobs, jobs.submit("held", gallery="g", parameters={})).state == "done"
    finally:
        jobs.close()


def test_a_job_whose_end_the_disk_does_not_take_has_ended_and_is_recorded_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind, jobs = _Held(), JobQueue(tmp_path, max_jobs=9)
    jobs.register(kind)
    jobs.start()
    is_full = Event()
    end = JobStore.end

    def end_if_there_is_room(store: JobStore, *job: Any, **how: Any) -> None:
        if is_full.is_set():
            raise DiskFull("database or disk is full")
        end(store, *job, **how)

    monkeypatch.setattr(JobStore, "end", end_if_there_is_room)
    try:
        is_full.set()
        failing = jobs.submit("held", gallery="g", parameters={"fail": True})
        succeeding = jobs.submit("held", gallery="g", parameters={"asked": 1})
        waiting = jobs.submit("held", gallery="g", parameters={})
        with pytest.raises(DiskFull):
            jobs.cancel(waiting.id)
        kind.go.set()
        assert (_wait(jobs, failing).state, _wait(jobs, succeeding).result) == ("failed", {"asked": 1})
        assert _wait(jobs, waiting).state == "done"
        assert (jobs.unfinished_of_kind("held", "g"), jobs.unfinished_tasks("held")) == ([], [])
        assert jobs.counts_by_kind()["held", "failed"] == 1
        with pytest.raises(Refusal, match="already ended"):
            jobs.cancel(failing.id)
        ended_at = jobs.job(failing.id).ended_at
        is_full.clear()
        deadline = time.monotonic() + DEADLINE
        while (tmp_path / "jobs" / succeeding.id).exists():
            assert time.monotonic() < deadline, "the end was not recorded"
            time.sleep(0.01)
    finally:
        jobs.close()
    again = JobQueue(tmp_path, max_jobs=9)
    again.start()
    try:
        assert (again.job(failing.id).state, again.job(failing.id).ended_at) == ("failed", ended_at)
        assert [again.job(job.id).state for job in (succeeding, waiting)] == ["done", "done"]
    finally:
        again.close()


def test_a_stopped_job_runs_at_the_next_start_and_one_of_an_unknown_kind_fails(tmp_path: Path) -> None:
    kind, jobs = _Held(), JobQueue(tmp_path, max_jobs=9)
    jobs.register(kind)
    jobs.start()
    job = jobs.submit("held", gallery="g", parameters={"asked": "again"})
    assert kind.begun.wait(DEADLINE)
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
