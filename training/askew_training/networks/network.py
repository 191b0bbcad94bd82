"""The network that describes a photo: trunk → GeM → L2 → [linear → L2]."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from askew_training.networks.trunks import Normalisation, Trunk

THREE_SCALES = (1.0, 1 / math.sqrt(2), 0.5)
"""The scales of Radenović et al. (PAMI 2018) and of the AML paper's tests."""


class GeM(nn.Module):
    """Generalised-mean pooling with one exponent for all channels (Radenović et al., PAMI 2018, eq. 3).

    float [N, C, h, w] → [N, C], never negative. p = 1 is the average, p → ∞ the maximum; 3 is the usual
    start.
    """

    def __init__(self, p: float = 3.0, eps: float = 1e-6) -> None:
        super().__init__()
        self.p = nn.Parameter(torch.tensor(p))
        self.eps = eps

    def forward(self, features: Tensor) -> Tensor:
        return features.clamp(min=self.eps).pow(self.p).mean((-2, -1)).pow(1 / self.p)


class Normalise(nn.Module):
    """Photos in grey levels, uint8 [N, H, W, 3], to what the trunk was trained on: float [N, 3, H, W]."""

    mean: Tensor
    std: Tensor

    def __init__(self, normalisation: Normalisation) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(normalisation.mean).reshape(3, 1, 1))
        self.register_buffer("std", torch.tensor(normalisation.std).reshape(3, 1, 1))

    def forward(self, pixels: Tensor) -> Tensor:
        return (pixels.permute(0, 3, 1, 2).to(self.mean.dtype) - self.mean) / self.std


class Network(nn.Module):
    """Describe photos: uint8 [N, H, W, 3] RGB → float [N, D], unit length.

    Several `scales` are averaged before the linear layer: the normalised photo is resized by each factor
    (bilinear), each is pooled and brought to unit length, and the power mean with GeM's own exponent
    follows (as the AML paper tests with a whitening learned afterwards). It needs vectors that are never
    negative, which the linear layer's are not.

    `linear`: the whitening, or None. `scales` is no part of the vector space; it may be changed at any time.
    """

    def __init__(self, trunk: Trunk, linear: nn.Linear | None = None, scales: Sequence[float] = (1.0,)) -> None:
        super().__init__()
        self.normalise = Normalise(trunk.normalisation)
        self.trunk = trunk
        self.pool = GeM()
        self.linear = linear
        self.scales = tuple(scales)

    @property
    def dim(self) -> int:
        """Components of a vector."""
        return self.linear.out_features if self.linear is not None else self.trunk.channels

    def forward(self, pixels: Tensor) -> Tensor:
        pooled = self.pooled(pixels)
        return pooled if self.linear is None else unit_length(self.linear(pooled))

    def pooled(self, pixels: Tensor) -> Tensor:
        """The vector before the linear layer: float [N, C], unit length, never negative."""
        photos = self.normalise(pixels)
        vectors = [unit_length(self.pool(self.trunk(_resized(photos, scale)))) for scale in self.scales]
        if len(vectors) == 1:
            return vectors[0]
        p = self.pool.p
        return unit_length(torch.stack(vectors).clamp(min=self.pool.eps).pow(p).mean(0).pow(1 / p))


def unit_length(vectors: Tensor) -> Tensor:
    """Divide float [N, D] vectors by their length.

    Written out, because the ReduceL2 that a norm becomes in ONNX is run by few mobile accelerators.
    """
    return vectors / torch.sqrt((vectors * vectors).sum(-1, keepdim=True) + 1e-12)


def _resized(photos: Tensor, scale: float) -> Tensor:
    if scale == 1.0:
        return photos
    return functional.interpolate(photos, scale_factor=scale, mode="bilinear", align_corners=False)
