"""The weighted sum of the losses that a recipe names."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from askew_training.losses.contrastive import Contrastive
from askew_training.losses.regression import Regression
from askew_training.train.batch import Batch
from askew_training.train.recipe import LossPart


class WeightedSum:
    """Σ weight · loss over a batch, each loss reading the fields of the batch that it declares."""

    def __init__(self, parts: Sequence[LossPart]) -> None:
        self._terms = [(part, _loss(part)) for part in parts]

    def __call__(self, batch: Batch) -> tuple[Tensor, dict[str, float]]:
        """The sum, a scalar, and each loss by its name before it is weighted."""
        values: dict[str, float] = {}
        total = batch.anchors.new_zeros(())
        for part, loss in self._terms:
            value: Tensor = loss(*batch.inputs(loss.reads, part.references))
            total = total + part.weight * value
            name = part.name if part.references is None else f"{part.name}_on_{part.references}"
            values[name] = float(value.detach())
        return total, values


def _loss(part: LossPart) -> Contrastive | Regression:
    if part.name == "contrastive":
        return Contrastive(part.margin, part.form)
    return Regression()
