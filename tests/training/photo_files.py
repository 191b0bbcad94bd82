"""Photo files with random pixels, and lists of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from askew_training.data.photo_sets import Photo


def save_photo(path: Path, seed: int = 0, size: tuple[int, int] = (48, 40)) -> Path:
    """Save a photo of `size`, (width, height)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def photo(name: str, instance_id: str = "", folder: Path = Path()) -> Photo:
    return Photo(folder / name, instance_id, "train", "", "walls", name)


def sound_photos(folder: Path) -> list[Photo]:
    """Five photos: two of a tower, two of a bridge, one without a label."""
    labels = {"1.png": "tower", "2.png": "tower", "3.jpg": "bridge", "4.webp": "bridge", "5.png": ""}
    for seed, name in enumerate(labels):
        save_photo(folder / name, seed)
    return [photo(name, label, folder) for name, label in labels.items()]


def walls_with_a_damaged_photo(folder: Path) -> Path:
    """The folder `walls` in a folder: seven photos, of which 3.png is damaged."""
    for number in range(7):
        save_photo(folder / "walls" / f"{number}.png", number, (80, 64))
    (folder / "walls" / "3.png").write_bytes(b"no photo")
    return folder / "walls"
