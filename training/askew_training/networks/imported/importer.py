"""From a published file to a network of ours."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast, get_args

import numpy as np
from torch import Tensor, nn

from askew_training.errors import WeightsError
from askew_training.networks.checkpoint import Checkpoint, Description, branches_of
from askew_training.networks.imported.contents import Contents, read_contents
from askew_training.networks.imported.fitting import load_layer, load_trunk
from askew_training.networks.imported.layouts import Layout, layout_of
from askew_training.networks.names import PoolingName
from askew_training.networks.network import Branch, Network, ScaleMean
from askew_training.networks.pooling import GeM, GeMmp, RegionalGeM
from askew_training.networks.trunks import Trunk

RETRIEVAL_PHOTO_SIZE = 1024
"""The longest side of photos in the tests of cirtorch and of the AML paper."""
TRUNK_PHOTO_SIZE = 448
MOST_CHANNELS = 2**15
"""A file may state any shape without holding as many numbers."""


@dataclass(frozen=True)
class Imported:
    """A published network: its layout in words, the tensors that it does not need, and the `meta` of its file."""

    checkpoint: Checkpoint
    layout: str
    left_out: tuple[str, ...]
    meta: Mapping[str, Any]


def import_network(path: Path, trunk: str | None = None, averaged: bool = True) -> Imported:
    """Read a published network.

    A file without a pooling gets GeM with p = 3. A whitening that was trained with the network (`whiten.weight`) becomes
    its linear layer, and vectors of several scales are averaged behind it, as in cirtorch; those in `meta['Lw']` are not
    applied. `trunk`: timm's name of the network, for files that do not state it. `averaged`: as for `read_contents`.
    Raises WeightsError.
    """
    contents = read_contents(path, averaged)
    layout = layout_of(path, contents, trunk)
    trunk_of_file = Trunk(layout.trunk, contents.normalisation() or layout.normalisation)
    left_out = load_trunk(path, trunk_of_file, layout, contents.tensors)
    branch = _branch(path, contents, layout, trunk_of_file)
    linear = _linear(path, contents, branch.channels)
    network = Network([branch], linear, (1.0,), ScaleMean(behind_linear=linear is not None)).eval()
    description = Description(
        branches=branches_of(network),
        dim=None if linear is None else network.dim,
        photo_size=RETRIEVAL_PHOTO_SIZE if layout.is_retrieval else TRUNK_PHOTO_SIZE,
        scales=network.scales,
        scale_mean=network.scale_mean,
        recipe=f"imported from {path.name} (SHA-256 {_digest(path)[:16]}…), {_pooling_words(branch)}",
        data=(),
    )
    words = f"{layout.words}, its {contents.part}" if contents.part.endswith("ema") else layout.words
    return Imported(Checkpoint(network, description), words, left_out, contents.meta or {})


def _branch(path: Path, contents: Contents, layout: Layout, trunk: Trunk) -> Branch:
    width = None
    if layout.projection is not None:
        weight = contents.tensors[layout.projection]
        if weight.ndim != 4 or len(weight) > MOST_CHANNELS:
            raise WeightsError(
                f"{path}: {layout.projection} has the shape {list(weight.shape)}, expected [D, {trunk.channels}, 1, 1]."
            )
        width = weight.shape[0]
    branch = Branch(trunk, width, _pooling(path, contents))
    if branch.projection is not None and layout.projection is not None:
        load_layer(path, cast(nn.Module, branch.projection), contents.tensors, {"0.weight": layout.projection})
    if layout.is_retrieval:
        _load_pooling(path, branch, contents.tensors)
    return branch


def _pooling(path: Path, contents: Contents) -> PoolingName:
    """The pooling that a file states, or that its tensors show; GeM for a trunk alone."""
    tensors, meta = contents.tensors, contents.meta or {}
    if _is_set(meta, "local_whitening") or any(name.startswith("lwhiten.") for name in tensors):
        raise WeightsError(
            f"{path} whitens its features before they are pooled (`local_whitening`), for which there is no layer here. Import "
            "a network without it."
        )
    exponent = tensors.get("pool.p")
    shown = "gemmp" if exponent is not None and exponent.numel() > 1 else "gem"
    stated = shown if meta.get("pooling") is None else str(meta["pooling"])
    if _is_set(meta, "regional") or "pool.rpool.p" in tensors:
        if stated != "gem":
            raise WeightsError(
                f"{path} pools regions with {stated[:60]!r}. Expected gem: the only pooling of regions that can be imported."
            )
        return "rgem"
    if stated not in get_args(PoolingName):
        raise WeightsError(
            f"{path} states the pooling {stated[:60]!r}. Expected one of {', '.join(get_args(PoolingName))}."
        )
    return cast(PoolingName, stated)


def _load_pooling(path: Path, branch: Branch, tensors: Mapping[str, Tensor]) -> None:
    pool = branch.pool
    names = _pooling_names(pool)
    if unknown := [name for name in tensors if name.startswith("pool.") and name not in names.values()]:
        expected = ", ".join(names.values()) or "no tensor of it"
        raise WeightsError(f"{path} has {unknown[0]}, which the pooling {branch.pooling} has not. Expected {expected}.")
    if not names:
        return
    exponent = tensors.get(names["p"])
    own = pool.state_dict()["p"]
    if exponent is not None and exponent.numel() == own.numel():
        # cirtorch keeps a single exponent as a list of one number.
        tensors = {**tensors, names["p"]: exponent.reshape(own.shape)}
    load_layer(path, pool, tensors, names)
    smallest = float(pool.state_dict()["p"].min())
    if smallest <= 0:
        raise WeightsError(f"{path} is damaged: {names['p']} holds {smallest:g}. Expected positive exponents.")


def _pooling_names(pool: nn.Module) -> dict[str, str]:
    """cirtorch's names for the tensors of a pooling, by ours."""
    if isinstance(pool, GeM | GeMmp):
        return {"p": "pool.p"}
    if isinstance(pool, RegionalGeM):
        return {"p": "pool.rpool.p", "whiten.weight": "pool.whiten.weight", "whiten.bias": "pool.whiten.bias"}
    return {}


def _linear(path: Path, contents: Contents, channels: int) -> nn.Linear | None:
    tensors = contents.tensors
    weight = tensors.get("whiten.weight")
    if weight is None:
        if _is_set(contents.meta or {}, "whitening"):
            raise WeightsError(f"{path} states a whitening, but has no tensor whiten.weight. Fetch it again.")
        return None
    if weight.ndim != 2 or len(weight) > MOST_CHANNELS:
        raise WeightsError(f"{path}: whiten.weight has the shape {list(weight.shape)}, expected [D, {channels}].")
    linear = nn.Linear(channels, weight.shape[0])
    load_layer(path, linear, tensors, {"weight": "whiten.weight", "bias": "whiten.bias"})
    return linear


def _is_set(meta: Mapping[str, Any], flag: str) -> bool:
    value = meta.get(flag)
    return isinstance(value, bool | int | np.bool_) and bool(value)


def _pooling_words(branch: Branch) -> str:
    pool = branch.pool
    if isinstance(pool, GeM):
        return f"GeM p={float(pool.p.detach()):.4g}"
    return f"pooling {branch.pooling}"


def _digest(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
