"""Putting the tensors of a file into a network: all of them, in their shapes, or none."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from askew_training.errors import WeightsError
from askew_training.networks.imported.layouts import Layout
from askew_training.networks.trunks import Trunk

COUNTER = "num_batches_tracked"
"""Of batch normalisation; older files have none, and nothing is computed from it."""


def load_trunk(path: Path, trunk: Trunk, layout: Layout, tensors: Mapping[str, Tensor]) -> tuple[str, ...]:
    """Load the tensors of a trunk by name. Returns the names of those of layers behind it, which are left out.

    Raises WeightsError if one is missing, unknown, of another shape, or holds NaN or infinite values.
    """
    own = trunk.features.state_dict()
    behind = (*layout.behind, *(f"{name}." for name in trunk.unused))
    missing = [name for name in own if name not in layout.names and not name.endswith(COUNTER)]
    unknown = [
        *layout.unknown,
        *(name for timms, name in layout.names.items() if timms not in own and not timms.startswith(behind)),
    ]
    fitting = {timms: name for timms, name in layout.names.items() if timms in own}
    for timms, name in fitting.items():
        _check(path, name, tensors[name], own[timms], f"{timms} of {trunk.name}")
    if missing or unknown:
        raise WeightsError(
            f"{path} is {layout.words}, and its trunk is not {trunk.name}: {_counted(missing, 'missing')} and "
            f"{_counted(unknown, 'unknown')}. If it is another network of timm, name it with --trunk; otherwise fetch the file again."
        )
    # Counters of older files are left out, so they stay at 0.
    trunk.features.load_state_dict({timms: tensors[name] for timms, name in fitting.items()}, strict=False)
    return tuple(name for timms, name in layout.names.items() if timms not in own)


def load_layer(path: Path, module: nn.Module, tensors: Mapping[str, Tensor], names: Mapping[str, str]) -> None:
    """Load all parameters of a small module. `names`: the names in the file, by the module's own. Raises WeightsError."""
    own = module.state_dict()
    for inner, name in names.items():
        if name not in tensors:
            raise WeightsError(
                f"{path} has no tensor {name}. Expected one of shape {list(own[inner].shape)}. Fetch it again."
            )
        _check(path, name, tensors[name], own[inner], inner)
    module.load_state_dict({inner: tensors[name] for inner, name in names.items()})


def _check(path: Path, name: str, tensor: Tensor, expected: Tensor, place: str) -> None:
    if tensor.shape != expected.shape:
        raise WeightsError(
            f"{path} does not fit: {name} has the shape {list(tensor.shape)}, expected {list(expected.shape)} for {place}. Name the "
            "network that the file is of with --trunk, or fetch the file again."
        )
    is_plain = tensor.layout is torch.strided and not tensor.is_quantized and not tensor.is_meta
    if not is_plain or tensor.is_floating_point() != expected.is_floating_point():
        raise WeightsError(
            f"{path} does not fit: {name} has numbers of the kind {tensor.dtype}, expected plain {expected.dtype}. Save the "
            "network in single or half precision."
        )
    if not bool(torch.isfinite(tensor).all()):
        raise WeightsError(f"{path} is damaged: {name} holds NaN or infinite values. Fetch it again.")


def _counted(names: list[str], what: str) -> str:
    return f"{len(names)} tensors {what}" + (f" (first: {names[0]})" if names else "")
