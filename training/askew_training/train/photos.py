"""The photos of a run: which are trained on, which are kept apart, and how each is seen."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from askew_client.encoding.photos import shrunk_size
from askew_training.data.batches import batch_shape
from askew_training.data.photo_sets import Photo, hold_out
from askew_training.data.store import PhotoStore
from askew_training.errors import RecipeError
from askew_training.train.recipe import Recipe
from askew_training.train.recipe_tables import BatchPart
from askew_training.vectors.teacher_vectors import TeacherVectors


@dataclass(frozen=True)
class PhotoSet:
    """Photos that can be read, their pixels, the shape that each is cut to, and its row among the teacher's vectors."""

    photos: list[Photo]
    store: PhotoStore
    shapes: list[tuple[int, int]]
    rows: NDArray[np.int64] | None


def split(photos: Sequence[Photo], recipe: Recipe) -> tuple[list[Photo], list[Photo], list[Photo]]:
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


def training_set(photos: Sequence[Photo], recipe: Recipe, teacher: TeacherVectors | None) -> PhotoSet:
    """The photos that are trained on: kept so large that no crop of them has to be enlarged."""
    side = math.ceil(recipe.batches.photo_size / math.sqrt(recipe.augmentation.smallest_crop))
    return _photo_set(photos, recipe, teacher, side)


def validation_set(photos: Sequence[Photo], recipe: Recipe, teacher: TeacherVectors | None) -> PhotoSet:
    """The photos that are validated on, never augmented."""
    return _photo_set(photos, recipe, teacher, recipe.batches.photo_size)


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
