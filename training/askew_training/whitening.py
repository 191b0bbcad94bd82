"""PCA whitening with a power: the linear layer that makes a pooled network a good teacher."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from askew_training.errors import DataError


@dataclass(frozen=True)
class Whitening:
    """A linear map x ↦ weight · x + bias: float32 [D, C] and [D]."""

    weight: NDArray[np.float32]
    bias: NDArray[np.float32]

    def apply(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        """Map float32 [n, C] vectors to float32 [n, D] unit vectors."""
        mapped = vectors @ self.weight.T + self.bias
        return np.asarray(mapped / np.linalg.norm(mapped, axis=1, keepdims=True), dtype=np.float32)

    def as_layer(self) -> nn.Linear:
        """The same map as a torch layer."""
        dim, channels = self.weight.shape
        layer = nn.Linear(channels, dim)
        layer.load_state_dict({"weight": torch.from_numpy(self.weight), "bias": torch.from_numpy(self.bias)})
        return layer


def apply_linear(layer: nn.Linear, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Map float32 [n, C] vectors by a layer to float32 [n, D] unit vectors."""
    return Whitening(layer.weight.detach().numpy(), layer.bias.detach().numpy()).apply(vectors)


def learn_whitening(vectors: NDArray[np.float32], dim: int, power: float) -> Whitening:
    """Learn a PCA whitening from float32 [n, C] vectors without labels, kept to the first `dim` components.

    Each principal component is divided by its standard deviation to the `power`: 0 only centres and
    rotates, 1 whitens fully, 0.5 is half-way (Jégou & Chum, ECCV 2012; the power as in Revaud et al., ICCV
    2019). The map is scaled so that the mean squared length of what it returns is 1, which keeps its
    weights within half precision.

    Raises DataError when there are too few photos, or when fewer than `dim` components vary.
    """
    count, channels = vectors.shape
    if not 1 <= dim <= channels:
        raise DataError(f"Expected 1 to {channels} dimensions, as many as the trunk has channels, got {dim}.")
    if not 0 <= power <= 1:
        raise DataError(f"Expected a whitening power from 0 to 1, got {power}.")
    if count <= dim:
        raise DataError(f"Whitening to {dim} dimensions needs more than {dim} photos, got {count}.")
    exact = vectors.astype(np.float64)
    mean = exact.mean(0)
    centred = exact - mean
    variances, axes = np.linalg.eigh(centred.T @ centred / count)
    variances, axes = variances[::-1][:dim], axes[:, ::-1][:, :dim]
    if variances[-1] <= 1e-12 * variances[0]:
        raise DataError(f"The photos vary in fewer than {dim} dimensions. Give more photos, or ask for fewer.")
    # An eigenvector's sign is free; fixed here, so that the same photos give the same space on every machine.
    axes = axes * np.sign(axes[np.abs(axes).argmax(0), np.arange(dim)])
    weight = axes.T * variances[:, None] ** (-power / 2)
    weight /= np.sqrt((variances ** (1 - power)).sum())
    return Whitening(weight.astype(np.float32), (-weight @ mean).astype(np.float32))
