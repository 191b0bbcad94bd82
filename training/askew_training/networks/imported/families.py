"""Families of trunks whose modules were put into a sequence, and timm's names for what stands at each place of it.

cirtorch and the AML paper's code build a trunk as `nn.Sequential(*children)`, so that the names of its tensors are
numbers. An inner name (`conv1.weight` in `4.0.conv1.weight`) stays what it was.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from torch import Tensor

Rename = Callable[[str], str | None]

MOBILENET_BLOCKS = (1, 2, 3, 4, 3, 3, 1)
"""Blocks of each stage of MobileNetV2; torchvision numbers them from 1 to 17."""
MOBILENET_LAST = 18


@dataclass(frozen=True)
class Family:
    """A kind of trunk in a sequence.

    `name`: for a person. `rename`: timm's name for a tensor of the trunk, None for one that the trunk does not have.
    `projection`: the name of the weights of the 1×1 convolution that may follow the trunk.
    """

    name: str
    rename: Rename
    projection: str


def family_of(tensors: Mapping[str, Tensor]) -> Family | None:
    """Recognise a trunk by the names of its tensors in a sequence; None for one that is not known."""
    names = tensors.keys()
    if _has(names, r"4\.0\.conv1\."):
        return Family("ResNet", _by_places(RESIDUAL), "8.weight")
    if _has(names, r"0\.0\.0\.weight") and _has(names, r"0\.1\.conv\."):
        return Family("torchvision's MobileNetV2", _within_first(mobilenet_name), "1.weight")
    if _has(names, r"3\.\d+\.\d+\."):
        return Family("timm's EfficientNet of before 0.9", _by_places(EFFICIENTNET_OLD), "7.weight")
    if _has(names, r"2\.\d+\.\d+\."):
        return Family("timm's EfficientNet", _by_places(EFFICIENTNET), "5.weight")
    if _has(names, r"0\.weight") and _has(names, r"(2|3)\.weight") and all(_is_numbered(name) for name in names):
        return Family("VGG", _vgg_name, f"{_vgg_projection(tensors)}.weight")
    return None


def mobilenet_name(name: str) -> str | None:
    """timm's name for a tensor of torchvision's MobileNetV2 (`features.K.…`, without `features.`)."""
    place, _, inner = name.partition(".")
    if not place.isdecimal():
        return None
    number = int(place)
    if number in (0, MOBILENET_LAST):
        layers = ("conv_stem", "bn1") if number == 0 else ("conv_head", "bn2")
        return _renamed(inner, {"0": layers[0], "1": layers[1]})
    first = {"conv.0.0": "conv_dw", "conv.0.1": "bn1", "conv.1": "conv_pw", "conv.2": "bn2"}
    other = {"conv.0.0": "conv_pw", "conv.0.1": "bn1", "conv.1.0": "conv_dw", "conv.1.1": "bn2", "conv.2": "conv_pwl", "conv.3": "bn3"}  # fmt: skip
    layer = _renamed(inner, first if number == 1 else other)
    stage, block = _stage_of(number)
    return None if layer is None or stage is None else f"blocks.{stage}.{block}.{layer}"


RESIDUAL = {"0": "conv1", "1": "bn1", "4": "layer1", "5": "layer2", "6": "layer3", "7": "layer4"}
EFFICIENTNET_OLD = {"0": "conv_stem", "1": "bn1", "3": "blocks", "4": "conv_head", "5": "bn2"}
"""Activations had places of their own (2 and 6) before timm made them part of batch normalisation."""
EFFICIENTNET = {"0": "conv_stem", "1": "bn1", "2": "blocks", "3": "conv_head", "4": "bn2"}


def _has(names: Collection[str], pattern: str) -> bool:
    return any(re.match(pattern, name) for name in names)


def _is_numbered(name: str) -> bool:
    return re.fullmatch(r"\d+\.[a-z_]+", name) is not None


def _renamed(name: str, places: Mapping[str, str]) -> str | None:
    """Replace the longest beginning of a name that is in `places`."""
    for start in sorted(places, key=len, reverse=True):
        if name.startswith(f"{start}."):
            return places[start] + name[len(start) :]
    return None


def _by_places(places: Mapping[str, str]) -> Rename:
    return lambda name: _renamed(name, places)


def _within_first(rename: Rename) -> Rename:
    """For a sequence whose first member is the whole trunk."""
    return lambda name: rename(name.removeprefix("0.")) if name.startswith("0.") else None


def _vgg_name(name: str) -> str | None:
    return f"features.{name}" if _is_numbered(name) else None


def _vgg_projection(tensors: Mapping[str, Tensor]) -> int:
    """The place behind a VGG's last layer: that of a 1×1 convolution if there is one."""
    last = max(int(name.split(".")[0]) for name in tensors)
    weight = tensors.get(f"{last}.weight")
    return last if weight is not None and weight.shape[2:] == (1, 1) else last + 1


def _stage_of(number: int) -> tuple[int | None, int]:
    """The stage of torchvision's block `number`, from 1, and its place in it; (None, 0) for one that does not exist."""
    left = number - 1
    for stage, blocks in enumerate(MOBILENET_BLOCKS):
        if left < blocks:
            return stage, left
        left -= blocks
    return None, 0
