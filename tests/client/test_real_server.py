"""Both clients against a real server: what the examples of docs/client.md do not show (test_documents.py runs those)."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from pydantic import JsonValue

from askew_client import AsyncClient, Client, Encoder
from askew_client.contract.encoders import AdmissionReport
from askew_client.errors import EncoderRefused, Forbidden, NotFound, ProblemError, RateLimited, Unauthorised
from tests.support.running_server import RunningServer
from tests.support.small_encoders import make_encoder

pytestmark = pytest.mark.slow

AWKWARD = ["a/b c?#%é", "..", 'say "x"', "back\\slash", "ü;x=1"]


@pytest.fixture(scope="module")
def teacher(teacher_file: Path) -> Encoder:
    return Encoder(teacher_file)


@pytest.fixture(scope="module")
def running(
    teacher_file: Path, teacher: Encoder, photos: list[Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningServer]:
    """A server with the gallery `museum`: twelve photos with the teacher's vectors."""
    with RunningServer(tmp_path_factory.mktemp("data"), "--gallery", "museum", "--photo-search") as server:
        with Client(server.url) as client:
            client.create_gallery("museum", teacher_file)
            for photo, vector in zip(photos, teacher.encode(photos), strict=True):
                payload: dict[str, JsonValue] = {"kind": photo.stem.split("-")[0], "title": photo.stem}
                client.upsert_photo(
                    photo.stem, photo, gallery="museum", payload=payload, vector=vector, space=teacher.space_id
                )
        yield server


@pytest.fixture
def real(running: RunningServer, connect: Callable[..., Client]) -> Client:
    return connect(running.url, timeout=60)


def test_every_search_finds_the_photo(real: Client, teacher: Encoder, photos: list[Path]) -> None:
    wanted, space = photos[3].stem, teacher.space_id
    vector = teacher.encode(photos[3])
    for answer in (
        real.search(vector, space=space),
        real.search_with(teacher, photos[3], gallery="museum"),
        real.search_photo(photos[3]),
        real.search_photo(photos[3].read_bytes(), gallery="museum", encoder="teacher@1"),
        real.search(vector, space=space, exact=True, filter={"field": "title", "eq": wanted}),
    ):
        assert answer.hits[0].id == wanted
        assert answer.hits[0].payload == {"kind": "object", "title": wanted}
    (alone,) = real.search(vector, space=space, group_by="kind", with_payload=["title"], with_vectors=True).hits
    assert (alone.group, alone.payload) == ("object", {"title": wanted})
    assert alone.vector is not None
    others = real.search(vector, space=space, exclude=[wanted], with_payload=False).hits
    assert wanted not in [hit.id for hit in others]
    assert [hit.id for hit in real.similar(wanted, gallery="museum").hits] == [hit.id for hit in others]
    assert real.photo(wanted, gallery="museum") == photos[3].read_bytes()


def test_ids_with_unusual_characters_are_kept(
    real: Client, teacher: Encoder, photos: list[Path], teacher_file: Path
) -> None:
    real.create_gallery("odd", teacher_file)
    real.upsert(AWKWARD, teacher.encode(photos[:5]), gallery="odd", space=teacher.space_id)
    for name in AWKWARD:
        assert real.item(name, gallery="odd", with_vectors=True).id == name
    job = real.upsert_photos(dict(zip(AWKWARD, photos, strict=False)), gallery="odd")
    assert real.wait(job, timeout=120).result == {"described": 5, "known": 0, "refused": 0, "reasons": {}}
    assert [item.has_photo for item in real.items(gallery="odd")] == [True] * 5
    assert real.delete_item("..", gallery="odd").deleted == ".."
    assert real.delete_items(["a/b c?#%é", "unknown"], gallery="odd").deleted == 1
    assert {item.id for item in real.items(gallery="odd")} == {'say "x"', "back\\slash", "ü;x=1"}
    assert job.id in [each.id for each in real.jobs(gallery="odd").jobs]
    with pytest.raises(ProblemError) as caught:
        real.cancel_job(job.id)
    assert caught.value.problem.slug == "job-conflict"
    assert real.delete_gallery("odd").deleted == "odd"
    with pytest.raises(NotFound):
        real.gallery("odd")


def test_items_are_read_page_by_page(real: Client, teacher: Encoder, teacher_file: Path) -> None:
    real.create_gallery("many", teacher_file)
    vectors = np.random.default_rng(0).standard_normal((2_500, teacher.manifest.dim)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    ids = [f"{number:05}" for number in range(2_500)]
    stored = real.upsert(
        ids, vectors, [{"n": number} for number in range(2_500)], gallery="many", space=teacher.space_id
    )
    assert stored.upserted == 2_500
    assert [item.id for item in real.items(gallery="many")] == ids
    some = list(real.items(gallery="many", filter={"field": "n", "range": {"gte": 2_000}}, with_vectors=True))
    assert [item.id for item in some] == ids[2_000:]
    assert (real.count("many"), real.count("many", filter={"field": "n", "range": {"gte": 2_000}})) == (2_500, 500)
    assert real.count_items(gallery="many", filter={"field": "m", "eq": 1}).unknown_fields == ["m"]
    assert real.count_items(["00001", "none"], gallery="many").count == 1
    index = real.index("many")
    assert (index.vectors, index.kind) == (2_500, "exact")
    assert real.choose_index("many", "exact").wanted == "exact"
    real.delete_gallery("many")


def test_encoders_and_probes(real: Client, student_file: Path, photos: list[Path], tmp_path: Path) -> None:
    assert real.put_probe("p/1", photos[0], gallery="museum").id == "p/1"
    assert [probe.id for probe in real.probes(gallery="museum").probes] == ["p/1"]
    assert real.delete_probe("p/1", gallery="museum").deleted == "p/1"
    assert real.admit(student_file, gallery="museum").report is not None
    assert real.set_default_encoder("student@1", gallery="museum", runtime="web").default_for == ["web"]
    assert real.best_encoder(gallery="museum", runtime="web", max_bytes=1_000_000).id == "student@1"
    with pytest.raises(NotFound):
        real.best_encoder(max_bytes=1)
    assert {each.id for each in real.encoders().encoders} == {"teacher@1", "student@1"}
    manifest = Encoder(student_file).manifest
    assert real.encoder_manifest("student@1", gallery="museum") == manifest
    path = real.download_encoder("student@1", tmp_path / "student.onnx")
    assert path.read_bytes() == student_file.read_bytes()
    assert real.retire_encoder("student@1", gallery="museum").id == "student@1"


def test_an_encoder_that_misses_the_space_is_refused_with_the_report(running: RunningServer, tmp_path: Path) -> None:
    lost = make_encoder(tmp_path / "lost.onnx", role="student", permuted=True, name="lost")
    with Client(running.url, timeout=60) as client, pytest.raises(EncoderRefused) as caught:
        client.admit(lost, gallery="museum")
    report = AdmissionReport.model_validate(caught.value.problem.extras["report"])
    assert (report.admitted, report.encoder) == (False, "lost@1")
    assert report.reasons


def test_health_version_metrics_and_problems(real: Client) -> None:
    assert (real.health().galleries or 0) >= 1
    assert real.alive().status == "ok"
    assert real.version().name == "askew"
    assert "askew_" in real.metrics()
    assert "another space" in real.explain_problem("space-mismatch")


def test_a_hundred_searches_at_once_each_get_their_own_answer(
    running: RunningServer, teacher: Encoder, photos: list[Path]
) -> None:
    vectors = teacher.encode(photos)

    async def run() -> list[str]:
        async with AsyncClient(running.url, timeout=60) as client:
            calls = [client.search(vectors[n % 12], space=teacher.space_id, limit=1) for n in range(100)]
            return [answer.hits[0].id for answer in await asyncio.gather(*calls)]

    assert asyncio.run(run()) == [photos[n % 12].stem for n in range(100)]


@pytest.fixture(scope="module")
def guarded(teacher_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """The address of a server that demands keys, and an admin's key."""
    with RunningServer(tmp_path_factory.mktemp("guarded")) as server:
        with Client(server.url) as client:
            key = client.create_key("me", ["admin"]).key
        with Client(server.url, key=key) as client:
            client.create_gallery("default", teacher_file)
        yield server.url, key


def test_keys_of_each_scope(guarded: tuple[str, str], connect: Callable[..., Client]) -> None:
    url, key = guarded
    with pytest.raises(Unauthorised, match="askew key create"):
        connect(url).galleries()
    with pytest.raises(Unauthorised, match="unknown or revoked"):
        connect(url, key="ask_x_y").galleries()
    admin = connect(url, key=key)
    phone = admin.create_key("phone", ["search"], galleries=["default"], requests_per_second=0.001)
    limited = connect(url, key=phone.key, retries=0)
    with pytest.raises(RateLimited) as caught:
        for _ in range(50):
            limited.gallery("default")
    assert caught.value.retry_after
    reader = admin.create_key("reader", ["search"])
    with pytest.raises(Forbidden):
        connect(url, key=reader.key).delete_gallery("default")
    assert [key.name for key in admin.keys().keys] == ["me", "phone", "reader"]
    assert admin.revoke_key(phone.id).revoked == phone.id
    assert admin.revoke_key(reader.id).revoked == reader.id
    assert [key.name for key in admin.keys().keys] == ["me"]


IMPORTS = """
import asyncio, inspect, io, sys
from PIL import Image
from askew_client import AsyncClient, Client, Encoder, NotFound

async def answer_of(value):
    return await value if inspect.isawaitable(value) else value

async def main():
    kind, url, path, photo = sys.argv[1:]
    encoder = Encoder(path)
    client = (AsyncClient if kind == "async" else Client)(url, timeout=60)
    before = set(sys.modules)
    vector = encoder.encode(photo)
    for format in ("PNG", "WEBP"):
        Image.open(photo).save(file := io.BytesIO(), format)
        encoder.encode(file.getvalue())
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.open(photo).save(file := io.BytesIO(), "AVIF", exif=exif)
    encoder.encode(file.getvalue())
    for call in (
        lambda: client.search(vector, space=encoder.space_id, gallery="museum"),
        lambda: client.search(vector.tolist(), space=encoder.space_id, gallery="museum"),
        lambda: client.search_batch([vector], space=encoder.space_id, gallery="museum"),
        lambda: client.search_with(encoder, photo, gallery="museum"),
        lambda: client.search_photo(photo, gallery="museum"),
        lambda: client.galleries(),
        lambda: client.item("nothing", gallery="museum"),
    ):
        try:
            await answer_of(call())
        except NotFound:
            pass
    await answer_of(client.close())
    print(sorted(set(sys.modules) - before), "numpy.ma" in sys.modules)

asyncio.run(main())
"""


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_requests_import_nothing(kind: str, running: RunningServer, teacher_file: Path, photos: list[Path]) -> None:
    """A process that is forked while one of its threads imports a module waits for that module for ever."""
    url = running.url.replace("127.0.0.1", "localhost")  # A name is looked up, too.
    program = [sys.executable, "-c", IMPORTS, kind, url, str(teacher_file), str(photos[0])]
    ran = subprocess.run(program, capture_output=True, text=True, check=True, timeout=100)
    assert ran.stdout == "[] False\n"
