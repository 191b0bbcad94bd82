"""The network that a recipe starts from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from askew_training.data.photo_sets import Photo
from askew_training.errors import RecipeError
from askew_training.heads import learn_whitening
from askew_training.heads.pooled import describe_pooled
from askew_training.heads.ridge import refit_linear
from askew_training.networks.checkpoint import load_checkpoint
from askew_training.networks.network import Branch, Network, ScaleMean
from askew_training.networks.weights import trunk_with_weights
from askew_training.train.recipe import Recipe
from askew_training.vectors.teacher_vectors import TeacherVectors


def build_initial_network(
    recipe: Recipe,
    photos: Sequence[Photo],
    teacher: TeacherVectors | None,
    rows: NDArray[np.int64] | None,
    cache: Path,
    say: Callable[[str], None],
) -> Network:
    """Build a recipe's network with its weights and its head, at one scale.

    A whitening or a ridge regression is learned from what the network pools from the training `photos`, at the photo
    size of the training; `cache` is the folder for these vectors. `rows`: the photos' rows among the teacher's vectors.
    """
    table = recipe.network
    torch.manual_seed(recipe.seed)
    if table.checkpoint is not None:
        loaded = load_checkpoint(table.checkpoint).network
        is_kept = table.head == "kept"
        network = Network(
            loaded.branches,
            loaded.linear,
            (1.0,),
            loaded.scale_mean if is_kept else ScaleMean(exponent=loaded.scale_mean.exponent),
        )
    else:
        assert table.trunk is not None and table.weights is not None
        network = Network(
            [Branch(trunk_with_weights(table.trunk, table.weights), table.projection, table.pooling or "gem")]
        )
    if table.head == "kept" and network.linear is None:
        raise RecipeError(f"{table.checkpoint} has no linear layer to keep. Choose another `head`.")
    if table.head == "none":
        network.linear = None
    elif table.head == "random":
        network.linear = nn.Linear(network.channels, table.dim or 0)
    elif table.head in ("whitening", "ridge"):
        network.linear = _learn_head(recipe, network, photos, teacher, rows, cache, say)
    return network


def _learn_head(
    recipe: Recipe,
    network: Network,
    photos: Sequence[Photo],
    teacher: TeacherVectors | None,
    rows: NDArray[np.int64] | None,
    cache: Path,
    say: Callable[[str], None],
) -> nn.Linear:
    size = recipe.batches.photo_size
    say(f"Describing {len(photos)} photos at {size} px to learn the head from.")
    # Without a progress bar: it takes a minute at most.
    pooled = describe_pooled(network, size, [photo.path for photo in photos], cache, lambda: None).vectors
    described = [index for index, photo in enumerate(photos) if photo.path in pooled]
    vectors = np.stack([pooled[photos[index].path] for index in described])
    if recipe.network.head == "whitening":
        return learn_whitening(vectors, recipe.network.dim or 0, recipe.network.whitening_power).as_layer()
    assert teacher is not None and rows is not None
    targets = teacher.rows(rows[described])
    start = network.linear
    if start is None or start.out_features != targets.shape[1]:
        start = nn.Linear(vectors.shape[1], targets.shape[1])
        nn.init.zeros_(start.weight)
        nn.init.zeros_(start.bias)
    return refit_linear(start, vectors, targets, recipe.network.ridge)
