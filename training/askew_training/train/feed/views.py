"""Views of photos computed in batches by torch, on any device: the same views that Pillow computes one by one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from askew_training.data.augmentation import GLARE_SLOPE, View, middle
from askew_training.networks.transfer import put

LUMINANCE = (19595 / 65536, 38470 / 65536, 7471 / 65536)
"""The shares of red, green and blue in a grey level (ITU-R 601-2), as Pillow converts them."""
BLUR_REACH = 5
"""How many pixels around a pixel a blur reads: three standard deviations of the strongest."""


@dataclass(frozen=True)
class PackedPhotos:
    """Photos of different shapes, one after another: `pixels`, uint8 [P, 3] RGB, row by row.

    `places`: int64 [n, 3], on the CPU: for each photo where it begins in `pixels`, its height and its width.
    """

    pixels: Tensor
    places: NDArray[np.int64]

    @classmethod
    def of(cls, photos: Sequence[NDArray[np.uint8]]) -> Self:
        """Pack photos, uint8 [H, W, 3] each."""
        sides = np.array([photo.shape[:2] for photo in photos], dtype=np.int64).reshape(-1, 2)
        pixels = np.concatenate([photo.reshape(-1, 3) for photo in photos]) if photos else np.zeros((0, 3), np.uint8)
        return cls(torch.from_numpy(pixels), places_of(sides))


def places_of(sides: NDArray[np.int64]) -> NDArray[np.int64]:
    """The places of packed photos, int64 [n, 3] as in `PackedPhotos`, from their heights and widths, int64 [n, 2]."""
    counts = sides.prod(1)
    return np.concatenate([(counts.cumsum() - counts)[:, None], sides], axis=1)


@dataclass(frozen=True)
class ViewBatch:
    """Views of one shape, (height, width), as numbers: `places`, int64 [n, 3], of their photos among packed ones, and
    `numbers`, float32 [n, 16]: 8 of the corners, 3 of the colour, 1 of the blur, 4 of the glare."""

    shape: tuple[int, int]
    places: Tensor
    numbers: Tensor

    @classmethod
    def of(cls, views: Sequence[View], places: NDArray[np.int64], shape: tuple[int, int]) -> Self:
        """Views of photos at `places`, int64 [n, 3]."""
        numbers = np.array(
            [_numbers(view, (int(place[1]), int(place[2])), shape) for view, place in zip(views, places, strict=True)]
        )
        return cls(shape, torch.from_numpy(places), torch.from_numpy(numbers.reshape(-1, 16).astype(np.float32)))

    def pin_memory(self) -> Self:
        """The same in pinned memory."""
        return replace(self, places=self.places.pin_memory(), numbers=self.numbers.pin_memory())


def compute_views(pixels: Tensor, views: ViewBatch) -> Tensor:
    """Compute views of packed photos: uint8 [P, 3] → [n, h, w, 3], on the device of `pixels`.

    Differs from Pillow by rounding, by its approximation of a blur, and for views of the middle by its filter against
    aliasing.
    """
    device = pixels.device
    # What is left out is decided on the CPU: asking the GPU would wait for it.
    colour, blur, glare = views.numbers[:, 8:11], views.numbers[:, 11], views.numbers[:, 12:]
    changes_colour, has_glare = bool((colour != 1).any()), bool((glare[:, 3] > 0).any())
    blurred = torch.nonzero(blur).reshape(-1)
    numbers = put(views.numbers, device)
    shown = _sample(pixels, put(views.places, device), numbers[:, :8].reshape(-1, 4, 2), views.shape)
    if changes_colour:
        shown = _change_colour(shown, numbers[:, 8:11, None, None, None])
    if len(blurred):
        rows = put(blurred, device)
        shown = shown.index_copy(0, rows, _blur(shown.index_select(0, rows), numbers[:, 11].index_select(0, rows)))
    if has_glare:
        shown = _add_glare(shown, numbers[:, 12:, None, None])
    return shown.round_().clamp_(0, 255).to(torch.uint8)


def _numbers(view: View, photo: tuple[int, int], shape: tuple[int, int]) -> list[float]:
    corners = view.corners
    if corners is None:
        left, top, right, bottom = middle(photo, shape)
        corners = np.array([(left, top), (left, bottom), (right, bottom), (right, top)])
    glare = view.glare
    spot = (0.0, 0.0, 1.0, 0.0) if glare is None else (*glare.centre, glare.radius, glare.strength)
    return [*corners.ravel().tolist(), *(view.colour or (1.0, 1.0, 1.0)), view.blur, *spot]


def _sample(pixels: Tensor, places: Tensor, corners: Tensor, shape: tuple[int, int]) -> Tensor:
    """Read a quadrilateral of each photo by bilinear interpolation: float32 [n, h, w, 3], 0 to 255.

    `pixels`: uint8 [P, 3]. `places`: int64 [n, 3], offset, height and width. `corners`: float32 [n, 4, 2], as in `View`.
    """
    height, width = shape
    down = ((torch.arange(height, device=pixels.device) + 0.5) / height)[None, :, None]
    across = ((torch.arange(width, device=pixels.device) + 0.5) / width)[None, None, :]
    offsets, heights, widths = places[:, :, None, None].unbind(1)

    def along(axis: int, side: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        upper_left, lower_left, lower_right, upper_right = corners[:, :, axis, None, None].unbind(1)
        twist = lower_right - lower_left - upper_right + upper_left
        position = upper_left + (upper_right - upper_left) * across + (lower_left - upper_left) * down
        position = (position + twist * (across * down) - 0.5).clamp_(min=0).minimum((side - 1).float())
        first = position.floor()
        whole = first.long()
        return whole, torch.minimum(whole + 1, side - 1), (position - first)[..., None]

    left, right, to_right = along(0, widths)
    upper, lower, to_lower = along(1, heights)
    upper, lower = offsets + upper * widths, offsets + lower * widths

    def read(rows: Tensor) -> Tensor:
        return pixels.index_select(0, rows.reshape(-1)).reshape(*rows.shape, 3).float()

    above = torch.lerp(read(upper + left), read(upper + right), to_right)
    below = torch.lerp(read(lower + left), read(lower + right), to_right)
    return torch.lerp(above, below, to_lower)


def _change_colour(pixels: Tensor, factors: Tensor) -> Tensor:
    """Brightness, contrast and saturation, as Pillow's ImageEnhance. `factors`: float32 [n, 3, 1, 1, 1]."""
    brightness, contrast, saturation = factors.unbind(1)
    pixels = (pixels * brightness).clamp_(0, 255)
    mean = (_grey(pixels).mean((1, 2, 3), keepdim=True) + 0.5).floor_()
    pixels = torch.lerp(mean, pixels, contrast).clamp_(0, 255)
    return torch.lerp(_grey(pixels), pixels, saturation).clamp_(0, 255)


def _grey(pixels: Tensor) -> Tensor:
    """The grey levels of float32 [n, h, w, 3]: float32 [n, h, w, 1]."""
    red, green, blue = pixels[..., 0:1], pixels[..., 1:2], pixels[..., 2:3]
    return red * LUMINANCE[0] + green * LUMINANCE[1] + blue * LUMINANCE[2]


def _blur(pixels: Tensor, radii: Tensor) -> Tensor:
    """Blur float32 [n, h, w, 3] by a normal distribution of each photo's own standard deviation, float32 [n]."""
    distances = torch.arange(-BLUR_REACH, BLUR_REACH + 1, device=pixels.device)
    weights = torch.exp(-(distances[None] ** 2) / (2 * radii[:, None] ** 2))
    weights = (weights / weights.sum(1, keepdim=True))[:, :, None, None, None]
    for axis in (1, 2):
        side = pixels.shape[axis]
        at = torch.arange(side, device=pixels.device)
        blurred = torch.zeros_like(pixels)
        for number in range(2 * BLUR_REACH + 1):
            read = (at + (number - BLUR_REACH)).clamp_(0, side - 1)
            blurred += pixels.index_select(axis, read) * weights[:, number]
        pixels = blurred
    return pixels


def _add_glare(pixels: Tensor, spots: Tensor) -> Tensor:
    """Add bright spots to float32 [n, h, w, 3]. `spots`: float32 [n, 4, 1, 1], x, y, radius and strength."""
    x, y, radius, strength = spots.unbind(1)
    height, width = pixels.shape[1:3]
    down = torch.arange(height, device=pixels.device)[None, :, None] + 0.5
    across = torch.arange(width, device=pixels.device)[None, None, :] + 0.5
    # Pillow's gradient rises by √2 for each of the 128 pixels from its middle to an edge, which are two radii here.
    level = torch.sqrt(2 * ((across - x) ** 2 + (down - y) ** 2)) * (64 / radius)
    share = (strength * (1 - level * (GLARE_SLOPE / 255)).clamp_(0, 1))[..., None]
    return torch.lerp(pixels, torch.full_like(share, 255.0), share)
