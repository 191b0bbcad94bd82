"""Random changes to a photo in training: another crop, another view, other light, a reflection."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageEnhance, ImageFilter


@dataclass(frozen=True)
class Augmentation:
    """How much a photo is changed; the table `[augmentation]` of a recipe has the same fields."""

    smallest_crop: float
    perspective: float
    colour: float
    blur: float
    glare: float

    @property
    def moves(self) -> bool:
        """Whether it changes which part of a photo is seen."""
        return self.smallest_crop < 1 or self.perspective > 0


def cut(photo: NDArray[np.uint8], shape: tuple[int, int]) -> NDArray[np.uint8]:
    """Cut out the middle of a photo, as large as the aspect ratio allows, and resize it to `shape`.

    uint8 [H, W, 3] → [h, w, 3].
    """
    if photo.shape[:2] == shape:
        return np.ascontiguousarray(photo)
    scale = max(shape[0] / photo.shape[0], shape[1] / photo.shape[1])
    height, width = min(photo.shape[0], shape[0] / scale), min(photo.shape[1], shape[1] / scale)
    left, top = (photo.shape[1] - width) / 2, (photo.shape[0] - height) / 2
    box = (left, top, left + width, top + height)
    return np.asarray(Image.fromarray(photo).resize((shape[1], shape[0]), Image.Resampling.BILINEAR, box))


def augment(
    photo: NDArray[np.uint8], shape: tuple[int, int], settings: Augmentation, random: np.random.Generator
) -> NDArray[np.uint8]:
    """Change a photo at random, uint8 [H, W, 3] → [h, w, 3]; except for the tilt, its aspect ratio is kept."""
    whole = Image.fromarray(photo)
    picture = _crop_and_tilt(whole, shape, settings, random) if settings.moves else Image.fromarray(cut(photo, shape))
    if settings.colour:
        for enhance in (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color):
            picture = enhance(picture).enhance(1 + settings.colour * random.uniform(-1, 1))
    if random.random() < settings.blur:
        picture = picture.filter(ImageFilter.GaussianBlur(random.uniform(0.3, 1.6)))
    if random.random() < settings.glare:
        picture = _add_glare(picture, random)
    return np.asarray(picture)


def _crop_and_tilt(
    picture: Image.Image, shape: tuple[int, int], settings: Augmentation, random: np.random.Generator
) -> Image.Image:
    """A random crop of the shape's aspect ratio, with its corners moved at random, resized to the shape."""
    ratio = shape[1] / shape[0]
    height = min(picture.height, picture.width / ratio) * random.uniform(settings.smallest_crop, 1) ** 0.5
    width = height * ratio
    left, top = random.uniform(0, picture.width - width), random.uniform(0, picture.height - height)
    corners = np.array([(left, top), (left, top + height), (left + width, top + height), (left + width, top)])
    corners += random.uniform(-settings.perspective, settings.perspective, (4, 2)) / 2 * (width, height)
    corners = corners.clip((0, 0), (picture.width, picture.height))
    return picture.transform(
        (shape[1], shape[0]), Image.Transform.QUAD, corners.ravel().tolist(), Image.Resampling.BILINEAR
    )


def _add_glare(picture: Image.Image, random: np.random.Generator) -> Image.Image:
    """Add a bright spot, like a lamp's reflection on a book cover, which hides what is below it."""
    radius = random.uniform(0.05, 0.25) * max(picture.size)
    spot = Image.radial_gradient("L").point([255 - min(255, round(level * 1.42)) for level in range(256)])
    spot = spot.resize((max(2, round(4 * radius)),) * 2)
    strength = random.uniform(0.3, 0.9)
    mask = Image.new("L", picture.size, 0)
    centre = (round(random.uniform(0, picture.width)), round(random.uniform(0, picture.height)))
    mask.paste(
        spot.point([round(level * strength) for level in range(256)]),
        (centre[0] - spot.width // 2, centre[1] - spot.height // 2),
    )
    return Image.composite(Image.new("RGB", picture.size, (255, 255, 255)), picture, mask)
