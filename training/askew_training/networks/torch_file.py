"""Reading files of tensors. Nothing in them is executed."""

from __future__ import annotations

import io
import pickle
import re
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from askew_training.data.pickles import array_substitutes, built_by_arrays
from askew_training.errors import WeightsError

DAMAGED = (
    pickle.UnpicklingError,
    ArithmeticError,
    AssertionError,
    AttributeError,
    EOFError,
    ImportError,
    LookupError,
    MemoryError,
    RuntimeError,
    TypeError,
    ValueError,
)
"""What `torch.load`, and picking parts out of its result, raise for a damaged file or a file of another kind."""

PATHS = ("PosixPath", "WindowsPath", "PurePosixPath", "PureWindowsPath")
REFUSED_NAME = re.compile(r"GLOBAL (\S+)")
"""How torch's message names what it refused."""

WAY_OUT = (
    'import torch; c = torch.load("FILE", map_location="cpu", weights_only=False); '
    'torch.save(c.state_dict() if hasattr(c, "state_dict") else '
    '{k: c[k] for k in ("meta", "arch", "state_dict", "model") if k in c} or c, "tensors.pth")'
)
"""Lines of Python that keep the tensors of a file, whose other content this reader refuses."""


class InertNamespace:
    """Stands for an `argparse.Namespace`: the values that a pickle gives it, and no behaviour."""

    def __init__(self) -> None:
        self.values: dict[str, object] = {}

    def __setstate__(self, state: object) -> None:
        if not isinstance(state, dict):
            raise pickle.UnpicklingError("expected the values of a namespace")
        self.values = dict(state)


def read_torch_file(path: Path, expected: str) -> object:
    """Read a torch file of tensors, plain values, NumPy arrays and scalars, paths, and namespaces of arguments.

    `expected`: what the file should hold, for the message. Of the names that a pickle may refer to, torch resolves those
    of tensors; those of arrays, paths and `argparse.Namespace` resolve to stand-ins that only keep what they are given.
    Any other name is refused before anything is called. Raises WeightsError.
    """
    try:
        with torch.serialization.safe_globals(_stand_ins()), warnings.catch_warnings():
            # torch warns of other pickle protocols and of the checks that it makes.
            warnings.simplefilter("ignore")
            # Read here: torch reports a file that is cut off as an OSError, too.
            return torch.load(io.BytesIO(path.read_bytes()), map_location="cpu", weights_only=True)
    except OSError as error:
        raise WeightsError(f"Expected {expected}, but {path} cannot be read: {error.strerror or error}.") from None
    except DAMAGED as error:
        raise WeightsError(_refusal(path, expected, str(error))) from None


def numbers_of(tensor: Tensor) -> NDArray[np.float64] | None:
    """The real numbers of a tensor as float64 [same shape]; None if it holds others, or none that can be read: a file may
    hold a tensor that is sparse, quantised or without data."""
    is_plain = tensor.layout is torch.strided and not tensor.is_quantized and not tensor.is_meta
    if not is_plain or tensor.is_complex():
        return None
    try:
        return np.asarray(tensor.detach().double().numpy(), dtype=np.float64)
    except (RuntimeError, TypeError, NotImplementedError):
        # Kinds that torch cannot convert.
        return None


def _refusal(path: Path, expected: str, message: str) -> str:
    name = REFUSED_NAME.search(message)
    if name is None:
        return (
            f"{path} is not a torch file of plain tensors, or is cut off. Expected {expected}. Fetch it again, or write it again "
            "with torch.save."
        )
    return (
        f"{path} is not a torch file of plain tensors: it refers to {name[1].rstrip('.')}, which was refused, and nothing was "
        f"executed. Expected {expected}. If you trust the file, save what is needed of it with these lines, and use "
        f"tensors.pth: {WAY_OUT}"
    )


def _stand_ins() -> list[Callable[..., object] | tuple[Callable[..., object], str]]:
    named: Mapping[str, Callable[..., object]] = {
        **array_substitutes(),
        "argparse.Namespace": InertNamespace,
        **{f"{module}.{name}": _path_text for module in ("pathlib", "pathlib._local") for name in PATHS},
    }
    # A pickle gives these types a state, but cannot name them: every name in a pickle has a dot.
    built = [(each, each.__name__) for each in built_by_arrays()]
    return [*((stand_in, name) for name, stand_in in named.items()), *built]


def _path_text(*parts: object) -> str:
    return "/".join(map(str, parts))
