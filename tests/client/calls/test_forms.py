"""Photos and files as bodies: they arrive as they were, are opened one at a time, and are sent again from their beginning."""

from __future__ import annotations

import resource
import tempfile
from collections import UserDict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from askew_client import Client
from askew_client.calls.bodies import CHUNK, PhotoFile
from askew_client.calls.forms import photo_form, photos_form
from askew_client.contract.common import Payload
from askew_client.errors import DamagedSnapshot, UnreadablePhoto
from askew_server.http.receiving.photo_form import PhotoForm
from askew_server.jobs.describe_photos import SentPhoto
from tests.support.scripted_server import ScriptedServer

JPEG = b"\xff\xd8\xff" + bytes(range(256))
TAR = b"a snapshot's bytes" * 9_000
JOB = {"id": "j1", "kind": "photos", "gallery": "demo", "state": "waiting", "created_at": "2026-01-01T00:00:00Z"}


def received(folder: Path, content_type: str, body: bytes) -> list[SentPhoto]:
    """What the server reads from a form."""
    form = PhotoForm(folder, content_type, max_photos=100, max_payloads_bytes=100_000)
    form.write(body)
    return form.finish()


# Forms


def test_photos_arrive_under_their_ids(
    server: ScriptedServer, client: Client, photos: list[Path], tmp_path: Path
) -> None:
    server.answer(JOB)
    ids = ["a", 'say "x"', "ordner/ü;x=1", "back\\slash", "two\\\\slashes", " blank ", "semi;colon='q'"]
    sent: dict[str, PhotoFile] = dict(zip(ids, [JPEG, *photos], strict=False))
    payloads: dict[str, Payload] = {"a": {"title": "Ä"}}
    assert client.upsert_photos(sent, payloads, gallery="demo").state == "waiting"
    (request,) = server.requests
    arrived = received(tmp_path, request.headers["content-type"], request.body)
    assert [each.id for each in arrived] == ids
    assert [each.payload for each in arrived] == [{"title": "Ä"}] + [{}] * 6
    assert [(tmp_path / each.file).read_bytes() for each in arrived] == [
        JPEG,
        *[photo.read_bytes() for photo in photos[:6]],
    ]


# Characters that file names in forms are escaped by, cut at, or quoted with are drawn more often.
AWKWARD = st.text(
    st.sampled_from("\\\"'%2C:;=/ .ü€\u2028😀") | st.characters(exclude_categories=("Cs", "Cc")), min_size=1
)


@pytest.mark.slow
@given(st.dictionaries(AWKWARD, st.binary(max_size=40), min_size=1, max_size=3))
def test_an_id_arrives_as_it_was_or_is_refused(photos: dict[str, bytes]) -> None:
    sent: dict[str, PhotoFile] = {item_id: JPEG + rest for item_id, rest in photos.items()}
    payloads = {item_id: {"id": item_id} for item_id in photos}
    try:
        headers, body = photos_form(sent, payloads)
    except ValueError as error:
        assert any(repr(item_id) in str(error) for item_id in photos)
        assert any("%22" in item_id or "\\" in item_id for item_id in photos)
        return
    with tempfile.TemporaryDirectory() as folder:
        arrived = received(Path(folder), headers["Content-Type"], b"".join(body.chunks()))
        assert {each.id: (Path(folder) / each.file).read_bytes() for each in arrived} == sent
        assert {each.id: each.payload for each in arrived} == payloads


@pytest.mark.parametrize("item_id", ["50%22", "C:\\photo", "\\\\host\\photo", "two\nlines", "\x7f"])
def test_an_id_that_would_arrive_as_another_one_is_refused(
    server: ScriptedServer, client: Client, item_id: str
) -> None:
    with pytest.raises(ValueError, match="send this photo with upsert_photo"):
        client.upsert_photos({item_id: JPEG}, gallery="demo")
    assert not server.requests


def test_a_form_without_photos_or_ids_is_refused(server: ScriptedServer, client: Client) -> None:
    with pytest.raises(ValueError, match="at least one photo"):
        client.upsert_photos({}, gallery="demo")
    with pytest.raises(ValueError, match="an empty one"):
        client.upsert_photos({"": JPEG}, gallery="demo")
    assert not server.requests


def test_a_file_that_is_not_a_photo_is_named_before_anything_is_sent(
    server: ScriptedServer, client: Client, tmp_path: Path
) -> None:
    (tmp_path / "note.txt").write_text("not a photo at all")
    with pytest.raises(UnreadablePhoto, match=r"note\.txt: Expected a JPEG"):
        client.upsert_photos({"a": JPEG, "b": tmp_path / "note.txt"}, gallery="demo")
    with pytest.raises(UnreadablePhoto, match=r"missing\.jpg cannot be read"):
        client.upsert_photos({"b": tmp_path / "missing.jpg"}, gallery="demo")
    assert not server.requests


@pytest.mark.slow
def test_a_retry_sends_the_same_form(server: ScriptedServer, client: Client, photos: list[Path]) -> None:
    # Of a call that starts a job, only a refusal is repeated: the job may have begun otherwise.
    server.answer(b"<html>", 429, content_type="text/html")
    server.answer(JOB)
    client.upsert_photos({photo.name: photo for photo in photos}, gallery="demo")
    first, second = server.requests
    assert first.headers["content-type"] == second.headers["content-type"]
    assert first.body == second.body
    assert all(photo.read_bytes() in second.body for photo in photos)


# Files


def open_files() -> list[int]:
    return [int(each.name) for each in Path("/dev/fd").iterdir()]


@contextmanager
def few_open_files(more: int) -> Iterator[None]:
    """Let this process open only a few more files than it has open now."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(open_files()) + more, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.slow
def test_a_form_of_two_thousand_photos_needs_few_open_files(
    server: ScriptedServer, client: Client, tmp_path: Path
) -> None:
    server.answer(b"", 429)
    server.answer(JOB)
    paths = [tmp_path / f"{number}.jpg" for number in range(2_000)]
    for number, path in enumerate(paths):
        path.write_bytes(JPEG + str(number).encode())
    with few_open_files(30):
        client.upsert_photos({path.name: path for path in paths}, gallery="demo")
    first, second = server.requests
    assert first.body == second.body
    assert second.body.count(b'name="photo"; filename=') == 2_000
    assert all(JPEG + str(number).encode() + b"\r\n" in second.body for number in range(0, 2_000, 100))


def test_a_body_that_is_abandoned_closes_its_file(tmp_path: Path) -> None:
    path = tmp_path / "large.jpg"
    path.write_bytes(JPEG + bytes(3 * CHUNK))
    _, body = photo_form(path, {})
    before = len(open_files())
    abandoned, other = body.chunks(), body.chunks()
    begun = [next(abandoned), next(other)]
    assert len(open_files()) == before + 2
    abandoned.close()  # type: ignore[attr-defined]
    # An attempt that is closed late does not disturb the next one.
    assert len(b"".join([begun[1], *other])) == body.length
    assert len(open_files()) == before


class VanishingPhotos(UserDict[str, PhotoFile]):
    """Photos whose files are deleted after the ids and then the files were looked at, and before a file is sent."""

    passes = 0

    def __iter__(self) -> Iterator[str]:
        yield from super().__iter__()
        self.passes += 1
        if self.passes == 2:
            for path in self.data.values():
                Path(str(path)).unlink()


def test_a_photo_that_disappears_before_it_is_sent_is_named(
    server: ScriptedServer, client: Client, tmp_path: Path
) -> None:
    server.answer(JOB)
    path = tmp_path / "photo.jpg"
    path.write_bytes(JPEG)
    with pytest.raises(UnreadablePhoto, match=r"photo\.jpg cannot be read: No such file"):
        client.upsert_photos(VanishingPhotos({"a": path}), gallery="demo")
    path.write_bytes(JPEG)
    assert client.upsert_photos({"a": path}, gallery="demo").id == "j1"


def test_pieces_are_large(tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").write_bytes(JPEG)
    _, body = photos_form({str(number): tmp_path / "photo.jpg" for number in range(2_000)}, {})
    chunks = list(body.chunks())
    assert sum(map(len, chunks)) == body.length
    assert len(chunks) <= body.length // CHUNK + 1


@pytest.mark.slow
def test_a_retry_sends_a_file_from_its_beginning(
    server: ScriptedServer, client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "snapshot.tar"
    file.write_bytes(TAR)
    monkeypatch.setattr(Path, "read_bytes", lambda _: pytest.fail("the whole file was read into memory"))
    server.answer(b"", 429)
    server.answer(JOB)
    assert client.restore_file("demo", file).id == "j1"
    first, second = server.requests
    assert first.body == second.body == TAR
    assert second.headers["content-type"] == "application/x-tar"
    with pytest.raises(DamagedSnapshot, match=r"missing\.tar cannot be read"):
        client.restore_file("demo", tmp_path / "missing.tar")
