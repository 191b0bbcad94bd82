"""What a step sees: the views of its photos, at the student's size, and the teacher's vectors of the same views."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from accelerate import PartialState
from torch import Tensor

from askew_training.data.augmentation import Augmentation
from askew_training.train.forward import PHOTOS_AT_ONCE, Autocast, full_precision
from askew_training.train.matching.stored import StoredViews, ViewJob, with_stored_vectors
from askew_training.train.matching.teachers import ViewTeacher
from askew_training.train.matching.views import Reading, ViewPlan, mixed, resized
from askew_training.train.photos import PhotoSet
from askew_training.train.reader import LoadedBatch, PhotoReader
from askew_training.train.recipe import Recipe


class Showing:
    """Shows the views of batches to the student, and before that to the teacher, if it describes views."""

    def __init__(
        self,
        plan: ViewPlan,
        teacher: ViewTeacher | None,
        stored: StoredViews | None,
        device: torch.device,
        autocast: Autocast,
        in_batch: int = PHOTOS_AT_ONCE,
    ) -> None:
        """`stored`: the teacher's vectors of fixed views, with which the teacher itself is not needed.

        `in_batch`: the views in a full batch.
        """
        self._plan, self._stored, self._device, self._in_batch = plan, stored, device, in_batch
        is_online = teacher is not None and stored is None
        self._describe = None
        if teacher is not None and is_online:
            self._describe = teacher.on(device, plan.read_size, autocast, in_batch)

    def warm_up(self, shapes: Sequence[tuple[int, int]]) -> None:
        """Let a GPU prepare the teacher for a full batch of views of each shape, (height, width), as they are read."""
        if self._describe is None:
            return
        for height, width in shapes:
            pixels = torch.zeros((self._in_batch, height, width, 3), dtype=torch.uint8, device=self._device)
            numbers = torch.arange(self._in_batch)
            self._describe(LoadedBatch([(pixels, numbers)], numbers, numbers, []))

    def show(self, loaded: LoadedBatch, reading: Reading, epoch: int, number: int) -> tuple[LoadedBatch, Tensor | None]:
        """The views of batch `number` of an epoch for the student, and the teacher's vectors of them.

        Returns a batch of `len(photos)` B, and float32 [B, D]; None if the teacher describes whole photos, or if no view is
        left.
        """
        views, vectors = mixed(loaded, reading), None
        if self._stored is not None:
            numbers = np.array([reading.draws[draw].view for draw in views.draws.tolist()], dtype=np.int64)
            views, of_views = with_stored_vectors(views, self._stored, numbers)
            vectors = of_views.to(self._device)
        if not len(views.photos):
            return views, None
        if self._describe is not None:
            vectors = self._describe(views)
        return self.for_student(views, epoch, number), vectors

    def for_student(self, views: LoadedBatch, epoch: int, number: int) -> LoadedBatch:
        """The views of batch `number` of an epoch at the size at which the student sees it."""
        return resized(views, self._plan.size(epoch, number) / self._plan.read_size, self._device)

    def at_largest(self, photos: LoadedBatch) -> LoadedBatch:
        """Photos that were read like views, at the largest size at which the student sees any."""
        return resized(photos, max(self._plan.sizes) / self._plan.read_size, self._device)


def read_size_of(recipe: Recipe, teacher: ViewTeacher | None) -> int:
    """The longest side at which views are read, px: the larger of the student's and the teacher's."""
    return max(recipe.batches.photo_size, 0 if teacher is None else teacher.photo_size)


def at_read_size(recipe: Recipe, read_size: int) -> Recipe:
    """A recipe by which photos are read at this size."""
    return recipe.model_copy(update={"batches": recipe.batches.model_copy(update={"photo_size": read_size})})


def at_the_students_ratio(recipe: Recipe, read_size: int) -> Recipe:
    """A recipe by which held-out photos are seen as training photos are: smaller than the teacher sees them, by the same ratio."""
    if not recipe.matches_views:
        return recipe
    shrink = recipe.batches.photo_size / read_size
    return recipe.model_copy(update={"batches": recipe.batches.model_copy(update={"shrink": shrink})})


def plan_views(recipe: Recipe, training: PhotoSet, read_size: int) -> ViewPlan:
    """The views of a recipe's batches. Where losses need labels, only unlabelled photos are mixed: a mixed view shows two."""
    by_label = recipe.needs_labels or any(loss.side is not None for loss in recipe.losses)
    return ViewPlan(
        seed=recipe.seed,
        shapes=training.shapes,
        mix=recipe.augmentation.mix,
        may_mix=np.array([not by_label or not photo.instance_id for photo in training.photos]),
        fixed=None if recipe.teacher is None else recipe.teacher.views,
        read_size=read_size,
        sizes=recipe.batches.sizes,
    )


def store_views(
    plan: ViewPlan,
    teacher: ViewTeacher,
    training: PhotoSet,
    augmentation: Augmentation | None,
    cache: Path,
    say: Callable[[str], None],
) -> StoredViews:
    """Describe the fixed views of the training photos, if that is not done yet. Raises CacheError."""
    job = ViewJob(teacher, training.photos, plan, augmentation, cache)
    state = PartialState()
    with state.main_process_first():
        reader = PhotoReader(training.store, training.shapes, augmentation, seed=plan.seed)
        return job.run(reader, teacher.on(state.device, plan.read_size, full_precision), say)
