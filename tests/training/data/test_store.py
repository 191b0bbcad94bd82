"""Decoded photos and their cache."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from askew_client.encoding.photos import read_photo, shrunk_size
from askew_client.errors import PhotoError
from askew_training.data.pixels import shrink
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
        assert np.array_equal(store[index], shrink(read_photo(path), SIDE))
        assert store[index].dtype == np.uint8
        assert store[index].flags.writeable


@settings(max_examples=50)
@given(
    height=st.integers(1, 90),
    width=st.integers(1, 90),
    orientation=st.integers(0, 9),
    suffix=st.sampled_from([".jpg", ".png", ".webp"]),
)
def test_the_shape_from_the_header_is_the_shape_of_the_photo(
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
    for index, name in enumerate(("text.jpg", "half.jpg", "absent.jpg")):
        with pytest.raises(PhotoError, match=name):
            store[index]
    for index in (0, 2):
        with pytest.raises(PhotoError):
            store.shape(index)
    assert store.shape(1) == shrunk_size(60, 100, SIDE)


def make_undecodable(paths: Sequence[Path]) -> None:
    """Overwrite photos, but keep their size and time: the cache takes them for unchanged, and decoding them fails."""
    for path in paths:
        known = path.stat()
        path.write_bytes(bytes(known.st_size))
        os.utime(path, ns=(known.st_atime_ns, known.st_mtime_ns))


def test_a_photo_is_decoded_once_and_then_read_from_the_cache(paths: list[Path], tmp_path: Path) -> None:
    expected = [PhotoStore(paths, SIDE)[index] for index in range(4)]
    store = PhotoStore(paths, SIDE, tmp_path / "cache" / "inner")
    for index, photo in enumerate(expected):
        assert np.array_equal(store[index], photo)
    make_undecodable(paths)
    for again in (store, PhotoStore(paths, SIDE, tmp_path / "cache" / "inner"), pickle.loads(pickle.dumps(store))):
        for index, photo in enumerate(expected):
            assert np.array_equal(again[index], photo)
            assert again[index].flags.writeable
            assert again.shape(index) == photo.shape[:2]
    assert store.complaint is None


def test_filling_names_the_damaged_and_leaves_nothing_to_decode(paths: list[Path], tmp_path: Path) -> None:
    (tmp_path / "text.jpg").write_text("no photo")
    store = PhotoStore([*paths[:2], tmp_path / "text.jpg", *paths[2:]], SIDE, tmp_path / "cache")
    calls: list[None] = []
    (sentence,) = store.fill(lambda: calls.append(None))
    assert "text.jpg" in sentence
    assert len(calls) == 5
    make_undecodable(paths)
    assert [store[index].shape[:2] for index in (0, 1, 3, 4)] == [(38, 64), (64, 38), (40, 50), (64, 11)]


def test_each_longest_side_has_its_own_photos(paths: list[Path], tmp_path: Path) -> None:
    assert max(PhotoStore(paths, 64, tmp_path / "cache")[0].shape) == 64
    assert max(PhotoStore(paths, 48, tmp_path / "cache")[0].shape) == 48
    assert max(PhotoStore(paths, 64, tmp_path / "cache")[0].shape) == 64


def test_a_changed_photo_is_decoded_again(paths: list[Path], tmp_path: Path) -> None:
    store = PhotoStore(paths, SIDE, tmp_path / "cache")
    before = store[1]
    save(paths[1], 80, 30, seed=5)
    assert store.shape(1) == (64, 24)
    assert np.array_equal(store[1], shrink(read_photo(paths[1]), SIDE))
    assert not np.array_equal(store[1], before)
    paths[1].unlink()
    with pytest.raises(PhotoError, match="cannot be read"):
        store[1]


@pytest.mark.slow
@settings(max_examples=40)
@given(cut=st.integers(0, 900), index=st.booleans())
def test_torn_files_are_detected(tmp_path_factory: pytest.TempPathFactory, cut: int, index: bool) -> None:
    folder = tmp_path_factory.mktemp("torn")
    paths = [save(folder / f"{number}.png", 8, 9, seed=number) for number in range(4)]
    expected = [read_photo(path) for path in paths]
    PhotoStore(paths, SIDE, folder).fill(lambda: None)
    (file,) = folder.glob("*.index" if index else "*.pixels")
    content = file.read_bytes()
    file.write_bytes(content[: max(0, len(content) - cut)])
    sizes = []
    for _ in range(2):
        store = PhotoStore(paths, SIDE, folder)
        assert all(np.array_equal(store[number], photo) for number, photo in enumerate(expected))
        sizes.append([path.stat().st_size for path in sorted(folder.glob("decoded*"))])
    assert sizes[0] == sizes[1], "the torn photo should have been decoded and stored once"


def test_changed_pixels_are_detected(paths: list[Path], tmp_path: Path) -> None:
    expected = PhotoStore(paths, SIDE)[0]
    assert np.array_equal(PhotoStore(paths, SIDE, tmp_path)[0], expected)
    (pixels,) = tmp_path.glob("*.pixels")
    pixels.write_bytes(bytes(len(pixels.read_bytes())))
    assert np.array_equal(PhotoStore(paths, SIDE, tmp_path)[0], expected)


def test_nonsense_in_the_index_is_ignored(paths: list[Path], tmp_path: Path) -> None:
    PhotoStore(paths, SIDE, tmp_path).fill(lambda: None)
    (index,) = tmp_path.glob("*.index")
    index.write_bytes(b'\xff\xfe\n[1]\n{"a": 1}\n[null,1,2,3,4,5,6]\n["a",1,2,"x",-4,5,6]\n7\n' + index.read_bytes())
    store = PhotoStore(paths, SIDE, tmp_path)
    assert np.array_equal(store[0], PhotoStore(paths, SIDE)[0])


@pytest.mark.parametrize("written", [0, 7, 6000])
def test_a_full_disk_is_reported_and_photos_can_still_be_read(
    paths: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written: int
) -> None:
    """The disk is full at once, in the middle of the pixels (40 × 50 × 3 bytes), or in the middle of the index line."""
    store = PhotoStore(paths, SIDE, tmp_path)
    store[0]
    left = [written] if written < 6000 else [6000, 20]
    pwrite = os.pwrite

    def nearly_full(descriptor: int, content: bytes, offset: int) -> int:
        room = left.pop(0) if left else 0
        if not room:
            raise OSError(28, "No space left on device")
        return pwrite(descriptor, content[:room], offset)

    monkeypatch.setattr("os.pwrite", nearly_full)
    expected = read_photo(paths[2])
    assert np.array_equal(store[2], expected)
    assert np.array_equal(store[2], expected)
    assert store.complaint is not None
    assert "No space left on device" in store.complaint
    monkeypatch.undo()
    again = PhotoStore(paths, SIDE, tmp_path)
    assert np.array_equal(again[2], expected)
    assert again.complaint is None
    make_undecodable(paths)
    for index in (0, 2):
        assert PhotoStore(paths, SIDE, tmp_path)[index].shape[1] in (64, 50)


def test_some_of_the_disk_is_left_free(paths: list[Path], tmp_path: Path) -> None:
    store = PhotoStore(paths, SIDE, tmp_path, reserve=1 << 60)
    assert store.fill(lambda: None) == []
    assert store.complaint is not None
    assert "of the disk are free" in store.complaint


def test_a_folder_that_cannot_be_made_is_reported_and_photos_can_still_be_read(
    paths: list[Path], tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("no folder")
    store = PhotoStore(paths, SIDE, tmp_path / "file")
    assert store.complaint is not None
    assert "No more decoded photos are stored" in store.complaint
    assert np.array_equal(store[0], PhotoStore(paths, SIDE)[0])
    assert store.shape(0) == (38, 64)


def read_all(store: PhotoStore) -> list[NDArray[np.uint8]]:
    return [store[index] for index in range(len(store))]


def test_threads_and_processes_can_fill_the_same_cache(tmp_path: Path) -> None:
    paths = [save(tmp_path / f"{number}.png", 20, 30 + number, seed=number) for number in range(40)]
    expected = read_all(PhotoStore(paths, SIDE))
    stores = [PhotoStore(paths, SIDE, tmp_path / "cache") for _ in range(2)]
    context = multiprocessing.get_context("fork")
    children = [context.Process(target=read_all, args=(stores[0],)) for _ in range(3)]
    for child in children:
        child.start()
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(read_all, stores * 2))
    for child in children:
        child.join()
        assert child.exitcode == 0
    make_undecodable(paths)
    for photos in [*results, read_all(stores[1])]:
        for photo, known in zip(photos, expected, strict=True):
            assert np.array_equal(photo, known)


@pytest.mark.slow
def test_a_killed_process_leaves_only_complete_photos(tmp_path: Path) -> None:
    paths = [save(tmp_path / f"{number}.png", 50, 60, seed=number) for number in range(200)]
    program = (
        "import sys; from pathlib import Path; from askew_training.data.store import PhotoStore\n"
        "store = PhotoStore([Path(path) for path in sys.argv[2:]], 64, Path(sys.argv[1]))\n"
        "store.fill(lambda: print(flush=True))"
    )
    cache = tmp_path / "cache"
    with subprocess.Popen(
        [sys.executable, "-c", program, str(cache), *map(str, paths)], stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        for _ in range(5):
            process.stdout.readline()
        process.kill()
    known = (cache / "decoded-1-64.index").read_bytes().count(b"]\n")
    assert known >= 5
    store = PhotoStore(paths, SIDE, cache)
    assert all(np.array_equal(store[number], read_photo(path)) for number, path in enumerate(paths))
    assert (cache / "decoded-1-64.index").read_bytes().count(b"]\n") == 200
