"""A network learns to give its own vectors with bytes."""

from __future__ import annotations

from itertools import repeat

import pytest
import torch

from askew_training.errors import TrainingError
from askew_training.networks.quantised.layers import Quantiser
from askew_training.quantise.learning import Learning, cosine_of, learn_rounded
from askew_training.quantise.ranges import best_range
from tests.support.quantised_networks import float_network, pictures, rounded


@pytest.mark.slow
def test_learning_brings_vectors_nearer() -> None:
    network, aside = float_network(), pictures(first=100)
    learned = learn_rounded(network, repeat(pictures(12)), Learning(steps=25, observed=1))
    before, after = (1 - cosine_of(network, each, repeat(aside), 1) for each in (rounded(network), learned))
    assert after < 0.8 * before
    assert not learned.training


def test_too_few_photos_are_an_error() -> None:
    with pytest.raises(TrainingError, match="Expected 3 batches of photos to learn from, got 1"):
        learn_rounded(float_network(), iter([pictures(2)] * 2), Learning(steps=3, observed=1))


def test_a_range_leaves_out_what_is_rare() -> None:
    samples = torch.randn(200_000, generator=torch.Generator().manual_seed(1))
    low, high = best_range(samples, starts_at_zero=False)
    # Of normally distributed values, 256 levels hold best what lies within some four standard deviations.
    assert 3 < high < 0.95 * float(samples.max())
    assert low == pytest.approx(float(samples.min() / samples.max()) * high)
    assert best_range(samples.relu(), starts_at_zero=True)[0] == 0


def test_ends_of_ranges_learn_from_what_they_cut_off() -> None:
    quantiser = Quantiser(low=-1.0, high=1.0)
    features = torch.tensor([-3.0, -0.5, 0.5, 3.0], requires_grad=True)
    quantiser(features).sum().backward()
    assert features.grad is not None and features.grad.tolist() == [0, 1, 1, 0]
    assert quantiser.low.grad is not None and float(quantiser.low.grad) == 1
    assert quantiser.high.grad is not None and float(quantiser.high.grad) == 1
