"""Views of photos to learn from: random crops of a few shapes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from askew_training.data.parallel import map_in_threads
from askew_training.data.store import PhotoStore

ASPECTS = (0.75, 1.0, 4 / 3)
"""Width by height of the three shapes; a GPU prepares each shape of its convolutions anew."""
_SMALLEST_CROP = 0.5
_SPARE = 1.2
"""Photos are kept at this multiple of the view's size: a crop is then hardly enlarged."""


def read_photos(
    paths: Sequence, size: int, on_photo: Callable[[int, str | None], None]
) -> list[NDArray[np.uint8]]:
    raise NotImplementedError


def random_views(photos: Sequence[NDArray[np.uint8]], size: int, batch: int, seed: int) -> Iterator[Tensor]:
    """Batches of random crops without end: uint8 [batch, h, w, 3], the longer side `size`, of one of three shapes each.

    Each crop has half of its photo's area or more, is not stretched, and is mirrored half of the time. No photo is taken
    again before all others of its shape were. The same arguments give the same views.
    """
    random = np.random.default_rng(seed)
    by_shape = [[], [], []]
    for photo in photos:
        ratio = photo.shape[1] / photo.shape[0]
        by_shape[int(np.argmin([abs(np.log(aspect / ratio)) for aspect in ASPECTS]))].append(photo)
    shares = np.array([len(group) for group in by_shape]) / len(photos)
    waiting: list[list[int]] = [[], [], []]
    while True:
        shape = int(random.choice(3, p=shares))
        aspect = ASPECTS[shape]
        height, width = (size, round(size * aspect)) if aspect <= 1 else (round(size / aspect), size)
        crops = []
        for _ in range(batch):
            if not waiting[shape]:
                waiting[shape] = random.permutation(len(by_shape[shape])).tolist()
            crops.append(_crop(by_shape[shape][waiting[shape].pop()], height, width, random))
        yield torch.from_numpy(np.stack(crops))


def _crop(photo: NDArray[np.uint8], height: int, width: int, random: np.random.Generator) -> NDArray[np.uint8]:
    ratio = width / height
    tall = min(photo.shape[0], photo.shape[1] / ratio) * random.uniform(_SMALLEST_CROP, 1) ** 0.5
    wide = tall * ratio
    left, top = random.uniform(0, photo.shape[1] - wide), random.uniform(0, photo.shape[0] - tall)
    box = (left, top, left + wide, top + tall)
    crop = np.asarray(Image.fromarray(photo).resize((width, height), Image.Resampling.BILINEAR, box))
    return crop[:, ::-1] if random.random() < 0.5 else crop
