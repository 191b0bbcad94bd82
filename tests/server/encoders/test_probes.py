"""The probe set: photos with teacher vectors apart from the items, by which a gallery without photos judges a student."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from askew_client.contract.encoder_file import parse_encoder_file
from askew_client.contract.wire import pack_base64
from askew_client.encoding.encoder import Encoder
from askew_server.gallery.catalog import Catalog
from askew_server.storage.items import ItemBatch, StoredItem
from tests.support.paths import DEMO
from tests.support.problem_shape import assert_problem
from tests.support.running_server import RunningServer, run_askew
from tests.support.small_encoders import make_encoder


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory, teacher: Encoder, teacher_file: Path) -> Path:
    """A DATA directory with galleries of 60 vectors without a photo: `bare`, and copies for tests that change it."""
    data = tmp_path_factory.mktemp("probes") / "data"
    file = parse_encoder_file(teacher_file.read_bytes(), str(teacher_file))
    photos = sorted((DEMO / "gallery").glob("*.jpg"))[-60:]
    items = [StoredItem(photo.stem, teacher.encode(photo), {}) for photo in photos]
    with closing(Catalog(data, owner="a test")) as galleries:
        galleries.load()
        gallery, _ = galleries.get_or_create("bare", file.manifest)
        gallery.run(lambda each: each.keep_encoder(file, teacher_file.read_bytes(), None))
        gallery.run(lambda each: each.upsert(ItemBatch.of(items)))
    for name in ("judging", "sharing"):
        shutil.copytree(data / "galleries" / "bare", data / "galleries" / name)
    return data


@pytest.fixture(scope="module")
def running(prepared: Path) -> Iterator[RunningServer]:
    with RunningServer(prepared, "--gallery", "bare") as server:
        yield server


@pytest.fixture(scope="session")
def probe_photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with 12 photos of the demo."""
    folder = tmp_path_factory.mktemp("photos")
    for photo in sorted((DEMO / "gallery").glob("*.jpg"))[:12]:
        shutil.copy(photo, folder / photo.name)
    return folder


def put_probe(server: RunningServer, gallery: str, identity: str, photo: Path) -> None:
    """Add a photo to the probe set; the teacher describes it."""
    url = f"/v1/galleries/{gallery}/probes/{identity}"
    answer = server.http.put(url, content=photo.read_bytes(), headers={"Content-Type": "image/jpeg"})
    assert answer.status_code == 200, answer.text


@pytest.mark.slow
def test_a_gallery_of_vectors_judges_a_student_by_its_probe_set(
    running: RunningServer, student_file: Path, probe_photos: Path, teacher: Encoder, tmp_path: Path
) -> None:
    url = "/v1/galleries/judging"
    refused = running.http.post(f"{url}/encoders", content=student_file.read_bytes())
    assert_problem(refused, 422, "encoder-refused", "at least 10 photos", "askew probes add")
    for photo in probe_photos.iterdir():
        put_probe(running, "judging", photo.stem, photo)
    described = running.http.get(url).json()
    assert (described["items"], described["photos"]) == (60, 0)

    admitted = running.http.post(f"{url}/encoders", content=student_file.read_bytes())
    assert admitted.status_code == 201, admitted.text
    report = admitted.json()["report"]
    assert (report["probes"], report["probes_from"]) == (12, "probes")
    # 60 items, and the other 11 probes, which count as if they were items.
    assert report["compared_items"] == 71
    assert report["recall_at_10"] > 0.7
    path = make_encoder(tmp_path / "random.onnx", role="student", seed=7, space_id=teacher.space_id, name="random")
    answer = running.http.post(f"{url}/encoders", content=path.read_bytes())
    problem = assert_problem(answer, 422, "encoder-refused", "mean cosine", "find themselves first")
    random_report: Any = problem["report"]
    assert random_report["recall_at_10"] < 0.4


@pytest.mark.slow
def test_probes_are_not_items_and_survive_a_kill(prepared: Path, probe_photos: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    (data / "galleries").mkdir(parents=True)
    shutil.copytree(prepared / "galleries" / "bare", data / "galleries" / "bare")
    three = sorted(probe_photos.iterdir())[:3]
    url = "/v1/galleries/bare"
    with RunningServer(data, "--gallery", "bare") as server:
        for photo in three:
            put_probe(server, "bare", photo.stem, photo)
        listed = server.http.get(f"{url}/probes").json()
        assert [probe["id"] for probe in listed["probes"]] == [photo.stem for photo in three]
        assert listed["needed"] == 10
        first = three[0].stem
        assert_problem(server.http.get(f"{url}/items/{first}"), 404, "unknown-item")
        assert server.http.delete(f"{url}/probes/{first}").json() == {"deleted": first}
        assert_problem(server.http.delete(f"{url}/probes/{first}"), 404, "unknown-probe", first)
        server.kill()
    assert len(list((data / "galleries" / "bare" / "probes").iterdir())) == 2
    with RunningServer(data, "--gallery", "bare") as again:
        assert len(again.http.get(f"{url}/probes").json()["probes"]) == 2


@pytest.mark.slow
def test_a_photo_shared_by_two_probes_is_removed_with_the_second(running: RunningServer, probe_photos: Path) -> None:
    photo = next(probe_photos.iterdir())
    for identity in ("one", "folder%2Ftwo"):
        put_probe(running, "sharing", identity, photo)
    folder = running.data / "galleries" / "sharing" / "probes"
    url = "/v1/galleries/sharing/probes"
    running.http.delete(f"{url}/one")
    assert len(list(folder.iterdir())) == 1
    assert running.http.delete(f"{url}/folder%2Ftwo").json() == {"deleted": "folder/two"}
    assert list(folder.iterdir()) == []


def test_a_probe_may_bring_its_vector_in_the_right_space(
    running: RunningServer, probe_photos: Path, teacher: Encoder
) -> None:
    photo = next(probe_photos.iterdir())
    url = "/v1/galleries/bare/probes/mine"
    vector = {"vector": pack_base64(teacher.encode(photo)), "dtype": "f16le"}
    files = {"photo": photo.read_bytes()}
    assert_problem(running.http.put(url, files=files, data=vector), 422, "space-missing")
    foreign = {**vector, "space": "sp1-" + "0" * 32}
    assert_problem(running.http.put(url, files=files, data=foreign), 409, "space-mismatch", teacher.space_id)
    assert running.http.put(url, files=files, data={**vector, "space": teacher.space_id}).status_code == 200
    truncated = {"photo": photo.read_bytes()[:2000]}
    answer = running.http.put(url, files=truncated, data={**vector, "space": teacher.space_id})
    assert_problem(answer, 422, "unreadable-photo")
    assert_problem(
        running.http.put(url, content=b"{}", headers={"Content-Type": "application/json"}), 415, "unsupported-media"
    )


@pytest.mark.slow
def test_the_command_line_takes_probes_described_by_the_gallerys_own_teacher_only(
    data: Path, probe_photos: Path, tmp_path: Path
) -> None:
    other = make_encoder(tmp_path / "other.onnx", role="teacher", seed=3)
    refused = run_askew("probes", "add", probe_photos, "--encoder", other, "--gallery", "objects", "--data", data)
    assert refused.returncode == 1
    assert "the gallery's own teacher" in refused.stderr
