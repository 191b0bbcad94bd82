from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from askew_client.errors import PhotoError
from askew_client.photos import read_photo, shrunk_size
from askew_training.data.pixels import shrunk
from askew_training.data.store import PhotoStore

SIDE = 64


def save(path: Path, height: int = 60, width: int = 100, seed: int = 0, orientation: int = 1) -> Path:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(pixels).save(path, exif=exif)
    return path


@pytest.fixture
def paths(tmp_path: Path) -> list[Path]:
    (tmp_path / "photos").mkdir()
    sizes = [(60, 100), (100, 60), (40, 50), (200, 33)]
    names = ("a.jpg", "b.png", "c.webp", "d.jpg")
    return [save(tmp_path / "photos" / name, *size) for name, size in zip(names, sizes, strict=True)]


def test_photos_are_decoded_and_shrunk_by_the_shared_rules(paths: list[Path]) -> None:
    store = PhotoStore(paths, SIDE)
    assert len(store) == 4
    for index, path in enumerate(paths):
        assert np.array_equal(store[index], shrunk(read_photo(path), SIDE))
        assert store[index].dtype == np.uint8
        assert store[index].flags.writeable


@given(
    height=st.integers(1, 90),
    width=st.integers(1, 90),
    orientation=st.integers(0, 9),
    suffix=st.sampled_from([".jpg", ".png", ".webp"]),
)
def test_the_shape_by_the_header_is_the_shape_of_the_photo(
    tmp_path_factory: pytest.TempPathFactory, height: int, width: int, orientation: int, suffix: str
) -> None:
    path = save(tmp_path_factory.getbasetemp() / f"shape{suffix}", height, width, orientation=orientation)
    store = PhotoStore([path], SIDE)
    assert store.shape(0) == store[0].shape[:2]
    assert max(store.shape(0)) <= SIDE


def test_damaged_photos_are_refused_with_their_names(tmp_path: Path) -> None:
    (tmp_path / "text.jpg").write_text("no photo")
    whole = save(tmp_path / "whole.jpg").read_bytes()
    (tmp_path / "half.jpg").write_bytes(whole[: len(whole) // 2])
    store = PhotoStore([tmp_path / "text.jpg", tmp_path / "half.jpg", tmp_path / "absent.jpg"], SIDE)
    for index, name in enumerate(("text.jpg is no photo", "half.jpg is truncated", "absent.jpg cannot be read")):
        with pytest.raises(PhotoError, match=name):
            store[index]
    for index in (0, 2):
        with pytest.raises(PhotoError):
            store.shape(index)
    assert store.shape(1) == shrunk_size(60, 100, SIDE)
