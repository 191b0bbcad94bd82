"""Reading the whitenings published with networks: NumPy arrays in a torch file, in which nothing is executed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from askew_training.errors import WeightsError
from askew_training.heads.linear import Whitening
from askew_training.networks.torch_file import read_torch_file


def read_published_whitening(path: Path, key: str | None = None) -> Whitening:
    """Read the whitening {m: [C, 1], P: [D, C]}, x ↦ P (x − m), of a `_whitening.pth` file (Budnik & Avrithis, CVPR
    2021), or of a checkpoint that holds some in meta['Lw'] (Radenović et al., PAMI 2018).

    `key`: which of a checkpoint's whitenings, such as `retrieval-SfM-120k/ms`; needed if there are several. The map is
    scaled so that its rows have unit length on average, which does not change the unit vectors and keeps its weights
    within half precision. Raises WeightsError.
    """
    content = read_torch_file(path, "a _whitening.pth")
    found = _whitenings_in(content)
    if not found:
        raise WeightsError(f"{path} holds no whitening. Expected a dict with m and P, or a checkpoint with meta['Lw'].")
    if key is None and len(found) > 1:
        raise WeightsError(f"{path} holds {len(found)} whitenings; expected one of these names: {', '.join(found)}.")
    name = key if key is not None else next(iter(found))
    if name not in found:
        raise WeightsError(f"{path} holds no whitening {name!r}. It holds: {', '.join(found)}.")
    mean, projection = found[name]
    return _whitening(path, mean, projection)


def _whitenings_in(content: object) -> dict[str, tuple[object, object]]:
    """(m, P) by name; a whitening that is the only one of its file has the name ''."""
    if not isinstance(content, Mapping):
        return {}
    if "m" in content and "P" in content:
        return {"": (content["m"], content["P"])}
    meta = content.get("meta")
    by_set = meta.get("Lw") if isinstance(meta, Mapping) else None
    if not isinstance(by_set, Mapping):
        return {}
    return {
        f"{set_name}/{scales}": (entry["m"], entry["P"])
        for set_name, by_scales in by_set.items()
        if isinstance(by_scales, Mapping)
        for scales, entry in by_scales.items()
        if isinstance(entry, Mapping) and "m" in entry and "P" in entry
    }


def _whitening(path: Path, mean: object, projection: object) -> Whitening:
    m, p = _numbers(mean), _numbers(projection)
    if m is None or p is None or p.ndim != 2 or m.size != p.shape[1]:
        shapes = [None if array is None else list(array.shape) for array in (m, p)]
        raise WeightsError(
            f"{path}: expected m [C, 1] and P [D, C] of finite numbers, got {shapes[0]} and {shapes[1]}."
        )
    weight = p / np.sqrt((p**2).sum(axis=1).mean())
    return Whitening(weight.astype(np.float32), (-weight @ m.reshape(-1)).astype(np.float32))


def _numbers(value: object) -> NDArray[np.float64] | None:
    """Convert a tensor or an array to float64; None for anything else, and for values that are not finite."""
    array = value.numpy() if isinstance(value, torch.Tensor) else value
    if not isinstance(array, np.ndarray) or array.dtype.kind != "f" or not np.isfinite(array).all():
        return None
    return array.astype(np.float64)
