"""Poolings: from a map of features to one vector.

Each takes float [N, C, h, w] of any h and w and returns [N, C], not yet of unit length. Half-precision maps, as under
autocast, are pooled in single precision, because the powers of values that fit half precision may overflow.
"""

from __future__ import annotations

from typing import get_args

import torch
from torch import Tensor, nn

from askew_training.errors import WeightsError
from askew_training.networks.names import PoolingName
from askew_training.networks.regions import LEVELS, region_levels

START_EXPONENT = 3.0
EPS = 1e-6


class GeM(nn.Module):
    """Generalised-mean pooling with one exponent for all channels (Radenović et al., PAMI 2018, eq. 3).

    float [N, C, h, w] → [N, C], never negative. p = 1 is the average, p → ∞ the maximum; 3 is the usual start.
    """

    def __init__(self, p: float = START_EXPONENT, eps: float = EPS) -> None:
        super().__init__()
        self.p = nn.Parameter(torch.tensor(p))
        self.eps = eps

    def forward(self, features: Tensor) -> Tensor:
        powers = _to_single_precision(features).clamp(min=self.eps).pow(self.p)
        return _root(powers.mean((-2, -1)), self.p)

    def constants(self) -> dict[str, object]:
        """The constants that the values depend on besides the tensors, as JSON values."""
        return {"eps": self.eps}


class GeMmp(nn.Module):
    """Generalised-mean pooling with an exponent for each of `channels` channels (Radenović et al., PAMI 2018).

    float [N, C, h, w] → [N, C], never negative.
    """

    def __init__(self, channels: int, p: float = START_EXPONENT, eps: float = EPS) -> None:
        super().__init__()
        self.p = nn.Parameter(torch.full((channels,), p))
        self.eps = eps

    def forward(self, features: Tensor) -> Tensor:
        powers = _to_single_precision(features).clamp(min=self.eps).pow(self.p[:, None, None])
        return _root(powers.mean((-2, -1)), self.p)

    def constants(self) -> dict[str, object]:
        """The constants that the values depend on besides the tensors, as JSON values."""
        return {"eps": self.eps}


class MAC(nn.Module):
    """The maximum of each channel (Razavian et al., 2016; Tolias et al., ICLR 2016): float [N, C, h, w] → [N, C]."""

    def forward(self, features: Tensor) -> Tensor:
        return _to_single_precision(features).amax((-2, -1))

    def constants(self) -> dict[str, object]:
        """The constants that the values depend on besides the tensors, as JSON values."""
        return {}


class SPoC(nn.Module):
    """The average of each channel (Babenko & Lempitsky, ICCV 2015): float [N, C, h, w] → [N, C]."""

    def forward(self, features: Tensor) -> Tensor:
        return _to_single_precision(features).mean((-2, -1))

    def constants(self) -> dict[str, object]:
        """The constants that the values depend on besides the tensors, as JSON values."""
        return {}


class RMAC(nn.Module):
    """The sum over regions of their maxima, each scaled to unit length (Tolias et al., ICLR 2016).

    float [N, C, h, w] → [N, C]. As in cirtorch, the whole map is a further region, and nothing is whitened.
    """

    def forward(self, features: Tensor) -> Tensor:
        features = _to_single_precision(features)
        cells = features.flatten(2)
        total = _unit(features.amax((-2, -1)))
        for level in region_levels(features):
            maxima = cells[:, :, level.positions].amax((-2, -1))
            total = total + _unit(maxima).sum((-2, -1)) * level.present
        return total

    def constants(self) -> dict[str, object]:
        """The constants that the values depend on besides the tensors, as JSON values."""
        return {"levels": LEVELS, "eps": EPS}


class RegionalGeM(nn.Module):
    """The sum over R-MAC's regions of GeM, scaled to unit length, whitened, and scaled to unit length again.

    float [N, C, h, w] → [N, C], like `Rpool` of cirtorch. One exponent for all channels. The whitening is a linear layer
    that starts as the identity, so it whitens nothing at first; once trained, it gives vectors with signs.
    """

    def __init__(self, channels: int, p: float = START_EXPONENT, eps: float = EPS) -> None:
        super().__init__()
        self.p = nn.Parameter(torch.tensor(p))
        self.whiten = nn.Linear(channels, channels)
        nn.init.eye_(self.whiten.weight)
        nn.init.zeros_(self.whiten.bias)
        self.eps = eps

    def forward(self, features: Tensor) -> Tensor:
        powers = _to_single_precision(features).clamp(min=self.eps).pow(self.p)
        cells = powers.flatten(2)
        total = self._whiten(_root(powers.mean((-2, -1)), self.p)[:, :, None, None]).sum((-2, -1))
        for level in region_levels(powers):
            means = _root(cells[:, :, level.positions].mean((-2, -1)), self.p)
            total = total + self._whiten(means).sum((-2, -1)) * level.present
        return total

    def constants(self) -> dict[str, object]:
        """The constants that the values depend on besides the tensors, as JSON values."""
        return {"levels": LEVELS, "eps": self.eps}

    def _whiten(self, regions: Tensor) -> Tensor:
        """[N, C, short, long] → the same, each region of unit length."""
        whitened = self.whiten(_unit(regions).permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        return _unit(_to_single_precision(whitened))


Pooling = GeM | GeMmp | MAC | SPoC | RMAC | RegionalGeM


def pooling_of(name: PoolingName, channels: int) -> Pooling:
    """Build an untrained pooling by name, for maps of `channels` channels. Raises WeightsError for another name."""
    match name:
        case "gem":
            return GeM()
        case "gemmp":
            return GeMmp(channels)
        case "mac":
            return MAC()
        case "spoc":
            return SPoC()
        case "rmac":
            return RMAC()
        case "rgem":
            return RegionalGeM(channels)
    raise WeightsError(f"Expected one of the poolings {', '.join(get_args(PoolingName))}, got {name!r}.")


def _to_single_precision(features: Tensor) -> Tensor:
    return features.float() if features.dtype in (torch.bfloat16, torch.float16) else features


def _root(means: Tensor, p: Tensor) -> Tensor:
    """The p-th root of means of p-th powers, [N, C, ...], with one p or one for each channel.

    Clamped, because a high power of eps underflows to 0, where the root has no gradient.
    """
    return means.clamp(min=torch.finfo(means.dtype).tiny).pow(1 / p)


def _unit(vectors: Tensor) -> Tensor:
    """Divide vectors along axis 1 by their length + 1e-6, as in cirtorch; a zero vector has a finite gradient."""
    return vectors / (torch.sqrt((vectors * vectors).sum(1, keepdim=True) + 1e-24) + EPS)
