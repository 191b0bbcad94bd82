"""PCA whitening with a power, which needs no labels."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from askew_training.errors import DataError
from askew_training.heads.linear import Whitening


def check_dimensions(dim: int, channels: int, count: int) -> None:
    """Raise DataError unless `count` photos of `channels` values can be whitened to `dim` dimensions: known before they are described."""
    if not 1 <= dim <= channels:
        raise DataError(f"Expected 1 to {channels} dimensions, those that the network pools, got {dim}.")
    if count <= dim:
        raise DataError(f"Whitening to {dim} dimensions needs more than {dim} photos, got {count}.")


def learn_whitening(vectors: NDArray[np.float32], dim: int, power: float) -> Whitening:
    """Learn a PCA whitening from float32 [n, C] vectors without labels, with the first `dim` components.

    Each principal component is divided by its standard deviation to the `power`: 0 only centres and rotates, 1 whitens
    fully, 0.5 is half-way (Jégou & Chum, ECCV 2012; the power as in Revaud et al., ICCV 2019). The map is scaled so
    that the mean squared length of its results is 1, which keeps its weights within half precision.

    Raises DataError if there are too few photos, if fewer than `dim` components vary, and for vectors with NaN.
    """
    count, channels = vectors.shape
    check_dimensions(dim, channels, count)
    if not 0 <= power <= 1:
        raise DataError(f"Expected a whitening power from 0 to 1, got {power}.")
    if not np.isfinite(vectors).all():
        raise DataError(f"Expected finite vectors, but some of the {count} hold NaN.")
    exact = vectors.astype(np.float64)
    mean = exact.mean(0)
    centred = exact - mean
    variances, axes = np.linalg.eigh(centred.T @ centred / count)
    variances, axes = variances[::-1][:dim], axes[:, ::-1][:, :dim]
    if variances[-1] <= 1e-12 * variances[0]:
        raise DataError(
            f"The photos vary in fewer than {dim} dimensions. Give more photos, or ask for fewer dimensions."
        )
    # The sign of an eigenvector is arbitrary; fixed here, so that the same photos give the same space on every machine.
    axes = axes * np.sign(axes[np.abs(axes).argmax(0), np.arange(dim)])
    weight = axes.T * variances[:, None] ** (-power / 2)
    weight /= np.sqrt((variances ** (1 - power)).sum())
    return Whitening(weight.astype(np.float32), (-weight @ mean).astype(np.float32))
