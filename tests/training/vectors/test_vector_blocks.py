"""Vectors in blocks, from the files that people have."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from askew_client import Encoder
from askew_training.data.photo_sets import photos_in
from askew_training.errors import CacheError
from askew_training.vectors.cache_job import CacheJob
from askew_training.vectors.manifest import Dtype
from askew_training.vectors.vector_blocks import VectorBlocks, holds_vectors, open_blocks
from tests.support.training_helpers import unit_vectors
from tests.training.photo_files import walls_with_a_damaged_photo


def rows_of(blocks: VectorBlocks, rows_at_once: int = 3) -> np.ndarray:
    parts = list(VectorBlocks(blocks.dim, blocks.shards, rows_at_once=rows_at_once))
    assert all(part.dtype == np.float32 and len(part) <= rows_at_once for part in parts)
    return np.concatenate(parts)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, ">f4"])
@pytest.mark.parametrize("layout", ["rows", "columns", "rows in Fortran order", "columns in Fortran order"])
def test_numpy_files_of_any_layout_are_rows(tmp_path: Path, dtype: str, layout: str) -> None:
    vectors = unit_vectors(10, 8, 0).astype(dtype)
    array = vectors.T if layout.startswith("columns") else vectors
    make = np.asfortranarray if layout.endswith("Fortran order") else np.ascontiguousarray
    np.save(tmp_path / "v.npy", make(array))
    blocks = open_blocks(tmp_path / "v.npy", 8, None)
    assert (len(blocks), blocks.ids) == (10, ())
    np.testing.assert_array_equal(rows_of(blocks), vectors.astype(np.float32))
    np.testing.assert_array_equal(np.concatenate(list(blocks)), vectors.astype(np.float32))


def test_shards_of_a_folder_follow_each_other_by_name(tmp_path: Path) -> None:
    vectors = unit_vectors(10, 4, 0)
    for name, part in {"b": vectors[4:9], "a": vectors[:4], "c": vectors[9:]}.items():
        np.save(tmp_path / f"{name}.npy", part)
    assert holds_vectors(tmp_path) and holds_vectors(tmp_path / "a.npy")
    assert not holds_vectors(tmp_path / "none")
    np.testing.assert_array_equal(rows_of(open_blocks(tmp_path, 4, None)), vectors)


def test_folders_of_the_cache_are_read_with_their_ids(teacher: Path, tmp_path: Path) -> None:
    photos = photos_in(walls_with_a_damaged_photo(tmp_path))
    for name, part in {"one": photos[:5], "two": photos[5:]}.items():
        CacheJob(teacher, part, tmp_path / "vectors" / name, Dtype.f16).run(lambda: None)
    encoder = Encoder(teacher)
    blocks = open_blocks(tmp_path / "vectors", encoder.manifest.dim, encoder.space_id, encoder.file.sha256)
    readable = [photo for photo in photos if photo.path.name != "3.png"]
    assert blocks.ids == tuple(photo.id for photo in readable)
    assert blocks.unreadable == ("walls/3.png",)
    np.testing.assert_allclose(rows_of(blocks), encoder.encode([photo.path for photo in readable]), atol=1e-3)
    one = tmp_path / "vectors" / "one"
    assert len(open_blocks(one, encoder.manifest.dim, encoder.space_id)) == 4
    with pytest.raises(CacheError, match="expected the gallery's encoder, file ffffffffffff…"):
        open_blocks(one, encoder.manifest.dim, encoder.space_id, "f" * 64)
    with pytest.raises(CacheError, match="expected space sp1-0"):
        open_blocks(one, encoder.manifest.dim, "sp1-" + "0" * 32)
    with pytest.raises(CacheError, match="16 dimensions; expected 7"):
        open_blocks(one, 7, None)
    (one / "manifest.json").rename(one / "progress.json")
    with pytest.raises(CacheError, match="is inconsistent"):
        open_blocks(tmp_path / "vectors", encoder.manifest.dim, None)


def _npy(header: str) -> bytes:
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode()


def test_what_holds_no_unit_vectors_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "v.npy"
    with pytest.raises(CacheError, match="holds no vectors"):
        open_blocks(tmp_path, 4, None)
    for content in (b"", b"\x93NUMPY\x09\x00", b"text", _npy("{'descr': '<f4', 'shape': (2, 4), } ( ")):
        file.write_bytes(content)
        with pytest.raises(CacheError, match="no NumPy file of plain numbers"):
            open_blocks(file, 4, None)
    file.write_bytes(_npy("{'descr': '<f4', 'fortran_order': False, 'shape': (-5, 4), }"))
    with pytest.raises(CacheError, match=r"float32 \[-5, 4\]; expected float \[N, 4\]"):
        open_blocks(file, 4, None)
    for array in (np.zeros((3, 5)), np.zeros(4), np.zeros((3, 4), dtype=np.int8), np.zeros((2, 3, 4))):
        np.save(file, array)
        with pytest.raises(CacheError, match=r"expected float \[N, 4\]"):
            open_blocks(file, 4, None)
    np.save(file, np.array([[{}]]), allow_pickle=True)
    with pytest.raises(CacheError, match="expected float"):
        open_blocks(file, 1, None)
    np.save(file, unit_vectors(9, 4, 0))
    file.write_bytes(file.read_bytes()[:-3])
    with pytest.raises(CacheError, match="promises 9 vectors"):
        open_blocks(file, 4, None)
    np.save(file, 2 * unit_vectors(9, 4, 0))
    with pytest.raises(CacheError, match=r"row 0: expected a unit vector, got one of length 2"):
        list(open_blocks(file, 4, None))


def test_a_file_that_is_cut_while_it_is_read_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "v.npy"
    np.save(file, unit_vectors(9, 4, 0))
    blocks = open_blocks(file, 4, None)
    file.write_bytes(file.read_bytes()[:-3])
    with pytest.raises(CacheError, match="became shorter"):
        list(blocks)


def test_a_photo_without_a_vector_stays_nan(tmp_path: Path) -> None:
    vectors = unit_vectors(5, 4, 0)
    vectors[0] = np.nan
    np.save(tmp_path / "v.npy", vectors)
    np.testing.assert_array_equal(rows_of(open_blocks(tmp_path, 4, None)), vectors)
