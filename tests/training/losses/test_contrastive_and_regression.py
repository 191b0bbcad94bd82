"""The contrastive and regression losses: the published code, slow re-derivations, corner cases."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from askew_training.losses.contrastive import Contrastive
from askew_training.losses.regression import Regression
from tests.support.paths import TRAINING_FIXTURES
from tests.support.training_helpers import EXAMPLES, gradient_of, unit_tensors

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
    torch.testing.assert_close(gradient_of(anchors), official(f"{name}_grad_anchor"), rtol=1e-6, atol=1e-9)


def test_regression_has_the_values_and_the_direction_of_the_published_code() -> None:
    """1 − cos and ½D² agree in value; their gradients differ only along the anchor, which normalisation removes."""
    anchors = official("anchor").requires_grad_()
    values = Regression("none")(anchors, official("teacher_anchor"))
    torch.testing.assert_close(values, official("regression"), rtol=1e-4, atol=1e-6)
    values.sum().backward()

    def tangent(gradient: Tensor) -> Tensor:
        base = anchors.detach()
        return gradient - (gradient * base).sum(1, keepdim=True) * base

    torch.testing.assert_close(
        tangent(gradient_of(anchors)), tangent(official("regression_grad_anchor")), rtol=1e-4, atol=1e-5
    )


@settings(max_examples=EXAMPLES)
@given(st.integers(1, 5), st.integers(1, 7), st.integers(2, 9), st.floats(0.1, 1.9), st.integers(0, 999))
def test_contrastive_equals_its_definition(count, others, dim, margin, seed):
    anchors, references = unit_tensors(count, dim, seed), unit_tensors(others, dim, seed + 1)
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
    anchors = unit_tensors(3, 4, 0).requires_grad_()
    references = anchors.detach().clone()
    positives, negatives = (torch.full((3, 3), each) for each in masks)
    Contrastive(form=form)(anchors, references, positives, negatives).backward()
    assert bool(torch.isfinite(gradient_of(anchors)).all())
