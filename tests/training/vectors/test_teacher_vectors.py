from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys

import numpy as np
import pytest
import typer
from filelock import FileLock
from PIL import Image
from typer.testing import CliRunner

from askew_client import Encoder
from askew_training.cli.cache import cache
from askew_training.data.photo_sets import photos_in, read_manifest
from askew_training.errors import CacheError
from askew_training.export.write import write_encoder
from askew_training.vectors import TeacherVectors
from askew_training.vectors.fill import CacheJob
from askew_training.vectors.import_npy import import_npy
from askew_training.vectors.lock import LOCK
from askew_training.vectors.manifest import MANIFEST, PROGRESS, VECTORS, CacheManifest, Dtype, write_record
from tests.support.training_helpers import CARD, checkpoint_of, picture, tiny_network

SPACE = "sp1-" + "0" * 32


@pytest.fixture(scope="module")
def teacher(tmp_path_factory, network):
    file = tmp_path_factory.mktemp("teacher") / "tiny.onnx"
    write_encoder(checkpoint_of(network), CARD, file)
    return file


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sets") / "walls"
    folder.mkdir()
    for i in range(7):
        Image.fromarray(picture(64, 80, i)).save(folder / f"{i}.png")
    (folder / "3.png").write_bytes(b"no photo")
    return folder


def described(teacher, photos, output, dtype=Dtype.f32, on_photo=lambda: None):
    job = CacheJob(teacher, photos, output, dtype)
    return job, job.run(on_photo)


def test_vectors_are_those_of_the_encoder_by_id(teacher, folder, tmp_path):
    _, manifest = described(teacher, photos_in(folder), tmp_path / "out")
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


def test_half_precision_takes_half_and_stays_close(teacher, folder, tmp_path):
    described(teacher, photos_in(folder), tmp_path / "f16", Dtype.f16)
    described(teacher, photos_in(folder), tmp_path / "f32", Dtype.f32)
    half, single = (TeacherVectors.open(tmp_path / name) for name in ("f16", "f32"))
    assert 2 * (tmp_path / "f16" / VECTORS).stat().st_size == (tmp_path / "f32" / VECTORS).stat().st_size
    np.testing.assert_allclose(half.rows(range(6)), single.rows(range(6)), atol=3e-4)


def test_what_was_interrupted_goes_on_and_ends_the_same(teacher, folder, tmp_path):
    photos = photos_in(folder)
    described(teacher, photos, tmp_path / "whole")
    steps = []

    def interrupt():
        steps.append(1)
        if len(steps) == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        described(teacher, photos, tmp_path / "out", on_photo=interrupt)
    with pytest.raises(CacheError, match="5 of 7 photos"):
        TeacherVectors.open(tmp_path / "out")
    # A crash leaves rows behind that nobody noted down.
    with (tmp_path / "out" / VECTORS).open("ab") as stream:
        stream.write(b"half a row")
    left = []
    job, manifest = described(teacher, photos, tmp_path / "out", on_photo=lambda: left.append(1))
    assert (job.total, len(left)) == (7, 2)
    assert (tmp_path / "out" / VECTORS).read_bytes() == (tmp_path / "whole" / VECTORS).read_bytes()
    assert manifest == TeacherVectors.open(tmp_path / "whole").manifest
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted([LOCK, MANIFEST, VECTORS])


KILLED = """
import os, signal, sys
from pathlib import Path
from unittest import mock
from askew_training.vectors import fill
from askew_training.vectors.manifest import Dtype
from askew_training.data.photo_sets import photos_in
steps = []
def kill_at_the_fifth():
    steps.append(1)
    if len(steps) == 5:
        os.kill(os.getpid(), signal.SIGKILL)
teacher, photos, output = map(Path, sys.argv[1:])
with mock.patch.object(fill, "SAVED_EVERY", -1.0):
    fill.CacheJob(teacher, photos_in(photos), output, Dtype.f32).run(kill_at_the_fifth)
"""


def test_a_killed_process_loses_only_what_it_had_not_noted_down(teacher, folder, tmp_path):
    described(teacher, photos_in(folder), tmp_path / "whole")
    arguments = [sys.executable, "-c", KILLED, teacher, folder, tmp_path / "out"]
    assert subprocess.run(arguments, check=False).returncode == -signal.SIGKILL
    left = []
    described(teacher, photos_in(folder), tmp_path / "out", on_photo=lambda: left.append(1))
    assert len(left) == 3
    assert (tmp_path / "out" / VECTORS).read_bytes() == (tmp_path / "whole" / VECTORS).read_bytes()


def test_a_complete_cache_is_not_computed_again(teacher, folder, tmp_path, monkeypatch):
    _, manifest = described(teacher, photos_in(folder), tmp_path / "out")
    monkeypatch.setattr(Encoder, "encode_pixels", None)
    job, again = described(teacher, photos_in(folder), tmp_path / "out")
    assert (job.handled, again) == (7, manifest)


def test_another_plan_is_refused_and_nothing_is_lost(teacher, folder, tmp_path):
    photos = photos_in(folder)
    described(teacher, photos, tmp_path / "out")
    before = (tmp_path / "out" / VECTORS).read_bytes()
    with pytest.raises(CacheError, match="other photos"):
        CacheJob(teacher, photos[:-1], tmp_path / "out", Dtype.f32)
    with pytest.raises(CacheError, match="another --dtype"):
        CacheJob(teacher, photos, tmp_path / "out", Dtype.f16)
    other = tmp_path / "other.onnx"
    write_encoder(checkpoint_of(tiny_network(dim=8)), CARD, other)
    with pytest.raises(CacheError, match="another encoder file"):
        CacheJob(other, photos, tmp_path / "out", Dtype.f32)
    assert (tmp_path / "out" / VECTORS).read_bytes() == before


def test_folders_of_something_else_and_busy_ones_are_refused(teacher, folder, tmp_path):
    with pytest.raises(CacheError, match=r"holds 0\.png and no teacher vectors"):
        CacheJob(teacher, photos_in(folder), folder, Dtype.f32)
    with pytest.raises(CacheError, match="is a file"):
        CacheJob(teacher, photos_in(folder), teacher, Dtype.f32)
    job = CacheJob(teacher, photos_in(folder), tmp_path / "out", Dtype.f32)
    (tmp_path / "out").mkdir()
    with FileLock(tmp_path / "out" / LOCK), pytest.raises(CacheError, match="Another process"):
        job.run(lambda: None)


def test_ids_are_unique_and_a_photo_listed_twice_is_described_once(teacher, folder, tmp_path):
    again = tmp_path / "walls"
    again.mkdir()
    Image.fromarray(picture(64, 80)).save(again / "0.png")
    with pytest.raises(CacheError, match=r"Two photos have the id walls/0\.png"):
        CacheJob(teacher, [*photos_in(folder), *photos_in(again)], tmp_path / "out", Dtype.f32)
    (folder.parent / "m.csv").write_text(
        "path,instance_id,role,benchmark,set\nwalls/0.png,a,query,b,s\nwalls/0.png,a,gallery,b,s\n"
    )
    job = CacheJob(teacher, read_manifest(folder.parent / "m.csv"), tmp_path / "out", Dtype.f32)
    assert [photo.id for photo in job.photos] == ["walls/0.png"]
    with pytest.raises(CacheError, match="no photos to describe"):
        CacheJob(teacher, [], tmp_path / "out", Dtype.f32)


def test_no_readable_photo_is_an_error(teacher, tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "0.png").write_bytes(b"no photo")
    with pytest.raises(CacheError, match="None of 1 photos"):
        described(teacher, photos_in(folder), tmp_path / "out")


def test_damage_is_named(teacher, folder, tmp_path):
    out = tmp_path / "out"
    described(teacher, photos_in(folder), out)
    with pytest.raises(CacheError, match="expected space"):
        TeacherVectors.open(out, SPACE)
    vectors = TeacherVectors.open(out)
    with pytest.raises(CacheError, match=r"walls/3\.png: .*no photo|walls/3\.png"):
        vectors.index_of("walls/3.png")
    with pytest.raises(CacheError, match="not among those described"):
        vectors.index_of("elsewhere/3.png")
    with pytest.raises(IndexError, match="rows from 0 to 5"):
        vectors.rows([6])
    with pytest.raises(IndexError, match="rows from 0 to 5"):
        vectors.rows([-1])
    content = bytearray((out / VECTORS).read_bytes())
    content[17] ^= 1
    (out / VECTORS).write_bytes(content)
    with pytest.raises(CacheError, match="is damaged"):
        TeacherVectors.open(out).verify()
    (out / VECTORS).write_bytes(content[:-1])
    with pytest.raises(CacheError, match="has 383 bytes; expected 384"):
        TeacherVectors.open(out)
    (out / MANIFEST).write_text("{}")
    with pytest.raises(CacheError, match="does not hold together"):
        TeacherVectors.open(out)
    with pytest.raises(CacheError, match="holds no teacher vectors"):
        TeacherVectors.open(tmp_path / "nowhere")
    (out / MANIFEST).unlink()
    (out / PROGRESS).write_text("{")
    with pytest.raises(CacheError, match="does not hold together"):
        TeacherVectors.open(out)


@pytest.fixture
def feature_file(tmp_path):
    vectors = np.random.default_rng(0).standard_normal((5, 3)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=0)
    np.save(tmp_path / "features.npy", vectors)
    (tmp_path / "ids.txt").write_text("a\nb\nc\n")
    return tmp_path / "features.npy", tmp_path / "ids.txt", vectors


@pytest.mark.parametrize("order", ["C", "F"])
def test_a_feature_file_of_columns_is_taken_over(feature_file, tmp_path, order):
    file, ids, columns = feature_file
    np.save(file, np.array(columns, order=order))
    import_npy(file, ids, SPACE, tmp_path / "out", Dtype.f32, 362)
    vectors = TeacherVectors.open(tmp_path / "out", SPACE)
    vectors.verify()
    np.testing.assert_allclose(vectors.rows([vectors.index_of("c")])[0], columns[:, 2], atol=1e-7)
    assert (vectors.photo_size, vectors.manifest.encoder) == (362, None)
    with pytest.raises(CacheError, match="Choose an empty or a new folder"):
        import_npy(file, ids, SPACE, tmp_path / "out", Dtype.f32, None)


def test_feature_files_that_do_not_fit_are_refused(feature_file, tmp_path):
    file, ids, columns = feature_file
    out = tmp_path / "out"

    def refused(message, space=SPACE):
        with pytest.raises(CacheError, match=message):
            import_npy(file, ids, space, out, Dtype.f16, None)
        assert not (out / VECTORS).exists()

    refused("Expected a space", space="sp1-x")
    np.save(file, columns.T)
    refused("looks transposed")
    np.save(file, columns * 3)
    refused("column 0: expected a unit vector, got one of length 3")
    broken = columns.copy()
    broken[0, 1] = np.nan
    np.save(file, broken)
    refused("column 1: expected a unit vector, got one of length nan")
    np.save(file, np.zeros((5, 3), dtype=np.int64))
    refused(r"int64 \[5, 3\]")
    np.save(file, np.array([{}], dtype=object), allow_pickle=True)
    refused("plain numbers")
    file.write_bytes(b"")
    refused("plain numbers")
    ids.write_text("a\nb\nb\n")
    refused("line 3: expected an id that no other line has")
    ids.write_text("")
    refused("is empty")
    ids.write_bytes(b"\xff\xfe")
    refused("no text in UTF-8")
    ids.unlink()
    refused("cannot be read")
    ids.write_text("a\n")
    file.unlink()
    refused("cannot be read")


def test_the_command_describes_and_imports(teacher, folder, feature_file, tmp_path):
    application = typer.Typer()
    application.command()(cache)

    def run(*arguments):
        return CliRunner().invoke(application, [str(argument) for argument in arguments])

    first = run(teacher, tmp_path / "out", "--photos", folder, "--dtype", "f32")
    assert first.exit_code == 0
    assert "6 vectors of 16 f32 values, space sp1-" in first.stdout
    assert "3.png" in first.stderr
    file, ids, _ = feature_file
    second = run(file, tmp_path / "in", "--ids", ids, "--space", SPACE)
    assert "3 vectors of 5 f16 values" in second.stdout
    assert run(file, tmp_path / "in2").exit_code == 2
    assert run(teacher, tmp_path / "out2", "--photos", folder, "--space", SPACE).exit_code == 2


def test_a_large_cache_is_not_loaded(tmp_path):
    """100,000 × 2048 at half precision: 410 MB on the disk, a fraction of that in memory of its own."""
    count, dim = 100_000, 2048
    with (tmp_path / VECTORS).open("wb") as stream:
        stream.truncate(count * dim * 2)
    manifest = CacheManifest(
        space_id=SPACE, encoder=None, encoder_sha256=None, photo_size=None, scales=None, plan=None, dim=dim,
        dtype=Dtype.f16, count=count, digest="0" * 64, unreadable=(), ids=tuple(f"photos/{i:06}.jpg" for i in range(count)),
    )  # fmt: skip
    write_record(tmp_path / MANIFEST, manifest)
    code = """
import sys, resource
from pathlib import Path
import numpy as np
from askew_training.vectors import TeacherVectors
# Files that are mapped count as addresses, not as data: a copy of the vectors would not fit.
used = int(Path("/proc/self/statm").read_text().split()[5]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_DATA, (used + 300_000_000,) * 2)
vectors = TeacherVectors.open(Path(sys.argv[1]))
random = np.random.default_rng(0)
total = sum(float(vectors.rows(random.integers(0, len(vectors), 500)).sum()) for _ in range(20))
"""
    assert hasattr(resource, "RLIMIT_DATA")
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
