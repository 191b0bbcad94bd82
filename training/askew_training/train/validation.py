"""How good a network is on instances that it never trained on: by its loss, and by searching."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from askew_training.data.batches import Batches, PhotoPlan
from askew_training.data.photo_sets import Photo
from askew_training.data.store import PhotoStore
from askew_training.evaluate.ranking import rank_scores
from askew_training.train.batch import Batch
from askew_training.train.describing import Describe
from askew_training.train.loading import loaded_batches
from askew_training.train.losses import WeightedSum


@dataclass(frozen=True)
class ValidationScores:
    """`loss` over held-out batches; mAP, 0 to 1, of each set and their mean, which is what the best checkpoint has."""

    loss: float
    by_set: dict[str, float]

    @property
    def mean(self) -> float:
        return float(np.mean(list(self.by_set.values())))


class Validation:
    """Held-out photos, each searched among the others and some unlabelled ones.

    With a teacher the network's vectors search the teacher's gallery, as in use (asymmetric); without one they search
    their own.
    """

    def __init__(
        self,
        photos: Sequence[Photo],
        store: PhotoStore,
        shapes: Sequence[tuple[int, int]],
        teachers: NDArray[np.float32] | None,
        loss_batches: Batches,
        photos_in_batch: int,
    ) -> None:
        """`photos`: labelled and distractors, in the order of `store`, `shapes` and `teachers` [n, D]."""
        self._photos, self._store, self._shapes = photos, store, shapes
        self._teachers = teachers
        self._loss_batches = loss_batches
        self._plan = PhotoPlan(shapes, photos_in_batch, seed=0)
        self._instances = instance_numbers(photos)

    def measure(self, describe: Describe, losses: WeightedSum) -> ValidationScores:
        """Describe all photos and measure; photos that cannot be read are left out."""
        vectors, is_there = self._vectors(describe)
        gallery = vectors if self._teachers is None else self._teachers
        there = [row for row in range(len(self._photos)) if is_there[row]]
        place = {row: i for i, row in enumerate(there)}
        queries = [row for row in there if self._photos[row].instance_id]
        scores = rank_scores(
            vectors[queries],
            gallery[there],
            [self._photos[row].instance_id for row in queries],
            [self._photos[row].instance_id for row in there],
            [self._photos[row].set_name for row in queries],
            [place[row] for row in queries],
        )
        by_set = {name: each.mean_average_precision for name, each in scores.items() if name != "together"}
        return ValidationScores(self._loss(vectors, is_there, losses), by_set)

    def _vectors(self, describe: Describe) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        vectors: NDArray[np.float32] | None = None
        is_there = np.zeros(len(self._photos), dtype=np.bool_)
        positions = [(0, number) for number in range(len(self._plan.epoch(0)))]
        for batch in loaded_batches(self._store, self._shapes, self._plan, positions, None, seed=0, ahead=False):
            with torch.inference_mode():
                described = describe(batch).float().cpu().numpy()
            if vectors is None:
                vectors = np.zeros((len(self._photos), described.shape[1]), dtype=np.float32)
            vectors[batch.photos.numpy()] = described
            is_there[batch.photos.numpy()] = True
        assert vectors is not None
        return vectors, is_there

    def _loss(self, vectors: NDArray[np.float32], is_there: NDArray[np.bool_], losses: WeightedSum) -> float:
        values = []
        for draws in self._loss_batches:
            rows = torch.tensor([draw.photo for draw in draws if is_there[draw.photo]], dtype=torch.int64)
            teachers = None if self._teachers is None else torch.from_numpy(self._teachers[rows.numpy()])
            batch = Batch(torch.from_numpy(vectors[rows.numpy()]), teachers, rows, self._instances[rows])
            values.append(losses(batch)[0].item())
        return float(np.mean(values))


def instance_numbers(photos: Sequence[Photo]) -> torch.Tensor:
    """A number for each photo's instance, int64 [n]; a photo without a label is an instance of its own."""
    numbers: dict[str, int] = {}
    names = [f"i {photo.instance_id}" if photo.instance_id else f"p {photo.id}" for photo in photos]
    return torch.tensor([numbers.setdefault(name, len(numbers)) for name in names], dtype=torch.int64)
