"""Importing vectors that were computed elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import pytest

from askew_training.errors import CacheError
from askew_training.vectors import TeacherVectors
from askew_training.vectors.manifest import VECTORS, Dtype
from askew_training.vectors.npy_import import import_npy
from tests.support.training_helpers import SPACE, unit_vectors

COLUMNS = unit_vectors(3, 5, 0).T


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    """A file of three vectors, and one of their ids."""
    np.save(tmp_path / "features.npy", COLUMNS)
    (tmp_path / "ids.txt").write_text("a\nb\nc\n")
    return tmp_path / "features.npy", tmp_path / "ids.txt"


@pytest.mark.parametrize("order", ["C", "F"])
def test_a_feature_file_of_columns_is_imported(
    files: tuple[Path, Path], tmp_path: Path, order: Literal["C", "F"]
) -> None:
    file, ids = files
    np.save(file, np.array(COLUMNS, order=order))
    import_npy(file, ids, SPACE, tmp_path / "out", Dtype.f32, 362)
    vectors = TeacherVectors.open(tmp_path / "out", SPACE)
    vectors.verify()
    np.testing.assert_allclose(vectors.rows([vectors.index_of("c")])[0], COLUMNS[:, 2], atol=1e-7)
    assert (vectors.photo_size, vectors.manifest.encoder) == (362, None)
    with pytest.raises(CacheError, match="Choose an empty or a new folder"):
        import_npy(file, ids, SPACE, tmp_path / "out", Dtype.f32, None)


def test_feature_files_that_do_not_fit_are_refused(files: tuple[Path, Path], tmp_path: Path) -> None:
    file, ids = files
    out = tmp_path / "out"

    def check_refused(message: str, space: str = SPACE) -> None:
        with pytest.raises(CacheError, match=message):
            import_npy(file, ids, space, out, Dtype.f16, None)
        assert not (out / VECTORS).exists()

    check_refused("Expected a space", space="sp1-x")
    np.save(file, COLUMNS.T)
    check_refused("looks transposed")
    np.save(file, COLUMNS * 3)
    check_refused("column 0: expected a unit vector, got one of length 3")
    broken = COLUMNS.copy()
    broken[0, 1] = np.nan
    np.save(file, broken)
    check_refused("column 1: expected a unit vector, got one of length nan")
    np.save(file, np.zeros((5, 3), dtype=np.int64))
    check_refused(r"int64 \[5, 3\]")
    np.save(file, np.array([{}], dtype=object), allow_pickle=True)
    check_refused("plain numbers")
    file.write_bytes(b"")
    check_refused("plain numbers")
    ids.write_text("a\nb\nb\n")
    check_refused("line 3: expected an id that no other line has")
    ids.write_text("")
    check_refused("is empty")
    ids.write_bytes(b"\xff\xfe")
    check_refused("is not a text in UTF-8")
    ids.unlink()
    check_refused("cannot be read")
    ids.write_text("a\n")
    file.unlink()
    check_refused("cannot be read")
