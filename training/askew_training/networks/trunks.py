"""Trunks: the convolutional part of a timm network, without pooling and classifier."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import timm
from torch import Tensor, nn

from askew_training.errors import WeightsError


@dataclass(frozen=True)
class Normalisation:
    """What is subtracted from each channel, and what it is divided by, in grey levels (0 to 255), RGB."""

    mean: tuple[float, float, float]
    std: tuple[float, float, float]


class Trunk(nn.Module):
    """A timm network's features: float [N, 3, H, W], normalised, → [N, channels, h, w].

    `normalisation` is part of it: weights are worth something only with the input that they were trained on.
    """

    def __init__(self, name: str, normalisation: Normalisation | None = None) -> None:
        super().__init__()
        if not timm.is_model(name):
            raise WeightsError(f"Expected the name of a timm network, got {name!r}; see timm.list_models().")
        self.name = name
        features: Any = timm.create_model(name, pretrained=False, num_classes=0, global_pool="")
        self.channels = int(features.num_features)
        self.configuration: dict[str, Any] = dict(features.default_cfg)
        self.normalisation = normalisation or _default_normalisation(self.configuration)
        self.features: nn.Module = features

    def forward(self, photos: Tensor) -> Tensor:
        features: Tensor = self.features.forward_features(photos)  # type: ignore[operator]
        return features


def _default_normalisation(configuration: Mapping[str, tuple[float, float, float]]) -> Normalisation:
    mean, std = configuration["mean"], configuration["std"]
    return Normalisation((mean[0] * 255, mean[1] * 255, mean[2] * 255), (std[0] * 255, std[1] * 255, std[2] * 255))
