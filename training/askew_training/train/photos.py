"""The photos of a run: which a recipe names, which of them are trained and validated on, and how each is cut."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from askew_client.cli.taken import Intake
from askew_client.encoding.photos import shrunk_size
from askew_training.data.batches import batch_shape, few_shapes, nearest_shape
from askew_training.data.findings import check_photos
from askew_training.data.landmarks import read_landmarks
from askew_training.data.pairs import PairedPhotos, pairs_within_instances
from askew_training.data.photo_sets import Photo, hold_out, photos_in, training_photos
from askew_training.data.sfm120k import read_sfm120k
from askew_training.data.store import PhotoStore
from askew_training.errors import RecipeError
from askew_training.train.recipe import Recipe
from askew_training.train.recipe_tables import BatchTable
from askew_training.vectors.teacher_vectors import TeacherVectors


@dataclass(frozen=True)
class RunPhotos:
    """Photos to train on, photos of held-out instances, and unlabelled photos for the gallery of the validation.

    `pairs`: which of the photos to train on show the same, by index; None if the run does not draw tuples by labels.
    `intake`: how many photos and lines were taken, and which were not.
    """

    training: list[Photo]
    held_out: list[Photo]
    distractors: list[Photo]
    pairs: PairedPhotos | None
    intake: Intake


@dataclass(frozen=True)
class PhotoSet:
    """Photos that can be read, their pixels, the shape that each is cut to, and their rows among the teacher's vectors
    (None without a teacher). `sides`: (height, width) that each would have in its batch if nothing were cut off.
    `allowed`: the shapes that batches of views computed on a GPU may have."""

    photos: list[Photo]
    store: PhotoStore
    shapes: list[tuple[int, int]]
    sides: list[tuple[int, int]]
    allowed: tuple[tuple[int, int], ...]
    rows: NDArray[np.int64] | None


def read_photos(recipe: Recipe, say: Callable[[str], None]) -> RunPhotos:
    """List the photos that a recipe names, and check them; `say` is called with warnings. Raises DataError."""
    data, intake = recipe.data, Intake()
    needs_pairs = recipe.mining is not None and recipe.mining.choose != "teacher-ranked"
    if data.sfm120k is not None:
        listed = read_sfm120k(data.sfm120k.pickle, data.sfm120k.images, "train")
        validation = read_sfm120k(data.sfm120k.pickle, data.sfm120k.images, "val")
        unlabelled = [photo for folder in data.photos for photo in photos_in(folder, intake)]
        training = _usable([*listed.photos, *unlabelled], recipe, say, intake)
        held_out = _usable(validation.photos, recipe, say, intake)
        return RunPhotos(training, held_out, [], listed.among(training) if needs_pairs else None, intake)
    chosen: list[Photo] = []
    if data.landmarks is not None:
        chosen += read_landmarks(data.landmarks.csv, data.landmarks.images, None, intake).photos
    if data.manifest or data.folders or data.photos:
        chosen += training_photos(data.manifest, data.photos, data.folders, intake)
    training, held_out, distractors = _split(_usable(chosen, recipe, say, intake), recipe)
    pairs = pairs_within_instances(training) if needs_pairs else None
    return RunPhotos(training, held_out, distractors, pairs, intake)


def training_set(
    photos: Sequence[Photo], recipe: Recipe, teacher: TeacherVectors | None, on_gpu: bool = False
) -> PhotoSet:
    """Prepare the photos to train on, stored so large that no crop of them has to be enlarged.

    `on_gpu`: for a GPU, which gets photos in seven shapes at most.
    """
    side = math.ceil(recipe.batches.photo_size / math.sqrt(recipe.augmentation.smallest_crop))
    return _photo_set(photos, recipe, teacher, side, on_gpu)


def validation_set(
    photos: Sequence[Photo], recipe: Recipe, teacher: TeacherVectors | None, on_gpu: bool = False
) -> PhotoSet:
    """Prepare the photos to validate on, which are never augmented."""
    return _photo_set(photos, recipe, teacher, recipe.batches.photo_size, on_gpu)


def _usable(photos: Sequence[Photo], recipe: Recipe, say: Callable[[str], None], intake: Intake) -> list[Photo]:
    findings = check_photos(photos, labelled=recipe.needs_labels, intake=intake)
    for sentence in (*(f"skipped: {each}" for each in findings.left_out), *findings.warnings):
        say(sentence)
    return list(findings.usable)


def _split(photos: Sequence[Photo], recipe: Recipe) -> tuple[list[Photo], list[Photo], list[Photo]]:
    """Photos to train on, photos of held-out instances, and unlabelled ones for the gallery of the validation."""
    if recipe.data.held_out is None:
        return list(photos), [], []
    kept, held = hold_out(photos, recipe.data.held_out, recipe.held_out_seed)
    unlabelled = [photo for photo in kept if not photo.instance_id]
    count = min(recipe.data.validation_distractors, len(unlabelled))
    drawn: Sequence[int] = (
        np.random.default_rng(recipe.held_out_seed).choice(len(unlabelled), count, replace=False).tolist()
        if count
        else []
    )
    distractors = [unlabelled[i] for i in sorted(drawn)]
    excluded = {photo.id for photo in distractors}
    return [photo for photo in kept if photo.id not in excluded], held, distractors


def _photo_set(
    photos: Sequence[Photo], recipe: Recipe, teacher: TeacherVectors | None, side: int, on_gpu: bool
) -> PhotoSet:
    store = PhotoStore([photo.path for photo in photos], side, recipe.data.decoded)
    sides = [_sides(*store.shape(index), recipe.batches) for index in range(len(photos))]
    photo_size = recipe.batches.photo_size
    allowed = few_shapes(photo_size)
    shapes = [nearest_shape([each], allowed) if on_gpu else batch_shape(*each, photo_size) for each in sides]
    return PhotoSet(list(photos), store, shapes, sides, allowed, None if teacher is None else _rows(photos, teacher))


def _sides(height: int, width: int, batches: BatchTable) -> tuple[int, int]:
    """What a photo that has `height` × `width` in the store would have in a batch if nothing of it were cut off."""
    longest = min(batches.photo_size, round(batches.shrink * max(height, width)))
    return shrunk_size(height, width, longest)


def _rows(photos: Sequence[Photo], teacher: TeacherVectors) -> NDArray[np.int64]:
    known = {name: row for row, name in enumerate(teacher.ids)}
    missing = [photo.id for photo in photos if photo.id not in known]
    if missing:
        raise RecipeError(
            f"The teacher's vectors in {teacher.folder} lack {len(missing)} of {len(photos)} photos, such as "
            f"{missing[0]}. Describe the photos of this recipe with `askew cache`."
        )
    return np.array([known[photo.id] for photo in photos], dtype=np.int64)
