"""The cache of any encoder's vectors."""

from __future__ import annotations

import hashlib
import resource
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from askew_client import Encoder
from askew_training.data.crops import Crop
from askew_training.errors import CacheError
from askew_training.export.shrinking import shrink
from askew_training.vectors.descriptor_cache import DescriptorCache
from tests.support.hard_encoders import make_hard_encoder, marked_photo
from tests.training.photo_files import save_photo


@pytest.fixture
def photos(tmp_path: Path) -> list[Path]:
    return [save_photo(tmp_path / f"{seed}.png", seed) for seed in range(4)]


def test_vectors_are_computed_once(
    teacher: Path, photos: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "text.png").write_text("no photo")
    paths = [*photos[:2], tmp_path / "text.png", tmp_path / "missing.png"]
    steps: list[None] = []
    first = DescriptorCache(tmp_path / "cache", teacher).describe(paths, lambda: steps.append(None))
    assert (len(steps), len(first.unreadable), list(first.vectors)) == (4, 2, paths[:2])
    np.testing.assert_array_equal(first.vectors[paths[0]], Encoder(teacher).encode(paths[0]))
    monkeypatch.setattr(Encoder, "encode_pixels", lambda *_: pytest.fail("a photo was described again"))
    again = DescriptorCache(tmp_path / "cache", teacher).describe(paths[:2], lambda: None)
    np.testing.assert_array_equal(again.vectors[paths[0]], first.vectors[paths[0]])


def test_vectors_computed_before_an_interruption_are_kept(
    teacher: Path, photos: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[None] = []

    def interrupt() -> None:
        steps.append(None)
        if len(steps) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        DescriptorCache(tmp_path / "cache", teacher).describe(photos, interrupt)
    describes_again = count_descriptions(monkeypatch)
    described = DescriptorCache(tmp_path / "cache", teacher).describe(photos, lambda: None)
    assert len(described.vectors) == 4
    assert len(describes_again) == 2


def test_a_photo_without_a_vector_of_length_1_is_named_and_what_earlier_versions_kept_of_it_is_not_used(
    photos: list[Path], tmp_path: Path
) -> None:
    encoder = make_hard_encoder(tmp_path / "hard.onnx", "nan")
    (tmp_path / "marked.png").write_bytes(marked_photo())
    paths = [photos[0], tmp_path / "marked.png"]
    for vector in (None, np.full(64, np.nan, np.float32), np.zeros(64, np.float32)):
        cache = DescriptorCache(tmp_path / "cache", encoder)
        if vector is not None:
            cache._file.append({hashlib.sha256(paths[1].read_bytes()).hexdigest(): vector})
        described = cache.describe(paths, lambda: None)
        assert list(described.vectors) == paths[:1]
        assert "by NaN or infinite values" in described.unreadable[paths[1]]


def test_a_folder_that_takes_no_more_is_named(teacher: Path, photos: list[Path], tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(CacheError, match=r"Expected a folder for vectors, but .*/file cannot be made: File exists"):
        DescriptorCache(tmp_path / "file", teacher)
    cache = DescriptorCache(tmp_path / "cache", teacher)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, limits[1]))
    try:
        with pytest.raises(CacheError, match=r"Vectors cannot be written to .*/cache: File too large\. Make room"):
            cache.describe(photos, lambda: None)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert len(DescriptorCache(tmp_path / "cache", teacher).describe(photos, lambda: None).vectors) == 4


def test_a_damaged_cache_is_computed_again(teacher: Path, photos: list[Path], tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    expected = DescriptorCache(folder, teacher).describe(photos, lambda: None).vectors
    rows, keys = next(folder.glob("*.rows")), next(folder.glob("*.keys"))
    content, lines = rows.read_bytes(), keys.read_bytes()
    for damaged_rows, damaged_keys in (
        (content[:100], lines),
        (content[:70] + b"\0\1\2" + content[73:], lines),
        (content, lines[: len(lines) // 2]),
        (content, b"\xff" + lines),
        (content + b"more", lines + b"a line that was c"),
        (b"", b""),
    ):
        rows.write_bytes(damaged_rows)
        keys.write_bytes(damaged_keys)
        for _ in range(2):
            described = DescriptorCache(folder, teacher).describe(photos, lambda: None)
            for path in photos:
                np.testing.assert_array_equal(described.vectors[path], expected[path])


def test_two_processes_keep_what_each_of_them_described(
    teacher: Path, photos: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = (DescriptorCache(tmp_path / "cache", teacher) for _ in range(2))
    one.describe(photos[:2], lambda: None)
    other.describe(photos[2:], lambda: None)
    describes_again = count_descriptions(monkeypatch)
    assert len(DescriptorCache(tmp_path / "cache", teacher).describe(photos, lambda: None).vectors) == 4
    assert not describes_again


def test_a_box_is_described_at_the_scale_of_its_photo(
    teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The teacher's photo size is 128; the photo has 400 px, so its scale is 0.32."""
    path = save_photo(tmp_path / "wide.png", 1, (400, 300))
    crop = Crop(path, (100.4, 50.5, 299.6, 200.5))
    seen: list[tuple[int, ...]] = []
    encode_pixels = Encoder.encode_pixels

    def look(encoder: Encoder, pixels: np.ndarray) -> np.ndarray:
        seen.append(pixels.shape)
        return encode_pixels(encoder, pixels)

    monkeypatch.setattr(Encoder, "encode_pixels", look)
    cache = DescriptorCache(tmp_path / "cache", teacher)
    described = cache.describe_crops([crop], shrink, lambda: None).vectors[crop]
    # 200 × 150 px at a scale of 0.32; the graph leaves what is under 128 px as it is.
    assert seen == [(48, 64, 3)]
    with Image.open(path) as image:
        by_pillow = np.asarray(image.crop(crop.box))
    assert by_pillow.shape == (150, 200, 3)
    np.testing.assert_array_equal(described, Encoder(teacher).encode_pixels(shrink(by_pillow, 64)))
    again = DescriptorCache(tmp_path / "cache", teacher)
    seen.clear()
    np.testing.assert_array_equal(again.describe_crops([crop], shrink, lambda: None).vectors[crop], described)
    assert not seen
    whole = again.describe([path], lambda: None).vectors[path]
    assert not np.array_equal(whole, described)


def test_a_box_that_is_not_of_its_photo_is_named(teacher: Path, tmp_path: Path) -> None:
    path = save_photo(tmp_path / "small.png", 1, (100, 80))
    boxes = [(0, 0, 101, 80), (0, 0, 110, 80), (-5, 0, 50, 80), (20, 30, 20.3, 70), (0, 0, 100, 20)]
    crops = [Crop(path, box) for box in boxes]
    described = DescriptorCache(tmp_path / "cache", teacher).describe_crops(crops, shrink, lambda: None)
    assert list(described.vectors) == crops[:1]
    sentences = [described.unreadable[crop] for crop in crops[1:]]
    assert "reaches from (0, 0) to (110, 80)" in sentences[0] and "shrunk or rotated" in sentences[0]
    assert "reaches from (-5, 0)" in sentences[1]
    assert "empty box" in sentences[2]
    assert "becomes 100 × 20 px" in sentences[3]


def count_descriptions(monkeypatch: pytest.MonkeyPatch) -> list[None]:
    """A list that grows with each photo that is described from now on."""
    calls: list[None] = []
    encode_pixels = Encoder.encode_pixels

    def count(encoder: Encoder, pixels: np.ndarray) -> np.ndarray:
        calls.append(None)
        return encode_pixels(encoder, pixels)

    monkeypatch.setattr(Encoder, "encode_pixels", count)
    return calls
