"""The moving average of weights."""

from __future__ import annotations

import torch
from torch import nn

from askew_training.train.upkeep.weight_average import WeightAverage


def test_the_average_follows_the_weights_and_is_in_the_network_only_within_the_block() -> None:
    network = nn.Linear(1, 1, bias=False)
    network.weight.data.fill_(0.0)
    average = WeightAverage(network, 0.5)
    expected = 0.0
    for step in range(1, 21):
        network.weight.data.fill_(float(step))
        average.update(step)
        # At first the decay is smaller than the stated one, so that the beginning is soon forgotten.
        decay = min(0.5, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * step
    with average.in_network():
        assert torch.allclose(network.weight, torch.tensor([[expected]]))
    assert network.weight.item() == 20.0
