"""Random changes to a photo in training: another crop, another view, other light, a reflection."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageEnhance, ImageFilter

ENHANCERS = (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color)
GLARE_SLOPE = 1.42
"""How fast a bright spot fades along Pillow's gradient: nothing is left of it two radii from its middle."""


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
    box = middle((photo.shape[0], photo.shape[1]), shape)
    return np.asarray(Image.fromarray(photo).resize((shape[1], shape[0]), Image.Resampling.BILINEAR, box))


@dataclass(frozen=True)
class Glare:
    """A bright spot on a view: its centre (x, y) and its radius in pixels, and its strength, 0 to 1."""

    centre: tuple[int, int]
    radius: float
    strength: float


@dataclass(frozen=True)
class View:
    """One view of a photo: what was drawn for it at random.

    `corners`: float64 [4, 2], the points (x, y) of the photo that the view's corners show: upper left, lower left, lower
    right, upper right; None for the middle of the photo. `colour`: factors of brightness, contrast and saturation, applied
    in this order; None changes nothing. `blur`: the radius (standard deviation) in pixels, 0 for none.
    """

    corners: NDArray[np.float64] | None = None
    colour: tuple[float, float, float] | None = None
    blur: float = 0.0
    glare: Glare | None = None


def draw_view(
    photo: tuple[int, int], shape: tuple[int, int], settings: Augmentation, random: np.random.Generator
) -> View:
    """Draw a view of `shape`, (height, width), of a photo of (height, width); except for the tilt, its aspect ratio is
    kept. The same random numbers draw the same view, whatever computes it."""
    corners = _draw_corners(photo, shape, settings, random) if settings.moves else None
    colour = None
    if settings.colour:
        brightness, contrast, saturation = (1 + settings.colour * random.uniform(-1, 1) for _ in range(3))
        colour = (brightness, contrast, saturation)
    blur = random.uniform(0.3, 1.6) if random.random() < settings.blur else 0.0
    glare = _draw_glare(shape, random) if random.random() < settings.glare else None
    return View(corners, colour, blur, glare)


def augment(
    photo: NDArray[np.uint8], shape: tuple[int, int], settings: Augmentation, random: np.random.Generator
) -> NDArray[np.uint8]:
    """Change a photo at random, uint8 [H, W, 3] → [h, w, 3]; except for the tilt, its aspect ratio is kept."""
    height, width = photo.shape[:2]
    return show(photo, shape, draw_view((height, width), shape, settings, random))


def show(photo: NDArray[np.uint8], shape: tuple[int, int], view: View) -> NDArray[np.uint8]:
    """Compute a view of a photo with Pillow: uint8 [H, W, 3] → [h, w, 3]."""
    if view.corners is None:
        picture = Image.fromarray(cut(photo, shape))
    else:
        picture = Image.fromarray(photo).transform(
            (shape[1], shape[0]), Image.Transform.QUAD, view.corners.ravel().tolist(), Image.Resampling.BILINEAR
        )
    if view.colour is not None:
        for enhance, factor in zip(ENHANCERS, view.colour, strict=True):
            picture = enhance(picture).enhance(factor)
    if view.blur:
        picture = picture.filter(ImageFilter.GaussianBlur(view.blur))
    if view.glare is not None:
        picture = _add_glare(picture, view.glare)
    return np.asarray(picture)


def middle(photo: tuple[int, int], shape: tuple[int, int]) -> tuple[float, float, float, float]:
    """The middle of a photo, as large as the aspect ratio of `shape` allows: left, top, right, bottom in pixels."""
    scale = max(shape[0] / photo[0], shape[1] / photo[1])
    height, width = min(photo[0], shape[0] / scale), min(photo[1], shape[1] / scale)
    left, top = (photo[1] - width) / 2, (photo[0] - height) / 2
    return left, top, left + width, top + height


def _draw_corners(
    photo: tuple[int, int], shape: tuple[int, int], settings: Augmentation, random: np.random.Generator
) -> NDArray[np.float64]:
    """A random crop of the shape's aspect ratio, with its corners moved at random."""
    ratio = shape[1] / shape[0]
    height = min(photo[0], photo[1] / ratio) * random.uniform(settings.smallest_crop, 1) ** 0.5
    width = height * ratio
    left, top = random.uniform(0, photo[1] - width), random.uniform(0, photo[0] - height)
    corners = np.array([(left, top), (left, top + height), (left + width, top + height), (left + width, top)])
    corners += random.uniform(-settings.perspective, settings.perspective, (4, 2)) / 2 * (width, height)
    return corners.clip((0, 0), (photo[1], photo[0]))


def _draw_glare(shape: tuple[int, int], random: np.random.Generator) -> Glare:
    radius = random.uniform(0.05, 0.25) * max(shape)
    strength = random.uniform(0.3, 0.9)
    return Glare((round(random.uniform(0, shape[1])), round(random.uniform(0, shape[0]))), radius, strength)


def _add_glare(picture: Image.Image, glare: Glare) -> Image.Image:
    """Add a bright spot, like a lamp's reflection on a book cover, which hides what is below it."""
    spot = Image.radial_gradient("L").point([255 - min(255, round(level * GLARE_SLOPE)) for level in range(256)])
    spot = spot.resize((max(2, round(4 * glare.radius)),) * 2)
    mask = Image.new("L", picture.size, 0)
    mask.paste(
        spot.point([round(level * glare.strength) for level in range(256)]),
        (glare.centre[0] - spot.width // 2, glare.centre[1] - spot.height // 2),
    )
    return Image.composite(Image.new("RGB", picture.size, (255, 255, 255)), picture, mask)
