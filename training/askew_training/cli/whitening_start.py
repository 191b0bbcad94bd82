"""What `askew whiten` starts from: checkpoints, or trunks of timm with weights."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from askew_training.data.licences import PhotoSource
    from askew_training.networks.checkpoint import Checkpoint
    from askew_training.networks.network import Network, ScaleMean

DEFAULT_PHOTO_SIZE = 448


@dataclass(frozen=True)
class Start:
    """The network to whiten, its photo size and how it was made.

    `checkpoint`: the single checkpoint that it comes from, if any. `data`: what its networks have learned from so far.
    `recipe_texts`: the recipes that they were trained by.
    """

    network: Network
    photo_size: int
    recipe: str
    checkpoint: Checkpoint | None
    data: tuple[PhotoSource, ...]
    recipe_texts: tuple[str, ...] = ()


def start_of(
    files: list[Path],
    trunks: list[str],
    weights: list[str],
    scales: tuple[float, ...] | None,
    photo_size: int | None,
) -> Start:
    """Load the network to whiten. Raises typer.BadParameter, CheckpointError, WeightsError."""
    if bool(files) == bool(trunks):
        raise typer.BadParameter("expected --start, or one --trunk or more, and not both")
    if len(trunks) != len(weights):
        raise typer.BadParameter(f"expected one for each of {len(trunks)} trunks", param_hint="--weights")
    if files:
        return _start_from_checkpoints(files, scales, photo_size)
    return _start_from_trunks(trunks, weights, scales, photo_size)


def _start_from_checkpoints(files: list[Path], scales: tuple[float, ...] | None, photo_size: int | None) -> Start:
    from askew_training.data.licences import merged_sources
    from askew_training.networks.checkpoint import load_checkpoint
    from askew_training.networks.network import Network

    checkpoints = [load_checkpoint(file) for file in files]
    first = checkpoints[0].description
    size = photo_size or first.photo_size
    data = merged_sources(*(each.description.data for each in checkpoints))
    texts = tuple(text for each in checkpoints for text in each.description.recipe_texts)
    branches = [branch for each in checkpoints for branch in each.network.branches]
    if len(files) == 1:
        start = checkpoints[0].network
        network = Network(branches, start.linear, scales or first.scales, start.scale_mean).eval()
        return Start(network, size, first.recipe, checkpoints[0], data, texts)
    # The linear layer of one of several networks sees only a part of the vector, so a new one is learned over all.
    network = Network(branches, None, scales or first.scales, _common_mean(checkpoints, scales or first.scales)).eval()
    recipe = " + ".join(f"({each.description.recipe})" for each in checkpoints)
    return Start(network, size, recipe, None, data, texts)


def _common_mean(checkpoints: list[Checkpoint], scales: tuple[float, ...]) -> ScaleMean:
    """How networks side by side average their scales. Raises WeightsError if each would do it otherwise."""
    from askew_training.errors import WeightsError
    from askew_training.networks.network import ScaleMean

    exponents = list(dict.fromkeys(each.network.scale_mean.exponent for each in checkpoints))
    if len(scales) == 1:
        return ScaleMean()
    if len(exponents) > 1:
        named = ", ".join("none" if each is None else f"{each:.4g}" for each in exponents)
        raise WeightsError(
            f"The checkpoints average their scales with different exponents: {named}. Expected one; for one scale, give --scales 1."
        )
    return ScaleMean(exponent=exponents[0])


def _start_from_trunks(
    trunks: list[str], weights: list[str], scales: tuple[float, ...] | None, photo_size: int | None
) -> Start:
    from askew_training.networks.network import Branch, Network
    from askew_training.networks.pooling import START_EXPONENT
    from askew_training.networks.weights import trunk_with_weights

    branches = [Branch(trunk_with_weights(*each)) for each in zip(trunks, weights, strict=True)]
    network = Network(branches, None, scales or (1.0,)).eval()
    recipe = f"weights {', '.join(Path(source).name for source in weights)}; GeM p={START_EXPONENT:g}"
    return Start(network, photo_size or DEFAULT_PHOTO_SIZE, recipe, None, ())
