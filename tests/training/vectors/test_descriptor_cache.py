"""The cache of any encoder's vectors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from askew_client import Encoder
from askew_training.vectors.descriptor_cache import DescriptorCache
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


def test_vectors_computed_before_an_interruption_are_kept(teacher: Path, photos: list[Path], tmp_path: Path) -> None:
    steps: list[None] = []

    def interrupt() -> None:
        steps.append(None)
        if len(steps) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        DescriptorCache(tmp_path / "cache", teacher).describe(photos, interrupt)
    kept = np.load(next((tmp_path / "cache").iterdir()))["photos"]
    assert len(kept) == 2


def test_a_damaged_cache_is_computed_again(teacher: Path, photos: list[Path], tmp_path: Path) -> None:
    cache = DescriptorCache(tmp_path / "cache", teacher)
    cache.describe(photos[:1], lambda: None)
    cache.path.write_bytes(cache.path.read_bytes()[:100])
    described = DescriptorCache(tmp_path / "cache", teacher).describe(photos[:1], lambda: None)
    assert len(described.vectors) == 1
