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

LUMINANCE = (19595 / 65536, 38470 / 65536, 7471 / 65536)
"""The shares of red, green and blue in a grey level (ITU-R 601-2), as Pillow converts them."""
BLUR_REACH = 5
"""How many pixels around a pixel a blur reads: three standard deviations of the strongest."""


@dataclass(frozen=True)
class PackedPhotos:
    """Photos of different shapes, one after another: `pixels`, uint8 [P, 3] RGB, row by row.

    `offsets`, `heights`, `widths`: int64 [n], on the CPU: where each photo begins in `pixels`, and its sides.
    """

    pixels: Tensor
    offsets: NDArray[np.int64]
    heights: NDArray[np.int64]
    widths: NDArray[np.int64]

    @classmethod
    def of(cls, photos: Sequence[NDArray[np.uint8]]) -> Self:
        """Pack photos, uint8 [H, W, 3] each."""
        heights = np.array([photo.shape[0] for photo in photos], dtype=np.int64)
        widths = np.array([photo.shape[1] for photo in photos], dtype=np.int64)
        ends = np.cumsum(heights * widths)
        pixels = np.concatenate([photo.reshape(-1, 3) for photo in photos]) if photos else np.zeros((0, 3), np.uint8)
        return cls(torch.from_numpy(pixels), ends - heights * widths, heights, widths)

    def shape(self, index: int) -> tuple[int, int]:
        """(height, width) of one photo."""
        return int(self.heights[index]), int(self.widths[index])

    def to(self, device: torch.device) -> Self:
        """The same photos with their pixels on a device; from pinned memory without waiting for the copy."""
        return replace(self, pixels=self.pixels.to(device, non_blocking=True))

    def pin_memory(self) -> Self:
        """The same photos in pinned memory."""
        return replace(self, pixels=self.pixels.pin_memory())


def compute_views(
    photos: PackedPhotos, indices: Sequence[int], views: Sequence[View], shape: tuple[int, int]
) -> Tensor:
    """Compute one view of each of some photos, all of one `shape` (h, w): uint8 [n, h, w, 3], where the pixels are.

    `indices`: the photos, by their place in `photos`. Differs from Pillow by rounding, by its approximation of a blur,
    and for views of the middle by its filter against aliasing.
    """
    device = photos.pixels.device
    chosen = np.asarray(indices, dtype=np.int64)
    places = np.stack([photos.offsets[chosen], photos.heights[chosen], photos.widths[chosen]], axis=1)
    corners = np.stack([_corners(view, photos.shape(index), shape) for view, index in zip(views, indices, strict=True)])
    pixels = _sample(photos.pixels, _put(places, device), _put(corners.astype(np.float32), device), shape)
    if any(view.colour for view in views):
        factors = np.array([view.colour or (1.0, 1.0, 1.0) for view in views], dtype=np.float32)
        pixels = _change_colour(pixels, _put(factors, device)[:, :, None, None, None])
    blurred = [place for place, view in enumerate(views) if view.blur]
    if blurred:
        rows, radii = np.array(blurred), np.array([views[place].blur for place in blurred], dtype=np.float32)
        where = _put(rows, device)
        pixels = pixels.index_copy(0, where, _blur(pixels.index_select(0, where), _put(radii, device)))
    if any(view.glare for view in views):
        pixels = _add_glare(pixels, views)
    return pixels.round_().clamp_(0, 255).to(torch.uint8)


def _corners(view: View, photo: tuple[int, int], shape: tuple[int, int]) -> NDArray[np.float64]:
    if view.corners is not None:
        return view.corners
    left, top, right, bottom = middle(photo, shape)
    return np.array([(left, top), (left, bottom), (right, bottom), (right, top)])


def _put(values: NDArray[np.generic], device: torch.device) -> Tensor:
    """Move a few numbers to a device; to a GPU through pinned memory, so that nothing waits for what runs there."""
    tensor = torch.from_numpy(values)
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor


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
    red, green, blue = pixels.split(1, -1)
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


def _add_glare(pixels: Tensor, views: Sequence[View]) -> Tensor:
    """Add a bright spot to float32 [n, h, w, 3] where a view has one."""
    spots = np.zeros((len(views), 4), dtype=np.float32)
    spots[:, 2] = 1
    for place, view in enumerate(views):
        if view.glare is not None:
            spots[place] = (*view.glare.centre, view.glare.radius, view.glare.strength)
    x, y, radius, strength = _put(spots, pixels.device)[:, :, None, None].unbind(1)
    height, width = pixels.shape[1:3]
    down = torch.arange(height, device=pixels.device)[None, :, None] + 0.5
    across = torch.arange(width, device=pixels.device)[None, None, :] + 0.5
    # Pillow's gradient rises by √2 for each of the 128 pixels from its middle to an edge, which are two radii here.
    level = torch.sqrt(2 * ((across - x) ** 2 + (down - y) ** 2)) * (64 / radius)
    share = (strength * (1 - level * (GLARE_SLOPE / 255)).clamp_(0, 1))[..., None]
    return torch.lerp(pixels, torch.full_like(share, 255.0), share)
