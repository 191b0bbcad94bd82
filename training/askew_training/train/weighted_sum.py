"""The weighted sum of the losses that a recipe names."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from askew_training.errors import RecipeError
from askew_training.losses.contextual_similarity import ContextualSimilarity, MemoryContextualSimilarity
from askew_training.losses.contrastive import Contrastive
from askew_training.losses.contrastive_plus import ContrastivePlus
from askew_training.losses.d3still import D3still
from askew_training.losses.dark_rank import DarkRank
from askew_training.losses.multi_similarity import MultiSimilarity
from askew_training.losses.prototype import Prototype
from askew_training.losses.regression import Regression
from askew_training.losses.relational import RelationalDistillation
from askew_training.losses.second_order import SecondOrderRegression
from askew_training.losses.structure_similarity import StructureSimilarity
from askew_training.losses.triplet import Triplet
from askew_training.train.batch import Batch
from askew_training.train.loss_tables import (
    ContextualPart,
    ContrastivePart,
    ContrastivePlusPart,
    D3stillPart,
    DarkRankPart,
    LossPart,
    MultiSimilarityPart,
    PrototypePart,
    RegressionPart,
    RelationalPart,
    SecondOrderPart,
    StructurePart,
    TripletPart,
)


class Loss(Protocol):
    """A loss: the fields of a batch that it `reads`, in its order, and a scalar of them."""

    @property
    def reads(self) -> tuple[str, ...]: ...

    def __call__(self, *fields: Tensor) -> Tensor: ...


@dataclass(frozen=True)
class Term:
    """One loss in the sum. `smallest_batch`: it takes no part in smaller ones."""

    part: LossPart
    loss: Loss
    smallest_batch: int

    @property
    def name(self) -> str:
        """Its name in logs: two of one kind differ by whose vectors they read."""
        return self.part.name if self.part.side is None else f"{self.part.name}_on_{self.part.side}"


class WeightedSum:
    """Σ weight · loss over a batch, each loss reading the fields of the batch that it declares.

    A batch that is too small for a loss, such as the last of an epoch, goes without it.
    """

    def __init__(self, terms: Sequence[Term]) -> None:
        self.terms = tuple(terms)

    def __call__(self, batch: Batch) -> tuple[Tensor, dict[str, float]]:
        """The sum, a scalar, and each loss by its name before it is weighted."""
        values: dict[str, float] = {}
        total = batch.anchors.sum() * 0
        for term in self.terms:
            if len(batch.anchors) < term.smallest_batch:
                continue
            value = term.loss(*batch.inputs(term.loss.reads, term.part.side))
            total = total + term.part.weight * value
            values[term.name] = float(value.detach())
        return total, values


def weighted_sum(
    parts: Sequence[LossPart], photos_in_batch: int, centroids: Callable[[StructurePart], NDArray[np.float32]]
) -> WeightedSum:
    """Build the losses of a recipe. `centroids`: learns them from the teacher's vectors.

    Raises RecipeError for a loss that a batch of `photos_in_batch` is too small for.
    """
    terms = []
    for part in parts:
        loss = _loss(part, centroids)
        smallest = int(getattr(loss, "smallest_batch", 1))
        if photos_in_batch < smallest:
            raise RecipeError(
                f"The loss {part.name} compares photos of one batch: expected {smallest} or more in a batch, "
                f"got {photos_in_batch}. Make the batches larger."
            )
        terms.append(Term(part, loss, smallest))
    return WeightedSum(terms)


def _loss(part: LossPart, centroids: Callable[[StructurePart], NDArray[np.float32]]) -> Loss:
    match part:
        case ContrastivePart():
            return Contrastive(part.margin, part.form)
        case ContrastivePlusPart():
            return ContrastivePlus(part.margin, part.form, weight=part.own_weight)
        case TripletPart():
            return Triplet(part.margin)
        case MultiSimilarityPart():
            return MultiSimilarity(part.alpha, part.beta, part.threshold)
        case PrototypePart():
            return Prototype(part.temperature)
        case RegressionPart():
            return Regression()
        case RelationalPart():
            return RelationalDistillation(part.distance_weight, part.angle_weight)
        case DarkRankPart():
            return DarkRank(part.alpha, part.beta, part.length, part.variant)
        case D3stillPart():
            return D3still(part.neighbours, part.alpha, part.beta, part.gamma)
        case ContextualPart(among="all"):
            return MemoryContextualSimilarity(part.teacher_temperature, part.student_temperature)
        case ContextualPart():
            return ContextualSimilarity(part.teacher_temperature, part.student_temperature, part.neighbours)
        case StructurePart():
            return StructureSimilarity(torch.from_numpy(centroids(part)), part.sharpness)
        case SecondOrderPart():
            return SecondOrderRegression(part.cross_weight, part.student_weight)
