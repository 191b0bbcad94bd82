"""Trunks: the convolutional part of a timm network, without pooling and classifier."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import timm
import torch
from timm.models.vgg import VGG
from torch import Tensor, nn

from askew_training.errors import WeightsError


@dataclass(frozen=True)
class Normalisation:
    """What is subtracted from each channel, and what it is then divided by, in grey levels (0 to 255), RGB."""

    mean: tuple[float, float, float]
    std: tuple[float, float, float]


class Trunk(nn.Module):
    """A timm network's features: float [N, 3, H, W], normalised, → [N, channels, h, w].

    The features are those of timm's `forward_features`, the last map before any pooling: 1536 channels after the last
    convolution of an EfficientNet, but 576 of `mobilenetv3_small_100`, whose last convolution follows its pooling.
    Layers behind them are removed, with their parameters. A VGG is used without its last max-pool, at stride 16 (as in
    Radenović et al., PAMI 2018, and the AML paper).

    `name`: a convolutional network of timm, with or without a tag of pretrained weights (`NAME.TAG`). `normalisation`
    is part of the trunk, because weights fit only the input that they were trained on; the default is timm's own for
    this network. Raises WeightsError for a name that timm does not know, or a network that is not convolutional.
    """

    def __init__(self, name: str, normalisation: Normalisation | None = None) -> None:
        super().__init__()
        if not timm.is_model(name):
            raise WeightsError(f"Expected the name of a timm network, got {name!r}; see timm.list_models().")
        self.name = name
        self.features, shape, used = _build_and_probe(name)
        self.channels = int(shape[1])
        self.unused = _drop_unused(self.features, used)
        self.normalisation = normalisation or normalisation_of(self.features.default_cfg)  # type: ignore[arg-type]

    def forward(self, photos: Tensor) -> Tensor:
        features: Tensor = self.features.forward_features(photos)  # type: ignore[operator]
        return features


def normalisation_of(configuration: Mapping[str, Any]) -> Normalisation:
    """The normalisation that timm states for a network's weights (`default_cfg`), converted to grey levels."""
    mean, std = configuration["mean"], configuration["std"]
    return Normalisation((mean[0] * 255, mean[1] * 255, mean[2] * 255), (std[0] * 255, std[1] * 255, std[2] * 255))


def _build_and_probe(name: str) -> tuple[nn.Module, torch.Size, set[nn.Module]]:
    """Build a network and run it once. Returns the network, the shape of its features, and the modules that were used."""
    used: set[nn.Module] = set()
    try:
        features: Any = timm.create_model(name, pretrained=False, num_classes=0, global_pool="")
        if isinstance(features, VGG):
            features.features = features.features[:-1]
        handles = [
            module.register_forward_hook(lambda module, _, __: used.add(module)) for module in features.modules()
        ]
        with torch.inference_mode():
            # An unusual shape on purpose: a network that is made for one shape fails on it.
            shape = features.eval().forward_features(torch.zeros(1, 3, 96, 131)).shape
    except (AssertionError, AttributeError, RuntimeError, TypeError, ValueError):
        raise _not_convolutional(name) from None
    for handle in handles:
        handle.remove()
    if len(shape) != 4 or shape[1] != features.num_features:
        raise _not_convolutional(name)
    return features.train(), shape, used


def _not_convolutional(name: str) -> WeightsError:
    return WeightsError(
        f"{name} does not give a map of features for photos of any shape. Expected a convolutional trunk, such as "
        "resnet101."
    )


def _drop_unused(features: nn.Module, used: set[nn.Module]) -> tuple[str, ...]:
    """Remove the layers behind the features. Returns their names and that of the classifier."""
    behind = []
    for name, child in list(features.named_children()):
        if used.isdisjoint(child.modules()) and child.state_dict():
            setattr(features, name, nn.Identity())
            behind.append(name)
    return (*behind, str(features.default_cfg["classifier"]))  # type: ignore[index]
