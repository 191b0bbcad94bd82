"""The weighted sum of the losses that a recipe names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from askew_training.errors import RecipeError
from askew_training.losses.base import Loss, TeacherVectorsOf
from askew_training.losses.registry import AnyLossTable
from askew_training.train.batch import Batch


@dataclass(frozen=True)
class Term:
    """One loss of the sum, and its table in the recipe."""

    table: AnyLossTable
    loss: Loss

    @property
    def name(self) -> str:
        """Its name in logs: two losses of one kind differ by whose vectors they read."""
        return self.table.name if self.table.side is None else f"{self.table.name}_on_{self.table.side}"


class WeightedSum:
    """Σ weight · loss over a batch, each loss reading the fields of the batch that it declares.

    A loss is left out of batches that are too small for it, such as the last one of an epoch.
    """

    def __init__(self, terms: Sequence[Term]) -> None:
        self.terms = tuple(terms)

    def __call__(self, batch: Batch) -> tuple[Tensor, dict[str, float]]:
        """Compute the sum, a scalar, and each loss by its name, before it is weighted."""
        values: dict[str, float] = {}
        total = batch.anchors.sum() * 0
        for term in self.terms:
            if len(batch.anchors) < term.loss.smallest_batch:
                continue
            value = term.loss(*batch.inputs(term.loss.reads, term.table.side))
            total = total + term.table.weight * value
            values[term.name] = float(value.detach())
        return total, values

    def reads(self, field: str) -> bool:
        """Whether any of the losses reads this field of a batch."""
        return any(field in term.loss.reads for term in self.terms)


def weighted_sum(
    tables: Sequence[AnyLossTable], photos_in_batch: int, teacher_vectors: TeacherVectorsOf, seed: int
) -> WeightedSum:
    """Build the losses of a recipe. `teacher_vectors`, `seed`: for losses that learn something from those vectors first.

    Raises RecipeError for a loss that a batch of `photos_in_batch` is too small for.
    """
    terms = [Term(table, table.build(teacher_vectors, seed)) for table in tables]
    for term in terms:
        smallest = term.loss.smallest_batch
        if photos_in_batch < smallest:
            raise RecipeError(
                f"The loss {term.table.name} compares photos of one batch: expected {smallest} or more in a batch, "
                f"got {photos_in_batch}. Make the batches larger."
            )
    return WeightedSum(terms)
