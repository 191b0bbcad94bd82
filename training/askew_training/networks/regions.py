"""The regions of R-MAC: overlapping squares of a few sizes that cover a map (Tolias et al., ICLR 2016)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

LEVELS = 3
"""The number of sizes of squares, as in the paper and in cirtorch."""


@dataclass(frozen=True)
class RegionLevel:
    """Squares of one size, as a grid along the shorter and the longer side of the map.

    `positions`: int64 [short, long, side, side], the cells of each square in the flattened map. `present`: 1, or 0
    if the map is too small for squares of this size; the positions are then arbitrary cells, to be ignored.
    """

    positions: Tensor
    present: Tensor


def region_levels(features: Tensor) -> list[RegionLevel]:
    """Place the squares on maps [N, C, h, w], one level after another, on their device.

    On level l, from 1 to 3, a side is ⌊2 · min(h, w) / (l + 1)⌋. There are l squares along the shorter side, and along
    the longer side the number for which the overlap of the largest squares is nearest to 40 %. Grids are spread evenly,
    rounded down.

    Everything is computed from the sizes by integer tensor operations, so that a traced graph works for maps of any
    size, and every engine finds the same cells. cirtorch divides in single precision, and for 32 of the 4096 shapes of
    maps up to 64 × 64 it places some squares one cell away, or uses one square more.
    """
    height, width = torch.as_tensor(features.shape[-2]), torch.as_tensor(features.shape[-1])
    short, long = torch.minimum(height, width), torch.maximum(height, width)
    more = _more_along(short, long)
    one = torch.ones_like(width)
    short_step, long_step = torch.where(height > width, one, width), torch.where(height > width, width, one)
    levels = []
    for level in range(1, LEVELS + 1):
        whole = torch.div(2 * short, level + 1, rounding_mode="trunc")
        side = whole.clamp(min=1)
        cells = torch.arange(side)  # type: ignore[call-overload]
        along_short = (_starts(level * one, short - side)[:, None] + cells) * short_step
        along_long = (_starts(level + more, long - side)[:, None] + cells) * long_step
        positions = along_short[:, None, :, None] + along_long[None, :, None, :]
        levels.append(RegionLevel(positions.to(features.device), whole.clamp(max=1).to(features.device)))
    return levels


def _more_along(short: Tensor, long: Tensor) -> Tensor:
    """How many more squares the longer side has: 0 for a square map, otherwise 1 to 6.

    With k more, neighbours overlap by 1 - (long - short) / (k · short). Of two neighbouring k, the greater is nearer to
    0.4 where 5 · (long - short) · (2k + 1) exceeds 6 · k · (k + 1) · short.
    """
    k = torch.arange(6)
    return (5 * (long - short) * (2 * k + 1) > 6 * k * (k + 1) * short).sum()


def _starts(number: Tensor, room: Tensor) -> Tensor:
    """Spread `number` starts evenly from 0 to `room`: int64, rounded down."""
    order = torch.arange(number)  # type: ignore[call-overload]
    return torch.div(order * room, (number - 1).clamp(min=1), rounding_mode="trunc")
