"""Views of photos to learn from: random crops of three shapes."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from askew_client.errors import PhotoError
from askew_training.data.parallel import map_in_threads
from askew_training.data.store import PhotoStore

ASPECTS = (0.75, 1.0, 4 / 3)
"""Width by height of the three shapes; a GPU prepares its convolutions anew for each shape."""
_SMALLEST_CROP = 0.5
_SPARE = 1.2
"""Photos are kept at this multiple of the views' size, so that a crop is hardly enlarged."""


def read_photos(
    paths: Sequence[Path], size: int, on_photo: Callable[[Path, str | None], None]
) -> list[NDArray[np.uint8]]:
    """Decode photos for views of `size` px: uint8 [H, W, 3] each, in the order of `paths`.

    `on_photo` gets each path, and a sentence if the photo cannot be read, which is then left out.
    """
    store = PhotoStore(paths, math.ceil(_SPARE * size))

    def read(index: int) -> NDArray[np.uint8] | str:
        try:
            return store[index]
        except PhotoError as error:
            return str(error)

    photos = []
    for path, result in zip(paths, map_in_threads(read, range(len(paths))), strict=True):
        on_photo(path, result if isinstance(result, str) else None)
        if not isinstance(result, str):
            photos.append(result)
    return photos


def random_views(photos: Sequence[NDArray[np.uint8]], size: int, batch: int, seed: int) -> Iterator[Tensor]:
    """Batches of random crops without end: uint8 [batch, h, w, 3], the longer side `size`, of one of three shapes each.

    Each photo is seen in the shape nearest to its own; each crop has half of the area of the largest one or more, is not
    stretched, and is mirrored half of the time. No photo is taken again before all others of its shape were. The same
    arguments give the same views.
    """
    random = np.random.default_rng(seed)
    by_shape: list[list[NDArray[np.uint8]]] = [[] for _ in ASPECTS]
    for photo in photos:
        ratio = photo.shape[1] / photo.shape[0]
        by_shape[int(np.argmin([abs(math.log(aspect / ratio)) for aspect in ASPECTS]))].append(photo)
    shares = [len(group) / len(photos) for group in by_shape]
    waiting: list[list[int]] = [[] for _ in ASPECTS]
    while True:
        shape = int(random.choice(len(ASPECTS), p=shares))
        crops = []
        for _ in range(batch):
            if not waiting[shape]:
                waiting[shape] = random.permutation(len(by_shape[shape])).tolist()
            crops.append(_crop(by_shape[shape][waiting[shape].pop()], *_sides(ASPECTS[shape], size), random))
        yield torch.from_numpy(np.stack(crops))


def _sides(aspect: float, size: int) -> tuple[int, int]:
    """Height and width of a shape."""
    return (size, round(size * aspect)) if aspect <= 1 else (round(size / aspect), size)


def _crop(photo: NDArray[np.uint8], height: int, width: int, random: np.random.Generator) -> NDArray[np.uint8]:
    ratio = width / height
    tall = min(photo.shape[0], photo.shape[1] / ratio) * random.uniform(_SMALLEST_CROP, 1) ** 0.5
    wide = tall * ratio
    left, top = random.uniform(0, photo.shape[1] - wide), random.uniform(0, photo.shape[0] - tall)
    box = (left, top, min(left + wide, photo.shape[1]), min(top + tall, photo.shape[0]))
    crop = np.asarray(Image.fromarray(photo).resize((width, height), Image.Resampling.BILINEAR, box))
    return crop[:, ::-1] if random.random() < 0.5 else crop
