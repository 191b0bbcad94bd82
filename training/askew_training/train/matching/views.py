"""The views of photos that a batch is made of: which are drawn, which are mixed, and at which size they are seen.

A view is a function of the recipe's seed, the epoch, the photo and its number in the batch, or of the seed, the photo and one
of K numbers. So two networks can see the same view at different times.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from askew_training.data.batches import Draw
from askew_training.train.reader import LoadedBatch

MIXING, SIZE = 2, 3
"""Parts of the seeds of what is mixed and of the size of a batch, so that these draws differ from all others."""

PARTNER_VIEWS = 1 << 20
"""Views of partners have numbers from here on, so that they are not views of the batch itself."""

SHORTEST = 32
"""No view is shrunk below this shorter side, px."""


@dataclass(frozen=True)
class Partner:
    """What is mixed into a view: `draw`, the number of its draw, and `share`, its weight, 0 to 1."""

    draw: int
    share: float


@dataclass(frozen=True)
class Reading:
    """The draws to read for a batch: its own, and behind them the partners of some; `partners` by the number of the draw."""

    draws: list[Draw]
    own: int
    partners: dict[int, Partner]


@dataclass(frozen=True)
class ViewPlan:
    """Chooses the views of batches.

    `shapes`: (height, width) of all photos as they are read. `mix`: the share of views that another one is mixed into, of
    those photos that `may_mix`, bool [N]. `fixed`: K, if each photo has K views that return; None: new ones in each epoch.
    `read_size`: the longest side of photos as they are read, px. `sizes`: those that batches are shown to the student at.
    """

    seed: int
    shapes: Sequence[tuple[int, int]]
    mix: float
    may_mix: NDArray[np.bool_]
    fixed: int | None
    read_size: int
    sizes: tuple[int, ...]

    def read_epoch(self, epoch: int) -> int:
        """The epoch whose views are read."""
        return epoch if self.fixed is None else 0

    def reading(self, batch: Sequence[Draw], epoch: int) -> Reading:
        """The views of a batch, and their partners."""
        own = [draw if self.fixed is None else Draw(draw.photo, (epoch + draw.view) % self.fixed) for draw in batch]
        draws, partners = list(own), {}
        if self.mix:
            for number, draw in enumerate(own):
                found = self._partner(draw, self.read_epoch(epoch))
                if found is not None:
                    partners[number] = Partner(len(draws), found[1])
                    draws.append(found[0])
        return Reading(draws, len(own), partners)

    def size(self, epoch: int, number: int) -> int:
        """The longest side at which the student sees batch `number` of an epoch, px."""
        if len(self.sizes) == 1:
            return self.sizes[0]
        return int(np.random.default_rng((self.seed, epoch, number, SIZE)).choice(self.sizes))

    def _partner(self, draw: Draw, epoch: int) -> tuple[Draw, float] | None:
        """A view of another photo of the same shape, and its share; None if the view stays as it is."""
        random = np.random.default_rng((self.seed, epoch, draw.photo, draw.view, MIXING))
        if not self.may_mix[draw.photo] or random.random() >= self.mix:
            return None
        others = self._by_shape[self.shapes[draw.photo]]
        if len(others) < 2:
            return None
        photo = int(others[random.integers(len(others) - 1)])
        if photo == draw.photo:
            photo = int(others[-1])
        return Draw(photo, int(random.integers(PARTNER_VIEWS, 1 << 30))), float(random.random())

    @cached_property
    def _by_shape(self) -> dict[tuple[int, int], NDArray[np.int64]]:
        lists: dict[tuple[int, int], list[int]] = {}
        for photo, shape in enumerate(self.shapes):
            lists.setdefault(shape, []).append(photo)
        return {shape: np.array(photos) for shape, photos in lists.items()}


def mixed(loaded: LoadedBatch, reading: Reading) -> LoadedBatch:
    """Mix the partners of a batch into its views: pixels = (1 − share) · view + share · partner.

    A view whose partner could not be read is left out, and so are the partners themselves.
    """
    if not reading.partners:
        return loaded
    places = {draw: place for place, draw in enumerate(loaded.draws.tolist())}
    pixels = {
        place: (group, row) for group, (_, own) in enumerate(loaded.groups) for row, place in enumerate(own.tolist())
    }
    groups = [group.clone() for group, _ in loaded.groups]
    is_kept = loaded.draws < reading.own
    for draw, partner in reading.partners.items():
        place = places.get(draw)
        if place is None:
            continue
        if partner.draw not in places:
            is_kept[place] = False
            continue
        (group, row), (other, other_row) = pixels[place], pixels[places[partner.draw]]
        blend = torch.lerp(groups[group][row].float(), loaded.groups[other][0][other_row].float(), partner.share)
        groups[group][row] = blend.round().to(torch.uint8)
    together = [(group, own) for group, (_, own) in zip(groups, loaded.groups, strict=True)]
    return kept(LoadedBatch(together, loaded.photos, loaded.draws, loaded.unreadable), is_kept)


def kept(loaded: LoadedBatch, is_kept: Tensor) -> LoadedBatch:
    """A batch without some of its photos. `is_kept`: bool [B]."""
    if bool(is_kept.all()):
        return loaded
    new_places = torch.cumsum(is_kept, 0) - 1
    groups = []
    for pixels, places in loaded.groups:
        chosen = is_kept[places]
        if bool(chosen.any()):
            groups.append((pixels[chosen.to(pixels.device)], new_places[places[chosen]]))
    return LoadedBatch(groups, loaded.photos[is_kept], loaded.draws[is_kept], loaded.unreadable)


def resized(loaded: LoadedBatch, factor: float, device: torch.device) -> LoadedBatch:
    """A batch with its views shrunk by a factor of at most 1, on a device; a view is never shrunk below 32 px."""
    groups = [(_resize(pixels.to(device), factor), places) for pixels, places in loaded.groups]
    return LoadedBatch(groups, loaded.photos, loaded.draws, loaded.unreadable)


def shrunk_shape(height: int, width: int, factor: float) -> tuple[int, int]:
    """The height and width of a view that is shrunk by a factor of at most 1."""
    factor = max(factor, SHORTEST / min(height, width))
    if factor >= 1:
        return height, width
    return max(SHORTEST, round(height * factor)), max(SHORTEST, round(width * factor))


def _resize(pixels: Tensor, factor: float) -> Tensor:
    """uint8 [n, H, W, 3] → [n, h, w, 3], bilinear with antialiasing."""
    height, width = pixels.shape[1:3]
    size = shrunk_shape(height, width, factor)
    if size == (height, width):
        return pixels
    channels_first = pixels.permute(0, 3, 1, 2)
    if pixels.device.type != "cpu":
        # Antialiasing has no kernel for bytes there.
        channels_first = channels_first.float()
    small = functional.interpolate(channels_first, size, mode="bilinear", antialias=True, align_corners=False)
    return small.round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).contiguous()
