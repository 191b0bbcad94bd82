"""The weighted sum of losses."""

from __future__ import annotations

import pytest
import torch

from askew_training.errors import RecipeError
from askew_training.losses.contrastive import ContrastiveTable
from askew_training.losses.dark_rank import DarkRankTable
from askew_training.losses.registry import AnyLossTable
from askew_training.losses.regression import RegressionTable
from askew_training.train.batch import Batch
from askew_training.train.weighted_sum import WeightedSum, weighted_sum
from tests.support.training_helpers import unit_tensors


def sum_of(*tables: AnyLossTable) -> WeightedSum:
    return weighted_sum(
        tables,
        {"all": 5, "labelled": 3, "unlabelled": 2},
        lambda: pytest.fail("none of these losses learns from the teacher's vectors"),
        0,
    )


def batch_of_four(vectors: torch.Tensor, teachers: torch.Tensor) -> Batch:
    return Batch(vectors, teachers, torch.arange(4), torch.tensor([0, 0, 1, 1]))


def test_symmetric_training_moves_both_sides_and_asymmetric_only_the_student() -> None:
    vectors, teachers = unit_tensors(4, 8, 0).requires_grad_(), unit_tensors(4, 8, 1).requires_grad_()
    table = ContrastiveTable(name="contrastive", references="student", form="similarity")
    sum_of(table)(batch_of_four(vectors, teachers))[0].backward()
    assert teachers.grad is None and vectors.grad is not None
    # Each pair counts from both ends, and either end pulls the other.
    torch.testing.assert_close(vectors.grad[0], -2 * vectors.detach()[1] / 4)


def test_losses_are_summed_with_their_weights() -> None:
    regression = RegressionTable(name="regression", weight=2.0)
    contrastive = ContrastiveTable(name="contrastive", references="teacher", weight=0.5)
    total, values = sum_of(regression, contrastive)(batch_of_four(unit_tensors(4, 8, 0), unit_tensors(4, 8, 1)))
    assert total.item() == pytest.approx(2 * values["regression"] + 0.5 * values["contrastive_on_teacher"])


def test_a_loss_is_left_out_of_a_batch_that_is_too_small_for_it() -> None:
    regression, ranked = RegressionTable(name="regression"), DarkRankTable(name="dark-rank", length=4)
    total, values = sum_of(regression, ranked)(batch_of_four(unit_tensors(4, 8, 0), unit_tensors(4, 8, 1)))
    assert list(values) == ["regression"]
    assert total.item() == pytest.approx(values["regression"])


def test_a_loss_reads_only_its_anchors_and_is_divided_by_their_number() -> None:
    vectors, teachers = unit_tensors(4, 8, 0), unit_tensors(4, 8, 1)
    batch = Batch(
        vectors,
        teachers,
        torch.arange(4),
        torch.tensor([0, 0, 1, 2]),
        labelled=torch.tensor([True, True, False, False]),
    )
    on_unlabelled = RegressionTable(name="regression", on="unlabelled")
    on_labelled = ContrastiveTable(
        name="contrastive", references="teacher", on="labelled", form="similarity", margin=-1
    )
    losses = sum_of(on_unlabelled, on_labelled)
    _, values = losses(batch)
    cosines = (vectors * teachers).sum(1)
    assert values["regression_of_unlabelled"] == pytest.approx(1 - float(cosines[2:].mean()))
    # Labelled anchors are compared with the whole batch: the one positive, and the two photos of other instances.
    similarity = vectors[:2] @ teachers.T
    expected = -(similarity[0, 1] + similarity[1, 0]) + (similarity[:, 2:] + 1).sum()
    assert values["contrastive_on_teacher_of_labelled"] == pytest.approx(float(expected) / 2)
    # Held-out photos all have labels, and each loss is measured on them.
    assert losses(batch, everywhere=True)[1]["regression_of_unlabelled"] == pytest.approx(1 - float(cosines.mean()))


def test_the_gradient_of_each_loss_is_measured_and_left_out_of_the_step() -> None:
    weights = torch.nn.Parameter(torch.eye(8, dtype=torch.float64))
    vectors = unit_tensors(4, 8, 0) @ weights
    regression, contrastive = (
        RegressionTable(name="regression", weight=2.0),
        ContrastiveTable(name="contrastive", references="teacher"),
    )
    batch = batch_of_four(vectors, unit_tensors(4, 8, 1))
    norms = sum_of(regression, contrastive).gradient_norms(batch, [weights])
    assert weights.grad is None
    sum_of(regression)(batch)[0].backward()
    assert weights.grad is not None
    assert norms["regression"] == pytest.approx(float(weights.grad.norm()))
    assert norms.keys() == {"regression", "contrastive_on_teacher"}


def test_a_loss_with_too_few_anchors_of_its_kind_is_refused() -> None:
    with pytest.raises(RecipeError, match="expected 4 or more unlabelled in a batch, got 2"):
        sum_of(DarkRankTable(name="dark-rank", length=3, on="unlabelled"))
