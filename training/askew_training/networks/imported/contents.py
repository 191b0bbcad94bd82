"""What a file of weights holds: its tensors, without the prefixes of wrappers, and what it says about them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from askew_training.errors import WeightsError
from askew_training.networks.torch_file import DAMAGED, InertNamespace, numbers_of, read_torch_file
from askew_training.networks.trunks import Normalisation

WRAPPERS = ("module.", "_orig_mod.")
"""What DataParallel and torch.compile put before each name."""
AVERAGED = ("state_dict_ema", "model_ema")
PLAIN = ("state_dict", "model")


@dataclass(frozen=True)
class Contents:
    """The tensors of a file by name, and what else it says.

    `part`: the entry of the file that holds them, "" for the file itself. `meta`: what cirtorch says about a network,
    empty for other files. `arguments`: those of timm's `train.py`, empty for other files. `architecture`: the name of
    the network if the file has one.
    """

    tensors: Mapping[str, Tensor]
    part: str = ""
    meta: Mapping[str, Any] | None = None
    arguments: Mapping[str, object] | None = None
    architecture: str | None = None

    def normalisation(self) -> Normalisation | None:
        """The input normalisation that `meta` or the arguments state, None if they state none. Raises WeightsError."""
        stated = self.meta if self.meta is not None else self.arguments
        mean, std = (_three((stated or {}).get(key), key) for key in ("mean", "std"))
        if mean is None and std is None:
            return None
        if mean is None or std is None:
            raise WeightsError("The file states one of `mean` and `std`. Expected both, or none.")
        if min(std) <= 0:
            raise WeightsError(f"Expected three positive numbers as `std`, got {list(std)}. The file is damaged.")
        return Normalisation(_grey_levels(mean), _grey_levels(std))


def read_contents(path: Path, averaged: bool = True) -> Contents:
    """Read a file of weights, torch's or safetensors; nothing in it is executed.

    `averaged`: whether to prefer the averaged weights (`state_dict_ema`) to those of the last step, as timm does.
    Raises WeightsError for damaged files and for those that hold no tensors by name.
    """
    if path.suffix == ".safetensors":
        return Contents(_unwrapped(_read_safetensors(path)))
    content = read_torch_file(path, "a state dict (.pth) or a checkpoint that holds one")
    if not isinstance(content, Mapping):
        raise _no_state_dict(path)
    if is_whitening(content):
        raise WeightsError(
            f"{path} is a whitening and no network. Give it to a network: askew whiten OUT.pt --start NETWORK.pt --method "
            f"given --whitening {path}."
        )
    if {"description", "tensors"} <= content.keys():
        raise WeightsError(f"{path} is an Askew checkpoint already. Use it as it is, with `--start` or `askew export`.")
    part, tensors = _tensors_in(path, content, averaged)
    meta, arguments = content.get("meta"), content.get("args")
    values = arguments.values if isinstance(arguments, InertNamespace) else arguments
    stated = dict(values) if isinstance(values, Mapping) else None
    architecture = content.get("arch") or (stated or {}).get("model")
    return Contents(
        _unwrapped(tensors),
        part,
        dict(meta) if isinstance(meta, Mapping) else None,
        stated,
        architecture if isinstance(architecture, str) else None,
    )


def is_whitening(content: Mapping[Any, object]) -> bool:
    """Whether a file is a whitening: {m, P} of arrays, or {weight, bias} of one linear layer."""
    return {"m", "P"} <= content.keys() or set(content.keys()) == {"weight", "bias"}


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        tensors: dict[str, Tensor] = load_file(path)
    except OSError as error:
        raise WeightsError(f"Expected weights, but {path} cannot be read: {error.strerror or error}.") from None
    except (SafetensorError, *DAMAGED):
        raise WeightsError(
            f"{path} is not a safetensors file of plain tensors, or is cut off. Fetch it again."
        ) from None
    if not tensors:
        raise _no_state_dict(path)
    return tensors


def _tensors_in(path: Path, content: Mapping[Any, object], averaged: bool) -> tuple[str, Mapping[str, Tensor]]:
    parts = [part for part in (*(AVERAGED if averaged else ()), *PLAIN) if isinstance(content.get(part), Mapping)]
    part = parts[0] if parts else ""
    tensors = cast(Mapping[Any, object], content[part] if part else content)
    if not tensors or not all(isinstance(k, str) and isinstance(v, Tensor) for k, v in tensors.items()):
        raise _no_state_dict(path)
    return part, cast(Mapping[str, Tensor], tensors)


def _no_state_dict(path: Path) -> WeightsError:
    return WeightsError(
        f"{path} is not a state dict. Expected tensors by name, as in torch.save(net.state_dict()), alone or as "
        "`state_dict` or `model` of a checkpoint."
    )


def _unwrapped(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Remove the prefixes that wrappers put before all names."""
    names = list(tensors)
    while prefix := next((each for each in WRAPPERS if all(name.startswith(each) for name in names)), ""):
        names = [name.removeprefix(prefix) for name in names]
    return dict(zip(names, tensors.values(), strict=True))


def _three(value: object, key: str) -> tuple[float, float, float] | None:
    """Three numbers of a file; None if it has none."""
    if value is None:
        return None
    numbers = numbers_of(value) if isinstance(value, Tensor) else value
    numbers = numbers.tolist() if isinstance(numbers, np.ndarray) else numbers
    if isinstance(numbers, list | tuple) and len(numbers) == 3:
        values = [float(each) for each in numbers if isinstance(each, int | float | np.number)]
        if len(values) == 3 and np.isfinite(values).all():
            return values[0], values[1], values[2]
    raise WeightsError(f"Expected three numbers as `{key}`, got {_shown(value)}. The file is damaged.")


def _shown(value: object) -> str:
    return f"a tensor {list(value.shape)}" if isinstance(value, Tensor) else str(value)[:100]


def _grey_levels(values: tuple[float, float, float]) -> tuple[float, float, float]:
    return values[0] * 255, values[1] * 255, values[2] * 255
