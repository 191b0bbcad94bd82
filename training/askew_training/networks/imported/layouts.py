"""Recognising the layout of a file of weights, and naming the tensors of its trunk as timm does."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from askew_training.errors import WeightsError
from askew_training.networks.imported.architectures import BY_NAME, trunk_of
from askew_training.networks.imported.contents import Contents
from askew_training.networks.imported.families import family_of, mobilenet_name
from askew_training.networks.trunks import Normalisation

HEADS = ("pool.", "whiten.", "lwhiten.")
"""What cirtorch's networks have behind their features."""
CLASSIFIERS = ("fc.", "classifier.", "head.", "pre_logits.")
"""Layers of torchvision's and timm's networks that no description of a photo uses."""
IMAGENET = Normalisation((123.675, 116.28, 103.53), (58.395, 57.12, 57.375))
"""Of torchvision's weights and, if they state no other, of cirtorch's: its trunks from Caffe were converted to it."""
LAYOUTS = (
    "a network of cirtorch or of the AML paper's code, features of cirtorch, a ResNet, VGG or MobileNetV2 of torchvision, "
    "or any convolutional network of timm"
)


@dataclass(frozen=True)
class Layout:
    """What a file is, and where the tensors of its trunk are.

    `words`: the layout, for a person. `trunk`: timm's name of the network. `names`: the names in the file, by timm's.
    `unknown`: names in the file that the trunk does not have. `projection`: the name of the weights of a 1×1 convolution
    behind the trunk. `is_retrieval`: whether the file has a pooling. `normalisation`: that of such files if they state
    none themselves, None for timm's own. `behind`: how the names of layers begin that the trunk may do without.
    """

    words: str
    trunk: str
    names: Mapping[str, str]
    unknown: tuple[str, ...] = ()
    projection: str | None = None
    is_retrieval: bool = False
    normalisation: Normalisation | None = None
    behind: tuple[str, ...] = ()


def layout_of(path: Path, contents: Contents, trunk: str | None) -> Layout:
    """Recognise the layout of a file. `trunk`: timm's name if the user states one. Raises WeightsError."""
    names = contents.tensors.keys()
    meta = contents.meta or {}
    has_head = "architecture" in meta or any(name.startswith(HEADS) for name in names)
    if has_head and any(name.startswith("features.") for name in names):
        return _in_sequence(path, contents, "features.", trunk, meta.get("architecture"))
    if all(re.match(r"\d+\.", name) for name in names):
        return _in_sequence(path, contents, "", trunk, None)
    return _by_name(path, contents, trunk)


def _in_sequence(path: Path, contents: Contents, prefix: str, trunk: str | None, architecture: object) -> Layout:
    inner = {name.removeprefix(prefix): tensor for name, tensor in contents.tensors.items() if name.startswith(prefix)}
    family = family_of(inner)
    if family is None:
        raise WeightsError(
            f"{path} has the layout of cirtorch, but its trunk {_stated(architecture)}was not recognised: its tensors are named "
            f"like {_examples(inner)}. Expected a ResNet, a VGG, MobileNetV2 or an EfficientNet."
        )
    names, unknown = {}, []
    for name in inner:
        if name == family.projection:
            continue
        timms = family.rename(name)
        if timms is None:
            unknown.append(prefix + name)
        else:
            names[timms] = prefix + name
    if prefix:
        unknown += [name for name in contents.tensors if not name.startswith((prefix, *HEADS))]
    named = {timms: contents.tensors[name] for timms, name in names.items()}
    return Layout(
        words=f"{'a retrieval network' if prefix else 'features'} in cirtorch's layout ({family.name})",
        trunk=trunk or _known(path, architecture) or trunk_of(named) or _ask_for_trunk(path, family.name),
        names=names,
        unknown=tuple(unknown),
        projection=prefix + family.projection if family.projection in inner else None,
        is_retrieval=bool(prefix),
        normalisation=IMAGENET,
    )


def _by_name(path: Path, contents: Contents, trunk: str | None) -> Layout:
    """torchvision's and timm's networks, whose tensors have names."""
    names = contents.tensors.keys()
    if any(re.match(r"features\.\d+\.0\.block\.", name) for name in names):
        raise WeightsError(
            f"{path} is an EfficientNet or MobileNetV3 of torchvision, which pads photos in another way than timm's: the same "
            "weights would give other vectors. Expected timm's network, such as tf_efficientnet_b3."
        )
    is_mobilenet = {"features.0.0.weight", "features.18.0.weight"} <= names
    found, unknown = {}, []
    for name in names:
        is_in_trunk = is_mobilenet and name.startswith("features.")
        timms = mobilenet_name(name.removeprefix("features.")) if is_in_trunk else name
        if timms is None:
            unknown.append(name)
        else:
            found[timms] = name
    recognised = trunk_of({timms: contents.tensors[name] for timms, name in found.items()})
    name_of_trunk = trunk or contents.architecture or recognised
    if name_of_trunk is None:
        raise WeightsError(
            f"{path} holds {len(names)} tensors in a layout that was not recognised, named like {_examples(contents.tensors)}. "
            f"Expected {LAYOUTS}; for the last, say which with --trunk NAME."
        )
    is_torchvisions = is_mobilenet or (recognised is not None and contents.architecture is None)
    words = "timm's layout" if not is_torchvisions else "torchvision's layout"
    return Layout(
        words if contents.arguments is None else "a checkpoint of timm's train.py",
        BY_NAME.get(name_of_trunk, name_of_trunk),
        found,
        tuple(unknown),
        normalisation=IMAGENET if is_torchvisions else None,
        behind=CLASSIFIERS,
    )


def _known(path: Path, architecture: object) -> str | None:
    """timm's name for cirtorch's name of an architecture; None if the file states none."""
    if architecture is None:
        return None
    if not isinstance(architecture, str) or architecture not in BY_NAME:
        raise WeightsError(
            f"{path} states the architecture {str(architecture)[:60]!r}. Expected one of {', '.join(BY_NAME)}; or say which of timm's "
            "networks has the same trunk with --trunk NAME."
        )
    return BY_NAME[architecture]


def _ask_for_trunk(path: Path, family: str) -> str:
    raise WeightsError(
        f"{path} holds a trunk of the kind {family}, but does not state which. Name one of timm's networks with --trunk NAME."
    )


def _stated(architecture: object) -> str:
    return f"{str(architecture)[:60]!r} " if architecture is not None else ""


def _examples(names: Mapping[str, Tensor]) -> str:
    return ", ".join(list(names)[:3])
