"""From a recipe to everything that the loop needs; what cannot work is refused here, before the first epoch."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from askew_client.photos import shrunk_size
from askew_training.cache.vectors import TeacherVectors
from askew_training.data.augmentation import Augmentation
from askew_training.data.batches import InstancePlan, PhotoPlan, Plan, batch_shape
from askew_training.data.findings import check_photos
from askew_training.data.photo_sets import Photo, hold_out, read_licences, sources_of, training_photos
from askew_training.data.store import PhotoStore
from askew_training.errors import RecipeError
from askew_training.networks.checkpoint import Description, PhotoSource, branches_of, load_checkpoint
from askew_training.networks.network import Network
from askew_training.train.recipe import BatchPart, Recipe
from askew_training.train.start import started_network
from askew_training.train.validation import Validation

VALIDATION_BATCHES = 8
"""Held-out batches that the validation loss is measured on, where batches are drawn by instances."""


@dataclass(frozen=True)
class PhotoSet:
    """Photos that can be read, their pixels, the shape that each is cut to, and its row among the teacher's vectors."""

    photos: list[Photo]
    store: PhotoStore
    shapes: list[tuple[int, int]]
    rows: NDArray[np.int64] | None


@dataclass(frozen=True)
class Run:
    """A recipe made ready."""

    recipe: Recipe
    network: Network
    teacher: TeacherVectors | None
    training: PhotoSet
    plan: Plan
    augmentation: Augmentation | None
    validation: Validation | None
    description: Description


def prepare(recipe: Recipe, cache: Path, say: Callable[[str], None]) -> Run:
    """Read the photos, the teacher's vectors and the network of a recipe.

    `cache`: where pooled vectors are kept that a whitening or a ridge regression is learned from. `say` takes
    sentences for a person. Raises DataError, RecipeError, CacheError, WeightsError, CheckpointError.
    """
    data = recipe.data
    listed = training_photos(data.manifest, data.photos, data.folders)
    licences = read_licences(data.licences)
    sources_of(listed, licences)
    findings = check_photos(listed, labelled=recipe.batches.instances is not None)
    for sentence in (*(f"skipped: {each}" for each in findings.left_out), *findings.warnings):
        say(sentence)
    photos = findings.usable
    teacher = TeacherVectors.open(recipe.teacher.vectors) if recipe.teacher else None
    kept, held, distractors = _split(photos, recipe)
    training = _photo_set(kept, recipe, teacher, _side(recipe))
    if data.decoded is not None:
        training.store.fill(lambda: None)
        say(training.store.complaint or f"Decoded photos are kept in {data.decoded}.")
    plan = _plan(training, recipe.batches, recipe.run.steps_each_epoch, recipe.seed)
    validation = None
    if held:
        apart = _photo_set(held + distractors, recipe, teacher, recipe.batches.photo_size)
        validation = _validation(apart, recipe, teacher)
    say(
        f"{len(training.photos)} photos to train on, {len(held)} of held-out instances and {len(distractors)} "
        "distractors to validate on."
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
        data=_merged(sources_of(training.photos, licences), before.data if before else ()),
        teacher_space=teacher.space_id if teacher else None,
    )
    return Run(recipe, network, teacher, training, plan, _augmentation(recipe), validation, description)


def _merged(now: Sequence[PhotoSource], before: Sequence[PhotoSource]) -> tuple[PhotoSource, ...]:
    """All sets that a network has learned from, now or before; of one that comes twice, the larger number."""
    by_name = {source.name: source for source in sorted((*before, *now), key=lambda source: source.photos)}
    return tuple(by_name[name] for name in sorted(by_name))


def _split(photos: Sequence[Photo], recipe: Recipe) -> tuple[list[Photo], list[Photo], list[Photo]]:
    """Photos to train on, of held-out instances, and unlabelled ones of the validation's gallery."""
    if recipe.data.held_out is None:
        return list(photos), [], []
    kept, held = hold_out(photos, recipe.data.held_out, recipe.seed)
    unlabelled = [photo for photo in kept if not photo.instance_id]
    count = min(recipe.data.validation_distractors, len(unlabelled))
    drawn: Sequence[int] = (
        np.random.default_rng(recipe.seed).choice(len(unlabelled), count, replace=False).tolist() if count else []
    )
    distractors = [unlabelled[i] for i in sorted(drawn)]
    apart = {photo.id for photo in distractors}
    return [photo for photo in kept if photo.id not in apart], held, distractors


def _side(recipe: Recipe) -> int:
    """The longest side that photos are kept at: a crop must not have to be enlarged."""
    return math.ceil(recipe.batches.photo_size / math.sqrt(recipe.augmentation.smallest_crop))


def _photo_set(photos: Sequence[Photo], recipe: Recipe, teacher: TeacherVectors | None, side: int) -> PhotoSet:
    store = PhotoStore([photo.path for photo in photos], side, recipe.data.decoded)
    shapes = [_shape(*store.shape(index), recipe.batches) for index in range(len(photos))]
    return PhotoSet(list(photos), store, shapes, None if teacher is None else _rows(photos, teacher))


def _shape(height: int, width: int, batches: BatchPart) -> tuple[int, int]:
    """The shape of a photo in its batches; (`height`, `width`) is what the store holds."""
    longest = min(batches.photo_size, round(batches.shrink * max(height, width)))
    return batch_shape(*shrunk_size(height, width, longest), batches.photo_size)


def _rows(photos: Sequence[Photo], teacher: TeacherVectors) -> NDArray[np.int64]:
    known = {name: row for row, name in enumerate(teacher.ids)}
    missing = [photo.id for photo in photos if photo.id not in known]
    if missing:
        raise RecipeError(
            f"The teacher's vectors in {teacher.folder} lack {len(missing)} of {len(photos)} photos, such as "
            f"{missing[0]}. Describe the photos of this recipe: askew cache."
        )
    return np.array([known[photo.id] for photo in photos], dtype=np.int64)


def _plan(photos: PhotoSet, batches: BatchPart, batches_each_epoch: int | None, seed: int) -> Plan:
    if batches.photos is not None:
        return PhotoPlan(photos.shapes, batches.photos, seed)
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


def _validation(apart: PhotoSet, recipe: Recipe, teacher: TeacherVectors | None) -> Validation:
    pairs = len({photo.instance_id for photo in apart.photos if photo.instance_id})
    batches = recipe.batches
    if batches.instances is not None:
        batches = batches.model_copy(update={"instances": min(batches.instances, pairs), "unlabelled": 0})
    drawn = _plan(apart, batches, VALIDATION_BATCHES, recipe.seed).epoch(0)
    rows = None if teacher is None or apart.rows is None else teacher.rows(apart.rows)
    return Validation(apart.photos, apart.store, apart.shapes, rows, drawn, 32)


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
