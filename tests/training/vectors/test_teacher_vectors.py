"""Reading a teacher's vectors."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from askew_training.data.photo_sets import photos_in
from askew_training.errors import CacheError
from askew_training.vectors import TeacherVectors
from askew_training.vectors.cache_job import CacheJob
from askew_training.vectors.manifest import MANIFEST, PROGRESS, VECTORS, CacheManifest, Dtype, write_record
from tests.support.training_helpers import SPACE
from tests.training.photo_files import walls_with_a_damaged_photo


def test_damage_is_reported(teacher: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    CacheJob(teacher, photos_in(walls_with_a_damaged_photo(tmp_path)), out, Dtype.f32).run(lambda: None)
    with pytest.raises(CacheError, match="expected space"):
        TeacherVectors.open(out, SPACE)
    vectors = TeacherVectors.open(out)
    with pytest.raises(CacheError, match=r"has no vector of walls/3\.png: .*3\.png"):
        vectors.index_of("walls/3.png")
    with pytest.raises(CacheError, match="not among the photos that were described"):
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
    with pytest.raises(CacheError, match="is inconsistent"):
        TeacherVectors.open(out)
    with pytest.raises(CacheError, match="holds no teacher vectors"):
        TeacherVectors.open(tmp_path / "nowhere")
    (out / MANIFEST).unlink()
    (out / PROGRESS).write_text("{")
    with pytest.raises(CacheError, match="is inconsistent"):
        TeacherVectors.open(out)


@pytest.mark.slow
def test_a_large_cache_is_not_loaded(tmp_path: Path) -> None:
    """100,000 × 2048 in half precision: 410 MB on the disk, and only a fraction of that in memory."""
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
# Mapped files count as address space, not as data, so a copy of the vectors would not fit.
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


def test_the_documented_name_of_0_1_is_kept() -> None:
    from askew_training import cache

    assert cache.TeacherVectors is TeacherVectors
