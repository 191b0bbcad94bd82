"""Which of timm's networks a trunk is: by the name that a file states, or by the tensors themselves."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

from torch import Tensor

BY_NAME = {
    **{name: name for name in ("resnet18", "resnet34", "resnet50", "resnet101", "resnet152")},
    **{name: name for name in ("vgg11", "vgg13", "vgg16", "vgg19")},
    **{f"{name}_bn": f"{name}_bn" for name in ("vgg11", "vgg13", "vgg16", "vgg19")},
    "mobilenet_v2": "mobilenetv2_100",
    "efficientnet_b3": "tf_efficientnet_b3",
}
"""timm's names for the architectures of cirtorch and of the AML paper's code. Its `efficientnet_b3` is timm's
`tf_efficientnet_b3`, which pads as TensorFlow does."""

RESIDUAL = {
    ((2, 2, 2, 2), (64, 64), False): "resnet18",
    ((3, 4, 6, 3), (64, 64), False): "resnet34",
    ((3, 4, 6, 3), (64, 64), True): "resnet50",
    ((3, 4, 23, 3), (64, 64), True): "resnet101",
    ((3, 8, 36, 3), (64, 64), True): "resnet152",
    ((3, 4, 6, 3), (128, 4), True): "resnext50_32x4d",
    ((3, 4, 23, 3), (256, 8), True): "resnext101_32x8d",
    ((3, 4, 23, 3), (256, 4), True): "resnext101_64x4d",
    ((3, 4, 6, 3), (128, 128), True): "wide_resnet50_2",
    ((3, 4, 23, 3), (128, 128), True): "wide_resnet101_2",
}
"""torchvision's residual networks, by the blocks of each layer, the first two sides of `layer1.0.conv2.weight`, and whether
their blocks have three convolutions."""

VGG = {8: "vgg11", 10: "vgg13", 13: "vgg16", 16: "vgg19"}
"""By the number of convolutions."""


def trunk_of(tensors: Mapping[str, Tensor]) -> str | None:
    """Recognise one of torchvision's networks by tensors with timm's names; None for any other."""
    if "layer1.0.conv1.weight" in tensors and "conv1.weight" in tensors:
        return _residual(tensors)
    if "features.0.weight" in tensors:
        convolutions = sum(tensor.ndim == 4 for name, tensor in tensors.items() if name.startswith("features."))
        is_normalised = any(name.endswith("running_mean") for name in tensors)
        name = VGG.get(convolutions)
        return f"{name}_bn" if name and is_normalised else name
    if "blocks.6.0.conv_pwl.weight" in tensors and tuple(tensors["blocks.6.0.conv_pwl.weight"].shape) == (
        320,
        960,
        1,
        1,
    ):
        return "mobilenetv2_100"
    return None


def _residual(tensors: Mapping[str, Tensor]) -> str | None:
    second = tensors.get("layer1.0.conv2.weight")
    if second is None or second.ndim != 4:
        return None
    one, two, three, four = (_count(tensors, f"layer{layer}") for layer in (1, 2, 3, 4))
    return RESIDUAL.get(
        ((one, two, three, four), (second.shape[0], second.shape[1]), "layer1.0.conv3.weight" in tensors)
    )


def _count(names: Collection[str], layer: str) -> int:
    numbers = [int(found[1]) for name in names if (found := re.match(rf"{layer}\.(\d+)\.", name))]
    return max(numbers, default=-1) + 1
