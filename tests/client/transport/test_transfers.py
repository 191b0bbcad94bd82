"""Large things on their way: files that come in pieces, files and items that are read while they are sent, jobs."""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from askew_client import Client
from askew_client.calls import batches, bodies
from askew_client.calls.batches import NewItem
from askew_client.contract.jobs import Job
from askew_client.contract.problems import ProblemKind
from askew_client.contract.wire import unpack
from askew_client.errors import (
    DamagedEncoder,
    DamagedSnapshot,
    Forbidden,
    JobFailed,
    JobUnfinished,
    NotFound,
    Overloaded,
    ProblemError,
    RateLimited,
    ServerError,
    ServerUnreachable,
    Unauthorised,
    UnreadablePhoto,
    WireError,
)
from askew_server.http.item_bodies import read_raw_items
from askew_server.http.photo_form import PhotoForm
from tests.support.scripted_server import ScriptedServer

SPACE = "sp1-" + "0" * 32
VECTOR = np.array([0.6, 0.8, 0, 0], dtype=np.float32)
TAR = b"a snapshot's bytes" * 9_000
TAG = f'"{hashlib.sha256(TAR).hexdigest()}"'
JPEG = b"\xff\xd8\xff" + bytes(range(256))


def fetch(client: Client, folder: Path) -> Path:
    return client.download_snapshot("n", folder / "kept.tar", gallery="demo")


# Files that come


def test_a_download_goes_on_where_it_broke(server: ScriptedServer, client: Client, tmp_path: Path) -> None:
    server.answer(TAR, etag=TAG, cut=100_000)
    rest = TAR[100_000:]
    server.answer(rest, 206, etag=TAG, content_range=f"bytes 100000-{len(TAR) - 1}/{len(TAR)}")
    assert fetch(client, tmp_path).read_bytes() == TAR
    first, second = server.requests
    assert "range" not in first.headers
    assert (second.headers["range"], second.headers["if-range"]) == ("bytes=100000-", TAG)
    assert second.headers["accept-encoding"] == "identity"


def test_a_file_that_has_changed_meanwhile_begins_anew(server: ScriptedServer, client: Client, tmp_path: Path) -> None:
    server.answer(b"x" * len(TAR), etag='"old"', cut=100_000)
    short = b"a shorter one"
    server.answer(short, etag=f'"{hashlib.sha256(short).hexdigest()}"')
    assert fetch(client, tmp_path).read_bytes() == short


def test_another_part_than_was_asked_for_is_refused(server: ScriptedServer, client: Client, tmp_path: Path) -> None:
    server.answer(TAR, etag=TAG, cut=1_000)
    server.answer(TAR[5:], 206, etag=TAG, content_range=f"bytes 5-{len(TAR) - 1}/{len(TAR)}")
    with pytest.raises(ServerError, match="another part of the file"):
        fetch(client, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_download_leaves_what_was_there(server: ScriptedServer, client: Client, tmp_path: Path) -> None:
    (tmp_path / "kept.tar").write_bytes(b"the one before")
    server.answer(TAR[:-1] + b"!", etag=TAG)
    with pytest.raises(DamagedSnapshot, match=f"states {TAG[1:13]}"):
        fetch(client, tmp_path)
    server.answers.clear()
    server.answer(TAR)
    with pytest.raises(DamagedSnapshot, match="states none"):
        fetch(client, tmp_path)
    server.answers.clear()
    server.problem(ProblemKind.UNKNOWN_SNAPSHOT)
    with pytest.raises(NotFound):
        fetch(client, tmp_path)
    assert (tmp_path / "kept.tar").read_bytes() == b"the one before"
    assert len(list(tmp_path.iterdir())) == 1


def test_a_download_that_keeps_breaking_ends(
    server: ScriptedServer, connect: Callable[..., Client], tmp_path: Path
) -> None:
    server.answer(TAR, etag=TAG, cut=10)
    with pytest.raises(ServerUnreachable, match="broke"):
        fetch(connect(server.url, retries=2), tmp_path)
    assert len(server.requests) == 3
    assert list(tmp_path.iterdir()) == []


def test_an_encoder_comes_in_pieces_too(
    server: ScriptedServer, client: Client, student_file: Path, tmp_path: Path
) -> None:
    content = student_file.read_bytes()
    half = len(content) // 2
    server.answer(content, etag='"digest"', cut=half)
    server.answer(content[half:], 206, etag='"digest"', content_range=f"bytes {half}-{len(content) - 1}/{len(content)}")
    kept = client.download_encoder("student@1", tmp_path / "student.onnx")
    assert kept.read_bytes() == content
    server.answers[0].status, server.answers[0].body = (
        200,
        content[: half - 1] + bytes([content[half - 1] ^ 1]) + content[half:],
    )
    with pytest.raises(DamagedEncoder):
        client.download_encoder("student@1", kept)
    assert kept.read_bytes() == content


# What is sent


def test_a_file_is_sent_in_pieces_and_again_from_its_beginning(
    server: ScriptedServer, client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "snapshot.tar"
    file.write_bytes(TAR)
    monkeypatch.setattr(Path, "read_bytes", lambda _: pytest.fail("a large file was read whole"))
    server.answer(b"", 503)
    server.answer(JOB)
    assert client.restore_file("demo", file).id == "j1"
    first, second = server.requests
    assert first.body == second.body == TAR
    assert second.headers["content-type"] == "application/x-tar"
    with pytest.raises(DamagedSnapshot, match=r"missing\.tar cannot be read"):
        client.restore_file("demo", tmp_path / "missing.tar")


def test_many_photos_arrive_under_their_ids(
    server: ScriptedServer, client: Client, photos: list[Path], tmp_path: Path
) -> None:
    server.answer(JOB)
    ids = ["a", 'say "x"', "ordner/ü;x=1", "back\\slash", "two\\\\slashes", " blank ", "semi;colon='q'"]
    sent = dict(zip(ids, [JPEG, *photos], strict=False))
    payloads = {"a": {"title": "Ä"}}
    assert client.upsert_photos(sent, payloads, gallery="demo").state == "waiting"
    (request,) = server.requests
    form = PhotoForm(tmp_path, request.headers["content-type"], max_photos=100, max_payloads_bytes=1_000)
    form.write(request.body)
    arrived = form.finish()
    assert [each.id for each in arrived] == ids
    assert [each.payload for each in arrived] == [{"title": "Ä"}] + [{}] * 6
    assert [(tmp_path / each.file).read_bytes() for each in arrived] == [
        JPEG,
        *[photo.read_bytes() for photo in photos[:6]],
    ]


@pytest.mark.parametrize("identity", ["50%22", "C:\\photo", "\\\\host\\photo", "two\nlines"])
def test_ids_that_would_arrive_as_others_are_refused(server: ScriptedServer, client: Client, identity: str) -> None:
    with pytest.raises(ValueError, match="send this photo with upsert_photo"):
        client.upsert_photos({identity: JPEG}, gallery="demo")
    assert not server.requests


def test_what_is_no_photo_is_named_before_anything_is_sent(
    server: ScriptedServer, client: Client, tmp_path: Path
) -> None:
    (tmp_path / "note.txt").write_text("no photo at all")
    with pytest.raises(UnreadablePhoto, match=r"note\.txt: Expected a JPEG"):
        client.upsert_photos({"a": JPEG, "b": tmp_path / "note.txt"}, gallery="demo")
    with pytest.raises(UnreadablePhoto, match=r"missing\.jpg cannot be read"):
        client.upsert_photos({"b": tmp_path / "missing.jpg"}, gallery="demo")
    assert not server.requests


def test_items_travel_raw_behind_a_header(server: ScriptedServer, client: Client) -> None:
    server.answer({"upserted": 2, "sequence": 7})
    client.upsert(["a", "ü"], np.stack([VECTOR, VECTOR[::-1]]), [{"title": "Ä"}, {}], gallery="demo", space=SPACE)
    (request,) = server.requests
    assert request.headers["content-type"] == "application/vnd.askew.items"
    read = read_raw_items(request.body)
    assert (read.space, read.ids, [json.loads(each) for each in read.payloads]) == (
        SPACE,
        ["a", "ü"],
        [{"title": "Ä"}, {}],
    )
    assert np.allclose(read.vectors(4), [VECTOR, VECTOR[::-1]], atol=1e-3)
    (length,) = struct.unpack_from("<I", request.body)
    assert unpack(request.body[4 + length :][:8], "f16le", 4) == pytest.approx(VECTOR, abs=1e-3)


def test_items_are_made_while_they_are_sent(
    server: ScriptedServer, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "BATCH_BYTES", 1_000)
    server.answer({"upserted": 1, "sequence": 1})
    seen: list[int] = []

    def made() -> Iterator[NewItem]:
        for number in range(300):
            seen.append(len(server.requests))
            yield f"item-{number}", VECTOR, {"text": "x" * (number % 50)}

    answer = client.upsert_items(made(), gallery="demo", space=SPACE)
    assert answer.upserted == len(server.requests) > 10
    assert seen[150] > 3
    read = [read_raw_items(request.body) for request in server.requests]
    assert [name for each in read for name in each.ids] == [f"item-{number}" for number in range(300)]
    assert max(len(request.body) for request in server.requests) < 2_000


def test_wrong_items_are_refused_before_anything_is_sent(server: ScriptedServer, client: Client) -> None:
    with pytest.raises(WireError):
        client.upsert(["a", "b"], np.stack([VECTOR, 2 * VECTOR]), gallery="demo", space=SPACE)
    longer = np.array([1, 0, 0, 0, 0], dtype=np.float32)
    with pytest.raises(WireError, match="Expected a vector of 4 values"):
        client.upsert_items([("a", VECTOR, {}), ("b", longer, {})], gallery="demo", space=SPACE)
    with pytest.raises(ValueError, match="at least one item"):
        client.upsert_items([], gallery="demo", space=SPACE)
    with pytest.raises(ValueError, match="at least one id"):
        client.delete_items([], gallery="demo")
    assert not server.requests


def test_ids_are_deleted_by_the_ten_thousand(server: ScriptedServer, client: Client) -> None:
    server.answer({"deleted": 10_000, "sequence": 1})
    server.answer({"deleted": 1, "sequence": 2})
    answer = client.delete_items([str(number) for number in range(10_001)], gallery="demo")
    assert (answer.deleted, answer.sequence) == (10_001, 2)
    client.delete_items(gallery="demo", filter={"field": "kind", "eq": "x"})
    assert server.requests[-1].json == {"filter": {"field": "kind", "eq": "x"}}


# Jobs


JOB: dict[str, object] = {
    "id": "j1",
    "kind": "photos",
    "gallery": "demo",
    "state": "waiting",
    "created_at": "2026-01-01T00:00:00Z",
}


def test_a_job_is_waited_for(server: ScriptedServer, client: Client) -> None:
    server.answer(JOB)
    server.answer({**JOB, "state": "running", "done": 1, "total": 2})
    server.answer({**JOB, "state": "done", "done": 2, "total": 2, "result": {"stored": 2}})
    seen: list[Job] = []
    done = client.wait(Job.model_validate(JOB), progress=seen.append)
    assert done.result == {"stored": 2}
    assert [each.state for each in seen] == ["waiting", "running", "done"]


def test_a_job_that_fails_says_why(server: ScriptedServer, client: Client) -> None:
    problem = {"type": "/problems/damaged-snapshot", "title": "t", "status": 422, "detail": "The snapshot is torn."}
    server.answer({**JOB, "state": "failed", "problem": problem})
    with pytest.raises(JobFailed, match=r"^The snapshot is torn\.$") as caught:
        client.wait("j1")
    assert caught.value.job.problem is not None
    assert caught.value.job.problem.slug == "damaged-snapshot"
    server.answers.clear()
    server.answer({**JOB, "state": "cancelled"})
    with pytest.raises(JobFailed, match=r"j1 \(photos\) was cancelled"):
        client.wait("j1")


def test_waiting_has_an_end(server: ScriptedServer, client: Client) -> None:
    server.answer({**JOB, "state": "running", "done": 3, "total": 9})
    with pytest.raises(JobUnfinished, match=r"running after 0\.3 s, 3 of 9 done") as caught:
        client.wait("j1", timeout=0.3)
    assert caught.value.job.done == 3
    # With growing pauses: nobody is asked twenty times a second for a day.
    assert 3 <= len(server.requests) <= 6


# Keys


@pytest.mark.parametrize(
    ("kind", "error"),
    [
        (ProblemKind.UNAUTHORISED, Unauthorised),
        (ProblemKind.FORBIDDEN, Forbidden),
        (ProblemKind.PHOTO_SEARCH_OFF, ProblemError),
        (ProblemKind.UNKNOWN_JOB, NotFound),
        (ProblemKind.NO_ENCODER_FITS, NotFound),
        (ProblemKind.RATE_LIMITED, RateLimited),
        (ProblemKind.OVERLOADED, Overloaded),
        (ProblemKind.NOT_READY, Overloaded),
        (ProblemKind.DAMAGED_GALLERY, ProblemError),
    ],
)
def test_errors_that_users_branch_on(
    server: ScriptedServer, connect: Callable[..., Client], kind: ProblemKind, error: type[ProblemError]
) -> None:
    server.problem(kind, retry_after="3")
    with pytest.raises(error, match="What came") as caught:
        connect(server.url, retries=0).galleries()
    assert type(caught.value) is error
    if isinstance(caught.value, Overloaded):
        assert caught.value.retry_after == 3


def test_pieces_are_large(tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").write_bytes(JPEG)
    _, body = bodies.photos_form({str(number): tmp_path / "photo.jpg" for number in range(2_000)}, {})
    chunks = list(body.chunks())
    assert sum(map(len, chunks)) == body.length
    assert len(chunks) <= body.length // bodies.CHUNK + 1
