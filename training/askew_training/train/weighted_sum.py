"""The weighted sum of the losses that a recipe names."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from askew_training.errors import RecipeError
from askew_training.losses.base import Anchors, Loss, TeacherVectorsOf
from askew_training.losses.registry import AnyLossTable
from askew_training.train.batch import Batch


@dataclass(frozen=True)
class Term:
    """One loss of the sum, and its table in the recipe."""

    table: AnyLossTable
    loss: Loss

    @property
    def name(self) -> str:
        """Its name in logs: two losses of one kind differ by whose vectors they read, and by their anchors."""
        name = self.table.name if self.table.side is None else f"{self.table.name}_on_{self.table.side}"
        return name if self.table.on == "all" else f"{name}_of_{self.table.on}"


class WeightedSum:
    """Σ weight · loss over a batch, each loss reading the fields of the batch that it declares.

    Each is a mean over its own anchors: the labelled photos of the batch, the unlabelled ones, or all. It is left out of a
    batch that has too few of them for it, such as the last one of an epoch.
    """

    def __init__(self, terms: Sequence[Term]) -> None:
        self.terms = tuple(terms)

    def __call__(self, batch: Batch, everywhere: bool = False) -> tuple[Tensor, dict[str, float]]:
        """Compute the sum, a scalar, and each loss by its name, before it is weighted.

        `everywhere`: compute each loss for all anchors, as on held-out photos, which all have labels.
        """
        values: dict[str, float] = {}
        total = batch.anchors.sum() * 0
        for term, value in self._each(batch, everywhere):
            total = total + term.table.weight * value
            values[term.name] = float(value.detach())
        return total, values

    def gradient_norms(self, batch: Batch, parameters: Iterable[nn.Parameter]) -> dict[str, float]:
        """The length of the gradient of each loss, weighted, by its name: a backward pass for each.

        `parameters`: that the gradient is taken of. What they have accumulated stays as it is.
        """
        learning = [each for each in parameters if each.requires_grad]
        norms: dict[str, float] = {}
        for term, value in self._each(batch, False):
            if not value.requires_grad:
                continue
            gradients = torch.autograd.grad(value * term.table.weight, learning, retain_graph=True, allow_unused=True)
            lengths = [each.norm() for each in gradients if each is not None]
            norms[term.name] = float(torch.stack(lengths).norm()) if lengths else 0.0
        return norms

    def _each(self, batch: Batch, everywhere: bool) -> Iterator[tuple[Term, Tensor]]:
        """The losses that have enough anchors in a batch, with their values before they are weighted, scalars."""
        for term in self.terms:
            rows = None if everywhere else batch.rows_on(term.table.on)
            count = len(batch.anchors) if rows is None else len(rows)
            if count >= max(1, term.loss.smallest_batch):
                yield term, term.loss(*batch.inputs(term.loss.reads, term.table.side, rows))

    def reads(self, field: str) -> bool:
        """Whether any of the losses reads this field of a batch."""
        return any(field in term.loss.reads for term in self.terms)


def weighted_sum(
    tables: Sequence[AnyLossTable], anchors: Mapping[Anchors, int], teacher_vectors: TeacherVectorsOf, seed: int
) -> WeightedSum:
    """Build the losses of a recipe. `teacher_vectors`, `seed`: for losses that learn something from those vectors first.

    `anchors`: how many photos of each kind a full batch has. Raises RecipeError for a loss that these are too few for.
    """
    terms = [Term(table, table.build(teacher_vectors, seed)) for table in tables]
    for term in terms:
        smallest, count = term.loss.smallest_batch, anchors[term.table.on]
        if count < smallest:
            which = "" if term.table.on == "all" else f" {term.table.on}"
            raise RecipeError(
                f"The loss {term.table.name} compares photos of one batch: expected {smallest} or more{which} in a batch, "
                f"got {count}. Make the batches larger."
            )
    return WeightedSum(terms)
