"""Measuring a network on instances that it was never trained on: its loss, and how well its vectors search."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from askew_training.data.batches import Batches
from askew_training.data.photo_sets import Photo
from askew_training.data.store import PhotoStore
from askew_training.evaluate.alignment.landing import Landing, landing_of
from askew_training.evaluate.ranking import TOGETHER, rank_scores
from askew_training.train.batch import Targets, batch_of
from askew_training.train.forward import Describe, describe_without_gradients
from askew_training.train.reader import PhotoReader
from askew_training.train.weighted_sum import WeightedSum


@dataclass(frozen=True)
class ValidationScores:
    """The scores of a network on held-out photos.

    `loss`: the mean over held-out batches. `by_set`: mAP, 0 to 1, of each set of photos; the best checkpoint is chosen
    by their `mean`. `symmetric`: the mean mAP if the network describes both queries and gallery; without a teacher it
    equals `mean`. `landing`: how well the vectors land in the teacher's space; None without a teacher.
    """

    loss: float
    by_set: dict[str, float]
    symmetric: float
    landing: Landing | None

    @property
    def mean(self) -> float:
        return _mean(self.by_set)


class Validation:
    """Held-out photos, each searched among the others and some unlabelled ones.

    With a teacher, the network's vectors search the teacher's gallery, as in use (asymmetric); without one, they search
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
        """`photos`: labelled photos and distractors, in the order of `store`, `shapes` and `targets`."""
        self._photos, self._shapes, self._targets = photos, shapes, targets
        self._reader = PhotoReader(store, shapes)
        self._loss_batches = loss_batches
        self._instances = instance_numbers(photos)

    def measure(self, describe: Describe, losses: WeightedSum) -> ValidationScores:
        """Describe all photos and measure; photos that cannot be read are left out."""
        photos = range(len(self._photos))
        vectors, was_read = describe_without_gradients(self._reader, describe, self._shapes, photos)
        by_set = self._by_set(vectors, vectors, was_read)
        symmetric, landing = _mean(by_set), None
        if self._targets is not None:
            gallery = self._targets.vectors(photos)
            by_set = self._by_set(vectors, gallery, was_read)
            landing = landing_of(vectors[was_read], gallery[was_read])
        return ValidationScores(self._loss(vectors, was_read, losses), by_set, symmetric, landing)

    def _by_set(
        self, vectors: NDArray[np.float32], gallery: NDArray[np.float32], was_read: NDArray[np.bool_]
    ) -> dict[str, float]:
        rows = [row for row in range(len(self._photos)) if was_read[row]]
        place = {row: i for i, row in enumerate(rows)}
        queries = [row for row in rows if self._photos[row].instance_id]
        scores = rank_scores(
            vectors[queries],
            gallery[rows],
            [self._photos[row].instance_id for row in queries],
            [self._photos[row].instance_id for row in rows],
            [self._photos[row].set_name for row in queries],
            [place[row] for row in queries],
        )
        return {name: each.mean_average_precision for name, each in scores.items() if name != TOGETHER}

    def _loss(self, vectors: NDArray[np.float32], was_read: NDArray[np.bool_], losses: WeightedSum) -> float:
        values = []
        for draws in self._loss_batches:
            rows = torch.tensor([draw.photo for draw in draws if was_read[draw.photo]], dtype=torch.int64)
            batch = batch_of(torch.from_numpy(vectors[rows.numpy()]), rows, self._instances[rows], self._targets)
            values.append(losses(batch, everywhere=True)[0].item())
        return float(np.mean(values))


def instance_numbers(photos: Sequence[Photo]) -> torch.Tensor:
    """Number the instances of photos: int64 [n]; a photo without a label is an instance by itself."""
    numbers: dict[str, int] = {}
    names = [f"i {photo.instance_id}" if photo.instance_id else f"p {photo.id}" for photo in photos]
    return torch.tensor([numbers.setdefault(name, len(numbers)) for name in names], dtype=torch.int64)


def _mean(by_set: dict[str, float]) -> float:
    return float(np.mean(list(by_set.values())))
