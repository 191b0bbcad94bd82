"""Definitions of average precision beside the trapezoid sum of `askew_client.metrics`."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from askew_client.metrics import average_precision
from askew_training.data.judgements import Definition


def standard_average_precision(ranks: NDArray[np.int64], positives: int, depth: int | None = None) -> float:
    """The mean over positives of the precision at each: 1/R · Σ P(k) · rel(k), 0 to 1.

    `ranks`: int64 [n], places from 0 of the positives that were found. `positives`: R, found or not. `depth`: only the first
    `depth` places count, and R is at most `depth`: with 100 this is the mAP@100 of Google Landmarks v2 (Weyand et al., CVPR
    2020). Raises ValueError if there are no positives, or fewer than ranks.
    """
    if positives < 1 or len(ranks) > positives:
        raise ValueError(
            f"expected at least one positive and no more ranks than positives, got {len(ranks)}, {positives}"
        )
    found = np.sort(ranks).astype(np.float64)
    if depth is not None:
        found = found[found < depth]
        positives = min(positives, depth)
    return float(((np.arange(len(found)) + 1) / (found + 1)).sum() / positives)


def average_precision_by(definition: Definition, ranks: NDArray[np.int64], positives: int) -> float:
    """Average precision, 0 to 1: the trapezoid sum of revisited Oxford and Paris, or the standard definition."""
    if definition == "standard":
        return standard_average_precision(ranks, positives)
    return average_precision(ranks, positives)
