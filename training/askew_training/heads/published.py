"""Reading the whitenings published with networks: NumPy arrays in a torch file, in which nothing is executed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from askew_training.errors import WeightsError
from askew_training.heads.linear import Whitening
from askew_training.networks.torch_file import numbers_of, read_torch_file


@dataclass(frozen=True)
class PublishedWhitening:
    """A whitening, and whether its authors average the vectors of several scales behind it and not before it."""

    whitening: Whitening
    behind_linear: bool


def read_published_whitening(path: Path, key: str | None = None) -> PublishedWhitening:
    """Read a published whitening:

    - {m: [C, 1], P: [D, C]}, x ↦ P (x − m), of a `_whitening.pth` file (Budnik & Avrithis, CVPR 2021);
    - one of those that a checkpoint holds in meta['Lw'] (Radenović et al., PAMI 2018);
    - {weight: [D, C], bias: [D]}, the layer that cirtorch trains with its networks.

    `key`: which of a checkpoint's whitenings, such as `retrieval-SfM-120k/ms`; needed if there are several. The map is
    scaled so that its rows have unit length on average, which does not change the unit vectors and keeps its weights
    within half precision. Raises WeightsError.
    """
    content = read_torch_file(path, "a _whitening.pth")
    if isinstance(content, Mapping) and {"weight", "bias"} == content.keys() and key is None:
        return PublishedWhitening(_layer(path, content["weight"], content["bias"]), behind_linear=True)
    found = whitenings_in(content)
    if not found:
        raise WeightsError(f"{path} holds no whitening. Expected a dict with m and P, or a checkpoint with meta['Lw'].")
    if key is None and len(found) > 1:
        raise WeightsError(f"{path} holds {len(found)} whitenings; expected one of these names: {', '.join(found)}.")
    name = key if key is not None else next(iter(found))
    if name not in found:
        raise WeightsError(f"{path} holds no whitening {name!r}. It holds: {', '.join(found)}.")
    return PublishedWhitening(_whitening(path, *found[name]), behind_linear=False)


def whitenings_in(content: object) -> dict[str, tuple[object, object]]:
    """List the pairs (m, P) of a file's content by name; a whitening that is the only one of its file has the name ''."""
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
    return _scaled(path, p, -p @ m.reshape(-1))


def _layer(path: Path, weight: object, bias: object) -> Whitening:
    w, b = _numbers(weight), _numbers(bias)
    if w is None or b is None or w.ndim != 2 or b.shape != (len(w),):
        shapes = [None if array is None else list(array.shape) for array in (w, b)]
        raise WeightsError(
            f"{path}: expected weight [D, C] and bias [D] of finite numbers, got {shapes[0]} and {shapes[1]}."
        )
    return _scaled(path, w, b)


def _scaled(path: Path, weight: NDArray[np.float64], bias: NDArray[np.float64]) -> Whitening:
    with np.errstate(all="ignore"):
        length = np.sqrt((weight**2).sum(axis=1).mean())
        whitening = Whitening((weight / length).astype(np.float32), (bias / length).astype(np.float32))
    if not (0 < length < np.inf and np.isfinite(whitening.weight).all() and np.isfinite(whitening.bias).all()):
        raise WeightsError(f"{path} is damaged: its whitening has no finite scale. Fetch it again.")
    return whitening


def _numbers(value: object) -> NDArray[np.float64] | None:
    """Convert a tensor or an array to float64; None for anything else, and for values that are not finite."""
    if isinstance(value, torch.Tensor):
        value = numbers_of(value) if value.is_floating_point() else None
    array = value
    if not isinstance(array, np.ndarray) or array.dtype.kind != "f" or not np.isfinite(array).all():
        return None
    return array.astype(np.float64)
