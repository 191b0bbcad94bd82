"""From a recipe to everything that the loop needs. A run that cannot work is refused here, before the first epoch."""

from __future__ import annotations

import hashlib
import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from accelerate import PartialState
from numpy.typing import NDArray

from askew_client.cli.taken import Intake
from askew_training.data.augmentation import Augmentation
from askew_training.data.batches import InstancePlan, PhotoPlan, Plan
from askew_training.data.licences import merged_sources, read_licences, sources_of
from askew_training.data.pairs import PairedPhotos
from askew_training.errors import RecipeError
from askew_training.losses.base import Anchors
from askew_training.losses.prototype import prototypes_of
from askew_training.losses.registry import AnyLossTable
from askew_training.networks.checkpoint import Description, branches_of, load_checkpoint
from askew_training.networks.network import Network
from askew_training.train.batch import Targets
from askew_training.train.matching.showing import (
    at_read_size,
    at_the_students_ratio,
    plan_views,
    read_size_of,
    store_views,
)
from askew_training.train.matching.stored import StoredViews
from askew_training.train.matching.teachers import ViewTeacher
from askew_training.train.matching.views import ViewPlan
from askew_training.train.photos import PhotoSet, RunPhotos, read_photos, training_set, validation_set
from askew_training.train.precision import NO_FAST_BF16, Precision, choose_precision, processor_has_fast_bf16
from askew_training.train.recipe import Recipe
from askew_training.train.recipe_tables import BatchTable
from askew_training.train.start.initial_network import build_initial_network
from askew_training.train.start.margins import own_vectors, similarities_of, with_margins
from askew_training.train.start.whole_vectors import network_of_teacher, whole_vectors
from askew_training.train.tuples import TupleMiner, VectorsOf
from askew_training.train.upkeep.heartbeat import Doing, tell_nobody
from askew_training.train.validation import Validation, instance_numbers
from askew_training.train.weighted_sum import WeightedSum, weighted_sum
from askew_training.vectors.neighbours import nearest_rows
from askew_training.vectors.teacher_vectors import TeacherVectors

VALIDATION_BATCHES = 8
"""Held-out batches that the validation loss is measured on, if batches are drawn by instances or tuples."""


@dataclass(frozen=True)
class Run:
    """A recipe with everything that it names.

    `source`: the plan that its batches are drawn by, or the miner of their tuples. `views`: which views are read, and shown at
    which size. `view_teacher`: describes them, None if the teacher's vectors are of whole photos; `stored_views`: its vectors
    of fixed views. `precision`: what it computes in. `intake`: which photos and lines were taken, and which were not.
    `on_gpu`: whether batches are made as a GPU wants them: in few shapes, with views that the device computes.
    """

    recipe: Recipe
    network: Network
    losses: WeightedSum
    training: PhotoSet
    targets: Targets | None
    source: Plan | TupleMiner
    views: ViewPlan
    view_teacher: ViewTeacher | None
    stored_views: StoredViews | None
    augmentation: Augmentation | None
    validation: Validation | None
    description: Description
    precision: Precision
    intake: Intake
    on_gpu: bool

    @property
    def photos_in_batch(self) -> int:
        """The photos in a full batch that go through the network."""
        batches, mining = self.recipe.batches, self.recipe.mining
        if mining is not None and self.recipe.side == "student":
            return batches.anchors * (2 + mining.negatives)
        return batches.anchors

    @property
    def batches_each_epoch(self) -> int:
        """The number of batches in an epoch, over all processes."""
        if isinstance(self.source, TupleMiner):
            return math.ceil(self.source.count / (self.recipe.batches.tuples or 1))
        return len(self.source.epoch(0))


def prepare(
    recipe: Recipe,
    cache: Path,
    say: Callable[[str], None],
    has_fast_bf16: bool | None = None,
    text: str | None = None,
    on_gpu: bool | None = None,
    doing: Doing = tell_nobody,
) -> Run:
    """Read the photos, the teacher's vectors and the network of a recipe.

    `cache`: the folder for pooled vectors that a whitening or a ridge regression is learned from, and for what a teacher
    describes when the run starts. `say` is called with sentences for a person. `has_fast_bf16`: whether the processor has
    fast bf16; None asks torch. `text`: of the recipe's file, for the checkpoints; their description names its SHA-256.
    `on_gpu`: whether batches are made for a GPU; None asks torch. `doing`: is told what goes on.
    Raises DataError, RecipeError, CacheError, WeightsError, CheckpointError.
    """
    on_gpu = PartialState().device.type == "cuda" if on_gpu is None else on_gpu
    doing("listing the photos")
    licences = read_licences(recipe.data.licences)
    photos = read_photos(recipe, say)
    sources = sources_of(photos.training, licences)
    teacher, view_teacher = None, None
    if recipe.teacher is not None:
        teacher_network = network_of_teacher(recipe.teacher)
        photos, teacher = whole_vectors(recipe.teacher, teacher_network, photos, cache, say)
        view_teacher = teacher_network if recipe.matches_views else None
    read_size = read_size_of(recipe, view_teacher)
    doing(f"reading the headers of {len(photos.training):,} photos")
    training = training_set(photos.training, at_read_size(recipe, read_size), teacher, on_gpu)
    if recipe.data.decoded is not None:
        decoded = itertools.count(1)
        training.store.fill(lambda: doing(f"decoding photos: {next(decoded):,} of {len(training.photos):,}"))
        say(training.store.complaint or f"Decoded photos are stored in {recipe.data.decoded}.")
    plan = _plan(training, recipe.batches, recipe.run.steps_each_epoch, recipe.seed)
    losses = _losses(recipe, recipe.losses, training, teacher)
    targets = None if teacher is None or training.rows is None else _targets(recipe, training, teacher, losses)
    if view_teacher is not None and not losses.reads("teachers"):
        raise RecipeError(
            "The teacher describes views, but no loss reads its vector of a view. Add a loss such as regression, or name "
            "`vectors` in [teacher] in place of `encoder`."
        )
    source = _miner(recipe, training, targets, photos.pairs) if plan is None else plan
    say(
        f"{len(training.photos)} photos to train on, {len(photos.held_out)} of held-out instances and "
        f"{len(photos.distractors)} distractors to validate on."
    )
    doing("making the network")
    network = build_initial_network(recipe, training.photos, teacher, training.rows, cache, say)
    if teacher is not None:
        _check_target(network, teacher)
    instances = instance_numbers(training.photos).numpy()
    tables = with_margins(
        recipe.losses,
        lambda: similarities_of(source, instances, _vectors_at_start(recipe, training, targets, network, cache)),
        say,
    )
    if tables != recipe.losses:
        losses = _losses(recipe, tables, training, teacher)
    augmentation = _augmentation(recipe)
    views = plan_views(recipe, training, read_size)
    stored = None
    if view_teacher is not None and views.fixed is not None:
        stored = store_views(views, view_teacher, training, augmentation, cache, say)
    before = load_checkpoint(recipe.network.checkpoint).description if recipe.network.checkpoint else None
    step = f"askew train {recipe.name}"
    if text is not None:
        step += f" (recipe SHA-256 {hashlib.sha256(text.encode()).hexdigest()})"
    description = Description(
        branches=branches_of(network),
        dim=None if network.linear is None else network.dim,
        photo_size=recipe.encoder.photo_size,
        scales=recipe.encoder.scales,
        scale_mean=network.scale_mean,
        recipe=f"{before.recipe}; {step}" if before else step,
        data=merged_sources(sources, before.data if before else ()),
        teacher_space=teacher.space_id if teacher else None,
        recipe_texts=(*(before.recipe_texts if before else ()), *([] if text is None else [text])),
    )
    return Run(
        recipe=recipe,
        network=network,
        losses=losses,
        training=training,
        targets=targets,
        source=source,
        views=views,
        view_teacher=view_teacher,
        stored_views=stored,
        augmentation=augmentation,
        validation=_validation(photos, at_the_students_ratio(recipe, read_size), teacher, targets, on_gpu),
        description=description,
        precision=_precision(recipe, has_fast_bf16, say),
        intake=photos.intake,
        on_gpu=on_gpu,
    )


def _precision(recipe: Recipe, has_fast_bf16: bool | None, say: Callable[[str], None]) -> Precision:
    wanted = recipe.run.precision
    if has_fast_bf16 is None:
        has_fast_bf16 = processor_has_fast_bf16()
    precision = choose_precision(wanted, PartialState().device.type, has_fast_bf16)
    if precision != wanted:
        say(NO_FAST_BF16)
    return precision


def _plan(photos: PhotoSet, batches: BatchTable, batches_each_epoch: int | None, seed: int) -> Plan | None:
    """The plan of batches drawn by photos or instances; None for tuples."""
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


def _losses(
    recipe: Recipe, tables: Sequence[AnyLossTable], training: PhotoSet, teacher: TeacherVectors | None
) -> WeightedSum:
    def teacher_vectors() -> NDArray[np.float32]:
        assert teacher is not None and training.rows is not None
        return teacher.rows(training.rows)

    kinds: tuple[Anchors, ...] = ("all", "labelled", "unlabelled")
    anchors = {kind: recipe.batches.anchors_on(kind) for kind in kinds}
    return weighted_sum(tables, anchors, teacher_vectors, recipe.seed)


def _vectors_at_start(
    recipe: Recipe, training: PhotoSet, targets: Targets | None, network: Network, cache: Path
) -> VectorsOf:
    """The vectors that margins are found with: the teacher's, or the network's own before its first step."""
    if targets is not None:
        return targets.vectors
    return own_vectors(network, recipe.batches.photo_size, [photo.path for photo in training.photos], cache)


def _targets(recipe: Recipe, training: PhotoSet, teacher: TeacherVectors, losses: WeightedSum) -> Targets:
    assert training.rows is not None
    count = max(table.teacher_neighbours for table in recipe.losses)
    neighbours = nearest_rows(teacher, count) if count else None
    if not losses.reads("prototypes"):
        return Targets(teacher, training.rows, neighbours)
    numbers: dict[str, int] = {}
    instances = [photo.instance_id for photo in training.photos]
    classes = torch.tensor([numbers.setdefault(name, len(numbers)) if name else -1 for name in instances])
    prototypes = prototypes_of(torch.from_numpy(teacher.rows(training.rows)), classes)
    return Targets(teacher, training.rows, neighbours, prototypes, classes)


def _miner(recipe: Recipe, training: PhotoSet, targets: Targets | None, pairs: PairedPhotos | None) -> TupleMiner:
    assert recipe.mining is not None and recipe.side is not None
    if pairs is not None:
        pairs.once()  # Refuses photos without any pair here, and not in the first epoch.
    clusters = instance_numbers(training.photos).numpy()
    teacher = targets.vectors if targets is not None else None
    return TupleMiner(recipe.mining, recipe.side, pairs, clusters, teacher, recipe.seed)


def _validation(
    photos: RunPhotos, recipe: Recipe, teacher: TeacherVectors | None, targets: Targets | None, on_gpu: bool
) -> Validation | None:
    if not photos.held_out:
        return None
    held_out = validation_set([*photos.held_out, *photos.distractors], recipe, teacher, on_gpu)
    batches = recipe.batches
    if batches.photos is None:
        # Batches by instance, also for tuples: pairs are then the held-out photos of one instance.
        count = len({photo.instance_id for photo in held_out.photos if photo.instance_id})
        groups = max(2, min(batches.instances or 16, count))
        batches = batches.model_copy(update={"instances": groups, "tuples": None, "unlabelled": 0})
    plan = _plan(held_out, batches, None if batches.photos else VALIDATION_BATCHES, recipe.held_out_seed)
    assert plan is not None
    held_out_targets = None
    if targets is not None and teacher is not None and held_out.rows is not None:
        no_classes = None if targets.classes is None else torch.full((len(held_out.photos),), -1)
        held_out_targets = Targets(teacher, held_out.rows, targets.neighbours, targets.prototypes, no_classes)
    return Validation(held_out.photos, held_out.store, held_out.shapes, held_out_targets, plan.epoch(0))


def _augmentation(recipe: Recipe) -> Augmentation | None:
    settings = Augmentation(**recipe.augmentation.model_dump(exclude={"mix"}))
    changes_photos = settings.moves or settings.colour or settings.blur or settings.glare
    return settings if changes_photos else None


def _check_target(network: Network, teacher: TeacherVectors) -> None:
    if network.dim != teacher.dim:
        raise RecipeError(
            f"The network has {network.dim} dimensions and its teacher {teacher.dim}. Give the network a head or a "
            f"projection of {teacher.dim} dimensions."
        )
    some = teacher.rows(np.arange(min(len(teacher), 256)))
    if network.linear is None and float(some.min()) < -1e-3:
        raise RecipeError(
            "The teacher's vectors have signs (they are whitened) and the network's are never negative, which keeps "
            'their cosine below 0.71. Give the network a linear layer: head = "ridge" or "random".'
        )
