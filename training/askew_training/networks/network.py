"""The network that describes a photo: trunk → [projection] → pooling → L2 → [linear → L2]."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from askew_training.errors import WeightsError
from askew_training.networks.names import PoolingName
from askew_training.networks.pooling import GeM, pooling_of
from askew_training.networks.trunks import Normalisation, Trunk

THREE_SCALES = (1.0, 1 / math.sqrt(2), 0.5)
"""The scales of Radenović et al. (PAMI 2018) and of the AML paper's tests."""


@dataclass(frozen=True)
class ScaleMean:
    """How the vectors of several scales become one.

    By default they are averaged before the linear layer, with plain GeM by the power mean with the branch's own
    exponent (as in the AML paper's tests with a whitening learned afterwards). `behind_linear`: the vectors behind the
    linear layer are averaged, by the mean, because they may be negative (as cirtorch does with a whitening that was
    trained with the network). `exponent`: replaces the branches' own, above 0 (the AML paper's code averages the
    teacher's vectors with the student's).
    """

    behind_linear: bool = False
    exponent: float | None = None


class Normalise(nn.Module):
    """Convert photos in grey levels, uint8 [N, H, W, 3], to what the trunk was trained on: float [N, 3, H, W]."""

    mean: Tensor
    std: Tensor

    def __init__(self, normalisation: Normalisation) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(normalisation.mean).reshape(3, 1, 1))
        self.register_buffer("std", torch.tensor(normalisation.std).reshape(3, 1, 1))

    def forward(self, pixels: Tensor) -> Tensor:
        return (pixels.permute(0, 3, 1, 2).to(self.mean.dtype) - self.mean) / self.std


class Branch(nn.Module):
    """One trunk of a network, from photos to one pooled vector: trunk → [1×1 convolution → ReLU] → pooling → L2.

    uint8 [N, H, W, 3] RGB → float [N, C], unit length. `projection` is the width C that a convolution without bias gives
    the features (the student's form in Budnik & Avrithis, CVPR 2021); without one, C is the trunk's own number of
    channels. With GeM, with one exponent or one for each channel, vectors are never negative; with the other poolings,
    except for a regional whitening, the ReLU keeps them non-negative, as a student of a GeM teacher needs.

    Vectors of several scales are averaged: with plain GeM by the power mean with its own exponent, or the given one,
    otherwise by the mean (as in the AML paper's tests). Raises WeightsError for an unknown pooling.
    """

    def __init__(self, trunk: Trunk, projection: int | None = None, pooling: PoolingName = "gem") -> None:
        super().__init__()
        self.normalise = Normalise(trunk.normalisation)
        self.trunk = trunk
        self.projection = None if projection is None else _projection(trunk.channels, projection)
        self.channels = trunk.channels if projection is None else projection
        self.pooling = pooling
        self.pool = pooling_of(pooling, self.channels)

    def forward(self, pixels: Tensor, scales: Sequence[float] = (1.0,), exponent: float | None = None) -> Tensor:
        photos = self.normalise(pixels)
        vectors = [self._describe(_resize(photos, scale)) for scale in scales]
        if len(vectors) == 1:
            return vectors[0]
        together = torch.stack(vectors)
        if not isinstance(self.pool, GeM):
            return unit_length(together.mean(0))
        p = self.pool.p if exponent is None else torch.tensor(exponent)
        return unit_length(together.clamp(min=self.pool.eps).pow(p).mean(0).pow(1 / p))

    def _describe(self, photos: Tensor) -> Tensor:
        features = self.trunk(photos)
        return unit_length(self.pool(features if self.projection is None else self.projection(features)))


class Network(nn.Module):
    """Describe photos: uint8 [N, H, W, 3] RGB → float [N, D], unit length.

    `branches`: one trunk, or several whose vectors are concatenated and scaled to unit length, so that all have the
    same weight. `linear`: the whitening, or None. `scales`: the photo is described at each of these factors of its
    size (1: as it is, above 1: enlarged), and the vectors are averaged.

    At each scale, the normalised photo is resized by the factor (bilinear), pooled and scaled to unit length;
    `scale_mean` says how the results are averaged. Neither is part of the vector space; both may be changed at any time.

    Raises WeightsError for a linear layer that does not fit the branches, or scales or an exponent that
    are not positive.
    """

    branches: Sequence[Branch]

    def __init__(
        self,
        branches: Sequence[Branch],
        linear: nn.Linear | None = None,
        scales: Sequence[float] = (1.0,),
        scale_mean: ScaleMean = ScaleMean(),
    ) -> None:
        super().__init__()
        # A ModuleList is a sequence of the given modules, but is not typed as one.
        self.branches = cast(Sequence[Branch], nn.ModuleList(branches))
        self.linear = linear
        self.scales = tuple(scales)
        self.scale_mean = scale_mean
        self.statistics_frozen = False
        if linear is not None and linear.in_features != self.channels:
            raise WeightsError(
                f"Expected a linear layer of {self.channels} inputs, the number of channels of the branches, "
                f"got one of {linear.in_features}."
            )
        if not self.scales or not all(0 < scale < math.inf for scale in self.scales):
            raise WeightsError(f"Expected one or more positive scales, got {list(self.scales)}.")
        if scale_mean.exponent is not None and not 0 < scale_mean.exponent < math.inf:
            raise WeightsError(f"Expected a positive exponent to average scales with, got {scale_mean.exponent:g}.")

    @property
    def channels(self) -> int:
        """Components of the pooled vector, before the linear layer: the sum over the branches."""
        return sum(branch.channels for branch in self.branches)

    @property
    def dim(self) -> int:
        """Components of the vector."""
        return self.channels if self.linear is None else self.linear.out_features

    def train(self, mode: bool = True) -> Self:
        """Set to training mode; frozen statistics of batch normalisation stay frozen."""
        super().train(mode)
        if self.statistics_frozen:
            for module in self.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.eval()
        return self

    def forward(self, pixels: Tensor) -> Tensor:
        if self.linear is None:
            return self.pooled(pixels)
        if not self.scale_mean.behind_linear:
            return unit_length(self.linear(self.pooled(pixels)))
        vectors = [unit_length(self.linear(self._pooled_at(pixels, (scale,)))) for scale in self.scales]
        return vectors[0] if len(vectors) == 1 else unit_length(torch.stack(vectors).mean(0))

    def pooled(self, pixels: Tensor) -> Tensor:
        """The vector before the linear layer, averaged over the scales: float [N, C], unit length."""
        return self._pooled_at(pixels, self.scales)

    def _pooled_at(self, pixels: Tensor, scales: Sequence[float]) -> Tensor:
        vectors = [branch(pixels, scales, self.scale_mean.exponent) for branch in self.branches]
        return vectors[0] if len(vectors) == 1 else unit_length(torch.cat(vectors, -1))


def unit_length(vectors: Tensor) -> Tensor:
    """Divide float [N, D] vectors by their length.

    Written out, because torch's norm becomes a ReduceL2 in ONNX, which few mobile accelerators support.
    """
    return vectors / torch.sqrt((vectors * vectors).sum(-1, keepdim=True) + 1e-12)


def _projection(channels: int, width: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(channels, width, 1, bias=False), nn.ReLU())


def _resize(photos: Tensor, scale: float) -> Tensor:
    if scale == 1.0:
        return photos
    return functional.interpolate(photos, scale_factor=in_float32(scale), mode="bilinear", align_corners=False)


def in_float32(scale: float) -> float:
    """The scale as ONNX stores it, rounded up.

    1.05 in float32 is less than 1.05, so that 240 px became 252 here, and 251 in ONNX Runtime.
    """
    nearest = np.float32(scale)
    # Compared as float64: NumPy would round the scale to float32 first.
    return float(nearest if float(nearest) >= scale else np.nextafter(nearest, np.float32(np.inf)))
