"""Filling a folder with a teacher's vectors."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock

from askew_client import Encoder
from askew_training.data.photo_sets import Photo, photos_in, read_manifest
from askew_training.errors import CacheError
from askew_training.vectors import TeacherVectors
from askew_training.vectors.cache_job import CacheJob
from askew_training.vectors.lock import LOCK
from askew_training.vectors.manifest import MANIFEST, VECTORS, CacheManifest, Dtype
from tests.support.small_encoders import make_encoder
from tests.support.training_helpers import MANIFEST_HEADER
from tests.training.photo_files import save_photo, walls_with_a_damaged_photo


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return walls_with_a_damaged_photo(tmp_path_factory.mktemp("sets"))


def describe(
    teacher: Path,
    photos: Sequence[Photo],
    output: Path,
    dtype: Dtype = Dtype.f32,
    on_photo: Callable[[], None] = lambda: None,
) -> tuple[CacheJob, CacheManifest]:
    job = CacheJob(teacher, photos, output, dtype)
    return job, job.run(on_photo)


def test_vectors_are_those_of_the_encoder_by_id(teacher: Path, folder: Path, tmp_path: Path) -> None:
    _, manifest = describe(teacher, photos_in(folder), tmp_path / "out")
    vectors = TeacherVectors.open(tmp_path / "out", Encoder(teacher).space_id)
    vectors.verify()
    assert vectors.ids == tuple(f"walls/{i}.png" for i in (0, 1, 2, 4, 5, 6))
    assert (len(vectors), vectors.dim, vectors.photo_size) == (6, 16, 128)
    assert manifest.encoder == "tiny@1"
    assert [item.id for item in manifest.unreadable] == ["walls/3.png"]
    rows = vectors.rows([vectors.index_of("walls/4.png"), 0])
    assert rows.dtype == np.float32
    np.testing.assert_array_equal(rows, Encoder(teacher).encode([folder / "4.png", folder / "0.png"]))
    assert "walls/4.png" in vectors
    assert vectors.rows([]).shape == (0, 16)


def test_half_precision_takes_half_and_stays_close(teacher: Path, folder: Path, tmp_path: Path) -> None:
    describe(teacher, photos_in(folder), tmp_path / "f16", Dtype.f16)
    describe(teacher, photos_in(folder), tmp_path / "f32", Dtype.f32)
    half, single = (TeacherVectors.open(tmp_path / name) for name in ("f16", "f32"))
    assert 2 * (tmp_path / "f16" / VECTORS).stat().st_size == (tmp_path / "f32" / VECTORS).stat().st_size
    np.testing.assert_allclose(half.rows(range(6)), single.rows(range(6)), atol=3e-4)


def test_an_interrupted_job_continues_and_gives_the_same(teacher: Path, folder: Path, tmp_path: Path) -> None:
    photos = photos_in(folder)
    describe(teacher, photos, tmp_path / "whole")
    steps: list[None] = []

    def interrupt() -> None:
        steps.append(None)
        if len(steps) == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        describe(teacher, photos, tmp_path / "out", on_photo=interrupt)
    with pytest.raises(CacheError, match="5 of 7 photos"):
        TeacherVectors.open(tmp_path / "out")
    # A crash leaves bytes behind that the progress file does not cover.
    with (tmp_path / "out" / VECTORS).open("ab") as stream:
        stream.write(b"half a row")
    remaining: list[None] = []
    job, manifest = describe(teacher, photos, tmp_path / "out", on_photo=lambda: remaining.append(None))
    assert (job.total, len(remaining)) == (7, 2)
    assert (tmp_path / "out" / VECTORS).read_bytes() == (tmp_path / "whole" / VECTORS).read_bytes()
    assert manifest == TeacherVectors.open(tmp_path / "whole").manifest
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted([LOCK, MANIFEST, VECTORS])


KILLED = """
import os, signal, sys
from pathlib import Path
from askew_training.vectors.cache_job import CacheJob
from askew_training.vectors.manifest import Dtype
from askew_training.data.photo_sets import photos_in
steps = []
def kill_at_the_fifth():
    steps.append(1)
    if len(steps) == 5:
        os.kill(os.getpid(), signal.SIGKILL)
teacher, photos, output = map(Path, sys.argv[1:])
CacheJob(teacher, photos_in(photos), output, Dtype.f32, saved_every=-1).run(kill_at_the_fifth)
"""


@pytest.mark.slow
def test_a_killed_process_loses_only_what_it_had_not_saved(teacher: Path, folder: Path, tmp_path: Path) -> None:
    describe(teacher, photos_in(folder), tmp_path / "whole")
    arguments = [sys.executable, "-c", KILLED, str(teacher), str(folder), str(tmp_path / "out")]
    assert subprocess.run(arguments, check=False).returncode == -signal.SIGKILL
    remaining: list[None] = []
    describe(teacher, photos_in(folder), tmp_path / "out", on_photo=lambda: remaining.append(None))
    assert len(remaining) == 3
    assert (tmp_path / "out" / VECTORS).read_bytes() == (tmp_path / "whole" / VECTORS).read_bytes()


def test_a_complete_cache_is_not_computed_again(
    teacher: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, manifest = describe(teacher, photos_in(folder), tmp_path / "out")
    monkeypatch.setattr(Encoder, "encode_pixels", lambda *_: pytest.fail("a photo was described again"))
    job, again = describe(teacher, photos_in(folder), tmp_path / "out")
    assert (job.handled, again) == (7, manifest)


def test_another_plan_is_refused_and_nothing_is_lost(teacher: Path, folder: Path, tmp_path: Path) -> None:
    photos = photos_in(folder)
    describe(teacher, photos, tmp_path / "out")
    before = (tmp_path / "out" / VECTORS).read_bytes()
    with pytest.raises(CacheError, match="other photos"):
        CacheJob(teacher, photos[:-1], tmp_path / "out", Dtype.f32)
    with pytest.raises(CacheError, match="another --dtype"):
        CacheJob(teacher, photos, tmp_path / "out", Dtype.f16)
    other = make_encoder(tmp_path / "other.onnx", role="teacher", dim=16)
    with pytest.raises(CacheError, match="another encoder file"):
        CacheJob(other, photos, tmp_path / "out", Dtype.f32)
    assert (tmp_path / "out" / VECTORS).read_bytes() == before


def test_folders_of_something_else_and_locked_ones_are_refused(teacher: Path, folder: Path, tmp_path: Path) -> None:
    with pytest.raises(CacheError, match=r"holds 0\.png, but no teacher vectors"):
        CacheJob(teacher, photos_in(folder), folder, Dtype.f32)
    with pytest.raises(CacheError, match="is a file"):
        CacheJob(teacher, photos_in(folder), teacher, Dtype.f32)
    job = CacheJob(teacher, photos_in(folder), tmp_path / "out", Dtype.f32)
    (tmp_path / "out").mkdir()
    with FileLock(tmp_path / "out" / LOCK), pytest.raises(CacheError, match="Another process"):
        job.run(lambda: None)


def test_ids_are_unique_and_a_photo_listed_twice_is_described_once(teacher: Path, folder: Path, tmp_path: Path) -> None:
    save_photo(tmp_path / "walls" / "0.png")
    with pytest.raises(CacheError, match=r"Two photos have the id walls/0\.png"):
        CacheJob(teacher, [*photos_in(folder), *photos_in(tmp_path / "walls")], tmp_path / "out", Dtype.f32)
    manifest = folder.parent / "m.csv"
    manifest.write_text(f"{MANIFEST_HEADER}walls/0.png,a,query,b,s\nwalls/0.png,a,gallery,b,s\n")
    job = CacheJob(teacher, read_manifest(manifest), tmp_path / "out", Dtype.f32)
    assert [photo.id for photo in job.photos] == ["walls/0.png"]
    with pytest.raises(CacheError, match="no photos to describe"):
        CacheJob(teacher, [], tmp_path / "out", Dtype.f32)


def test_no_readable_photo_is_an_error(teacher: Path, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "0.png").write_bytes(b"no photo")
    with pytest.raises(CacheError, match="None of 1 photos"):
        describe(teacher, photos_in(folder), tmp_path / "out")
