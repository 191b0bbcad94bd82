"""Order hits by diffusion: what resembles the first hit, or resembles what resembles it, comes before what does not.

Iscen et al. (CVPR 2017) on the graph of the hits alone, started at the first one. The settings were chosen on photos held
out from training, and measured on others: docs/search-time.md.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

NEIGHBOURS = 10
ALPHA = 0.9
POWER = 3

_DECIMALS = 9
"""Equal vectors are reached equally, whatever the last bits of a product are."""


def diffused_order(vectors: NDArray[np.float32]) -> list[int]:
    """The positions of hits, in a new order; the first stays first, and what it does not reach keeps its order at the end.

    `vectors`: float32 [n, D], unit length, of the hits in their old order, n > 0. Hits are joined that are among each other's
    `NEIGHBOURS` nearest ones, by the cube of their inner product if it is above 0.
    """
    count = len(vectors)
    similarities = np.round((vectors @ vectors.T).astype(np.float64), 6)
    np.fill_diagonal(similarities, -np.inf)
    nearest = np.argsort(-similarities, axis=1, kind="stable")[:, : min(NEIGHBOURS, count - 1)]
    near = np.zeros((count, count), np.bool_)
    np.put_along_axis(near, nearest, True, axis=1)
    weights = np.where(near & near.T, np.maximum(similarities, 0) ** POWER, 0)
    degrees = weights.sum(axis=1)
    scale = 1 / np.sqrt(np.where(degrees > 0, degrees, 1))
    start = np.zeros(count)
    start[0] = 1
    reached = np.linalg.solve(np.eye(count) - ALPHA * weights * scale[:, None] * scale, start)
    # The solution is above 0 where a path leads and 0 elsewhere, but for its last bits.
    rounded = np.maximum(np.round(reached / reached[0], _DECIMALS), 0)
    rounded[0] = np.inf
    return [int(position) for position in np.argsort(-rounded, kind="stable")]
