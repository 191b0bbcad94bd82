"""How good a network is on instances that it never trained on: by its loss, and by searching."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from askew_training.data.batches import Batches
from askew_training.data.photo_sets import Photo
from askew_training.data.store import PhotoStore
from askew_training.evaluate.ranking import rank_scores
from askew_training.train.forward import Describe, described_photos
from askew_training.train.reader import PhotoReader
from askew_training.train.targets import Targets, batch_of
from askew_training.train.weighted_sum import WeightedSum


@dataclass(frozen=True)
class ValidationScores:
    """`loss` over held-out batches; mAP, 0 to 1, of each set and their mean, which is what the best checkpoint has.

    `symmetric`: the mean where the network describes queries and gallery; without a teacher the same as `mean`.
    """

    loss: float
    by_set: dict[str, float]
    symmetric: float

    @property
    def mean(self) -> float:
        return _mean(self.by_set)


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
        targets: Targets | None,
        loss_batches: Batches,
    ) -> None:
        """`photos`: labelled and distractors, in the order of `store`, `shapes` and `targets`."""
        self._photos, self._shapes, self._targets = photos, shapes, targets
        self._reader = PhotoReader(store, shapes)
        self._loss_batches = loss_batches
        self._instances = instance_numbers(photos)

    def measure(self, describe: Describe, losses: WeightedSum) -> ValidationScores:
        """Describe all photos and measure; photos that cannot be read are left out."""
        photos = range(len(self._photos))
        vectors, is_there = described_photos(self._reader, describe, self._shapes, photos)
        by_set = self._by_set(vectors, vectors, is_there)
        symmetric = _mean(by_set)
        if self._targets is not None:
            by_set = self._by_set(vectors, self._targets.vectors(photos), is_there)
        return ValidationScores(self._loss(vectors, is_there, losses), by_set, symmetric)

    def _by_set(
        self, vectors: NDArray[np.float32], gallery: NDArray[np.float32], is_there: NDArray[np.bool_]
    ) -> dict[str, float]:
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
        return {name: each.mean_average_precision for name, each in scores.items() if name != "together"}

    def _loss(self, vectors: NDArray[np.float32], is_there: NDArray[np.bool_], losses: WeightedSum) -> float:
        values = []
        for draws in self._loss_batches:
            rows = torch.tensor([draw.photo for draw in draws if is_there[draw.photo]], dtype=torch.int64)
            batch = batch_of(torch.from_numpy(vectors[rows.numpy()]), rows, self._instances[rows], self._targets)
            values.append(losses(batch)[0].item())
        return float(np.mean(values))


def _mean(by_set: dict[str, float]) -> float:
    return float(np.mean(list(by_set.values())))


def instance_numbers(photos: Sequence[Photo]) -> torch.Tensor:
    """A number for each photo's instance, int64 [n]; a photo without a label is an instance of its own."""
    numbers: dict[str, int] = {}
    names = [f"i {photo.instance_id}" if photo.instance_id else f"p {photo.id}" for photo in photos]
    return torch.tensor([numbers.setdefault(name, len(numbers)) for name in names], dtype=torch.int64)
