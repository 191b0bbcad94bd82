"""From a recipe to everything that the loop needs; what cannot work is refused here, before the first epoch."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from askew_training.data.augmentation import Augmentation
from askew_training.data.batches import InstancePlan, PhotoPlan, Plan
from askew_training.data.pairs import PairedPhotos
from askew_training.data.photo_sets import read_licences, sources_of
from askew_training.errors import RecipeError
from askew_training.losses.centroids import learn_centroids
from askew_training.losses.prototype import prototypes_of
from askew_training.networks.checkpoint import Description, branches_of, load_checkpoint, merged_sources
from askew_training.networks.network import Network
from askew_training.train.initial_network import started_network
from askew_training.train.loss_tables import ContextualPart, PrototypePart, StructurePart
from askew_training.train.photos import PhotoSet, training_set, validation_set
from askew_training.train.recipe import Recipe
from askew_training.train.recipe_tables import BatchPart
from askew_training.train.sources import RunPhotos, photos_of
from askew_training.train.targets import Targets
from askew_training.train.tuples import TupleMiner
from askew_training.train.validation import Validation, instance_numbers
from askew_training.train.weighted_sum import WeightedSum, weighted_sum
from askew_training.vectors.nearest import nearest_rows
from askew_training.vectors.teacher_vectors import TeacherVectors

VALIDATION_BATCHES = 8
"""Held-out batches that the validation loss is measured on, where batches are drawn by instances or tuples."""


@dataclass(frozen=True)
class Run:
    """A recipe made ready. Its batches come from `plan`, or from the tuples of `miner`."""

    recipe: Recipe
    network: Network
    losses: WeightedSum
    training: PhotoSet
    targets: Targets | None
    plan: Plan | None
    miner: TupleMiner | None
    augmentation: Augmentation | None
    validation: Validation | None
    description: Description

    @property
    def batches_each_epoch(self) -> int:
        """How many batches an epoch has, of all processes."""
        if self.miner is not None:
            return math.ceil(self.miner.count / (self.recipe.batches.tuples or 1))
        assert self.plan is not None
        return len(self.plan.epoch(0))


def prepare(recipe: Recipe, cache: Path, say: Callable[[str], None]) -> Run:
    """Read the photos, the teacher's vectors and the network of a recipe.

    `cache`: where pooled vectors are kept that a whitening or a ridge regression is learned from. `say` takes
    sentences for a person. Raises DataError, RecipeError, CacheError, WeightsError, CheckpointError.
    """
    licences = read_licences(recipe.data.licences)
    photos = photos_of(recipe, say)
    sources = sources_of(photos.training, licences)
    teacher = TeacherVectors.open(recipe.teacher.vectors) if recipe.teacher else None
    training = training_set(photos.training, recipe, teacher)
    if recipe.data.decoded is not None:
        training.store.fill(lambda: None)
        say(training.store.complaint or f"Decoded photos are kept in {recipe.data.decoded}.")
    plan = _plan(training, recipe.batches, recipe.run.steps_each_epoch, recipe.seed)
    losses = _losses(recipe, training, teacher)
    targets = None if teacher is None or training.rows is None else _targets(recipe, training, teacher, training.rows)
    miner = _miner(recipe, training, targets, photos.pairs)
    say(
        f"{len(training.photos)} photos to train on, {len(photos.held_out)} of held-out instances and "
        f"{len(photos.distractors)} distractors to validate on."
    )
    network = started_network(recipe, training.photos, teacher, training.rows, cache, say)
    if teacher is not None:
        _check_target(network, teacher)
    before = load_checkpoint(recipe.network.checkpoint).description if recipe.network.checkpoint else None
    done = f"askew train {recipe.name}"
    description = Description(
        branches=branches_of(network),
        dim=None if network.linear is None else network.dim,
        photo_size=recipe.encoder.photo_size,
        scales=recipe.encoder.scales,
        recipe=f"{before.recipe}; {done}" if before else done,
        data=merged_sources(sources, before.data if before else ()),
        teacher_space=teacher.space_id if teacher else None,
    )
    validation = _validation(photos, recipe, teacher, targets)
    return Run(recipe, network, losses, training, targets, plan, miner, _augmentation(recipe), validation, description)


def _plan(photos: PhotoSet, batches: BatchPart, batches_each_epoch: int | None, seed: int) -> Plan | None:
    if batches.tuples is not None:
        return None
    if batches.photos is not None:
        return PhotoPlan(photos.shapes, batches.photos, seed, batches_each_epoch)
    by_instance: dict[str, list[int]] = {}
    for index, photo in enumerate(photos.photos):
        if photo.instance_id:
            by_instance.setdefault(photo.instance_id, []).append(index)
    return InstancePlan(
        by_instance,
        [index for index, photo in enumerate(photos.photos) if not photo.instance_id],
        instances=batches.instances or 0,
        photos_each=batches.photos_each,
        unlabelled_each_batch=batches.unlabelled,
        views=batches.views,
        batches_each_epoch=batches_each_epoch or 0,
        seed=seed,
    )


def _losses(recipe: Recipe, training: PhotoSet, teacher: TeacherVectors | None) -> WeightedSum:
    def centroids(part: StructurePart) -> NDArray[np.float32]:
        assert teacher is not None and training.rows is not None
        return learn_centroids(teacher.rows(training.rows), part.subspaces, part.bits, seed=recipe.seed)

    return weighted_sum(recipe.losses, recipe.batches.anchors, centroids)


def _targets(recipe: Recipe, training: PhotoSet, teacher: TeacherVectors, rows: NDArray[np.int64]) -> Targets:
    counts = [
        part.neighbours or 0 for part in recipe.losses if isinstance(part, ContextualPart) and part.among == "all"
    ]
    neighbours = nearest_rows(teacher, max(counts)) if counts else None
    if not any(isinstance(part, PrototypePart) for part in recipe.losses):
        return Targets(teacher, rows, neighbours)
    known: dict[str, int] = {}
    instances = [photo.instance_id for photo in training.photos]
    classes = torch.tensor([known.setdefault(name, len(known)) if name else -1 for name in instances])
    prototypes = prototypes_of(torch.from_numpy(teacher.rows(rows)), classes)
    return Targets(teacher, rows, neighbours, prototypes, classes)


def _miner(
    recipe: Recipe, training: PhotoSet, targets: Targets | None, pairs: PairedPhotos | None
) -> TupleMiner | None:
    if recipe.mining is None or recipe.side is None:
        return None
    if pairs is not None:
        pairs.once()  # Without any pair this is refused here, and not in the first epoch.
    clusters = instance_numbers(training.photos).numpy()
    teacher = targets.vectors if targets is not None else None
    return TupleMiner(recipe.mining, recipe.side, pairs, clusters, teacher, recipe.seed)


def _validation(
    photos: RunPhotos, recipe: Recipe, teacher: TeacherVectors | None, targets: Targets | None
) -> Validation | None:
    if not photos.held_out:
        return None
    apart = validation_set([*photos.held_out, *photos.distractors], recipe, teacher)
    batches = recipe.batches
    if batches.photos is None:
        # Pairs are those of held-out instances, whoever the references of the training are.
        count = len({photo.instance_id for photo in apart.photos if photo.instance_id})
        groups = max(2, min(batches.instances or 16, count))
        batches = batches.model_copy(update={"instances": groups, "tuples": None, "unlabelled": 0})
    plan = _plan(apart, batches, None if batches.photos else VALIDATION_BATCHES, recipe.seed)
    assert plan is not None
    of_apart = None
    if targets is not None and teacher is not None and apart.rows is not None:
        unknown = None if targets.classes is None else torch.full((len(apart.photos),), -1)
        of_apart = Targets(teacher, apart.rows, targets.neighbours, targets.prototypes, unknown)
    return Validation(apart.photos, apart.store, apart.shapes, of_apart, plan.epoch(0))


def _augmentation(recipe: Recipe) -> Augmentation | None:
    how = Augmentation(**recipe.augmentation.model_dump())
    return how if how.moves or how.colour or how.blur or how.glare else None


def _check_target(network: Network, teacher: TeacherVectors) -> None:
    if network.dim != teacher.dim:
        raise RecipeError(
            f"The network has {network.dim} dimensions and its teacher {teacher.dim}. Give it a head or a projection of "
            f"{teacher.dim}."
        )
    some = teacher.rows(np.arange(min(len(teacher), 256)))
    if network.linear is None and float(some.min()) < -1e-3:
        raise RecipeError(
            "The teacher's vectors have signs (they are whitened) and the network's are never negative, which keeps "
            'their cosine below 0.71. Give the network a linear layer: head = "ridge" or "random".'
        )
