"""The losses against the published code, against slow re-derivations, and at their corners."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from askew_training.losses.contrastive import Contrastive
from askew_training.losses.regression import Regression
from askew_training.train.batch import Batch
from askew_training.train.loss_tables import ContrastivePart, LossPart, RegressionPart
from askew_training.train.weighted_sum import WeightedSum, weighted_sum
from tests.support.paths import TRAINING_FIXTURES

OFFICIAL = np.load(TRAINING_FIXTURES / "official_losses.npz")


def official(name: str) -> Tensor:
    return torch.from_numpy(OFFICIAL[name])


def tuples(own: bool) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The published tuples as one batch: references of all tuples side by side, each anchor pairing with its own."""
    anchors = official("anchor").requires_grad_()
    parts = [official("positive")[:, None], official("negatives")]
    if own:
        parts.insert(1, official("teacher_anchor")[:, None])
    references = torch.cat(parts, 1)
    count, each, _ = references.shape
    mine = torch.eye(count, dtype=torch.bool).repeat_interleave(each, 1)
    is_positive = (torch.arange(each) < (2 if own else 1)).repeat(count)
    return anchors, references.flatten(0, 1), mine & is_positive, mine & ~is_positive


@pytest.mark.parametrize(
    ("name", "margin", "own"),
    [
        ("contrastive_m0.7", 0.7, False),
        ("contrastive_m0.85", 0.85, False),
        ("contrastive_m1.1", 1.1, False),
        ("contrastive_plus_m0.7", 0.7, True),
        ("contrastive_plus_m1.1", 1.1, True),
    ],
)
def test_contrastive_has_the_values_and_gradients_of_the_published_code(name, margin, own):
    anchors, references, positives, negatives = tuples(own)
    values = Contrastive(margin, reduction="none")(anchors, references, positives, negatives)
    torch.testing.assert_close(values, official(name), rtol=1e-6, atol=1e-12)
    values.sum().backward()
    torch.testing.assert_close(anchors.grad, official(f"{name}_grad_anchor"), rtol=1e-6, atol=1e-9)


def test_regression_has_the_values_and_the_direction_of_the_published_code():
    """1 − cos and ½D² agree in value; their gradients differ along the anchor only, which its unit length undoes."""
    anchors = official("anchor").requires_grad_()
    values = Regression("none")(anchors, official("teacher_anchor"))
    torch.testing.assert_close(values, official("regression"), rtol=1e-4, atol=1e-6)
    values.sum().backward()

    def tangent(gradient: Tensor) -> Tensor:
        base = anchors.detach()
        return gradient - (gradient * base).sum(1, keepdim=True) * base

    torch.testing.assert_close(tangent(anchors.grad), tangent(official("regression_grad_anchor")), rtol=1e-4, atol=1e-5)


def unit(count: int, dim: int, seed: int) -> Tensor:
    values = torch.from_numpy(np.random.default_rng(seed).normal(size=(count, dim)))
    return values / values.norm(dim=1, keepdim=True)


@given(st.integers(1, 5), st.integers(1, 7), st.integers(2, 9), st.floats(0.1, 1.9), st.integers(0, 999))
def test_contrastive_is_its_definition(count, others, dim, margin, seed):
    anchors, references = unit(count, dim, seed), unit(others, dim, seed + 1)
    kinds = torch.from_numpy(np.random.default_rng(seed).integers(0, 3, (count, others)))
    for form in ("euclidean", "similarity"):
        expected = []
        for i in range(count):
            total = 0.0
            for j in range(others):
                distance = float((anchors[i] - references[j] + 1e-6).norm())
                similarity = float(anchors[i] @ references[j])
                if kinds[i, j] == 1:
                    total += distance**2 / 2 if form == "euclidean" else -similarity
                if kinds[i, j] == 2:
                    push = margin - distance if form == "euclidean" else similarity - margin
                    total += (max(0.0, push) ** 2 / 2) if form == "euclidean" else max(0.0, push)
            expected.append(total)
        actual = Contrastive(margin, form, reduction="none")(anchors, references, kinds == 1, kinds == 2)
        np.testing.assert_allclose(actual.numpy(), expected, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("form", ["euclidean", "similarity"])
@pytest.mark.parametrize("masks", [(True, False), (False, True), (False, False), (True, True)])
def test_contrastive_has_finite_gradients_at_identical_vectors_and_without_pairs(form, masks):
    anchors = unit(3, 4, 0).requires_grad_()
    references = anchors.detach().clone()
    positives, negatives = (torch.full((3, 3), each) for each in masks)
    Contrastive(form=form)(anchors, references, positives, negatives).backward()
    assert bool(torch.isfinite(anchors.grad).all())


def summed(parts: list[LossPart]) -> WeightedSum:
    def no_centroids(_part):
        raise AssertionError("none of these losses has centroids")

    return weighted_sum(parts, 4, no_centroids)


def test_symmetric_training_moves_both_sides_and_asymmetric_only_the_student():
    vectors, teachers = unit(4, 8, 0).requires_grad_(), unit(4, 8, 1).requires_grad_()
    batch = Batch(vectors, teachers, torch.arange(4), torch.tensor([0, 0, 1, 1]))
    part = ContrastivePart(name="contrastive", references="student", form="similarity")
    summed([part])(batch)[0].backward()
    assert teachers.grad is None
    # Each pair counts from both ends, and either end pulls the other.
    torch.testing.assert_close(vectors.grad[0], -2 * vectors.detach()[1] / 4)


def test_a_photo_is_no_pair_with_itself_and_unlabelled_photos_pair_with_their_other_view_only():
    vectors = unit(5, 8, 0)
    photos, instances = torch.tensor([0, 1, 2, 3, 3]), torch.tensor([0, 0, 1, 2, 2])
    batch = Batch(vectors, vectors, photos, instances)
    _, references, positives, negatives = batch.inputs(("anchors", "references", "positives", "negatives"), "student")
    assert references is vectors
    assert positives.nonzero().tolist() == [[0, 1], [1, 0], [3, 4], [4, 3]]
    assert not bool((negatives & positives).any()) and not bool(negatives.diagonal().any())
    # The teacher has one vector for both views of photo 3: it is not a positive, regression is for that.
    _, positives, negatives = batch.inputs(("anchors", "positives", "negatives"), "teacher")
    assert positives.nonzero().tolist() == [[0, 1], [1, 0]]
    assert not bool(negatives[3, 4])


def test_losses_are_summed_by_their_weights():
    batch = Batch(unit(4, 8, 0), unit(4, 8, 1), torch.arange(4), torch.tensor([0, 0, 1, 1]))
    regression = RegressionPart(name="regression", weight=2.0)
    contrastive = ContrastivePart(name="contrastive", references="teacher", weight=0.5)
    total, values = summed([regression, contrastive])(batch)
    assert total.item() == pytest.approx(2 * values["regression"] + 0.5 * values["contrastive_on_teacher"])
