"""Parameters and operations of networks."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from askew_training.networks.cost import cost_of
from askew_training.networks.network import Branch, Network
from askew_training.networks.trunks import Trunk
from tests.support.tiny_trunk import TINY_TRUNK
from tests.support.training_helpers import tiny_network


def test_operations_are_two_for_each_multiply_accumulate() -> None:
    network = tiny_network(dim=16)
    counted = 0

    def count(module: nn.Conv2d | nn.Linear, _inputs: object, output: Tensor) -> None:
        nonlocal counted
        counted += 2 * output.numel() * module.weight[0].numel()

    for module in network.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            module.register_forward_hook(count)
    with torch.inference_mode():
        network(torch.zeros(1, 160, 160, 3, dtype=torch.uint8))
    # Read before cost_of runs a copy of the network, which has the same hooks. Biases of convolutions are not counted,
    # so that folding batch normalisation changes nothing.
    expected = counted
    assert cost_of(network, 160).flops == expected


@pytest.mark.slow
def test_each_scale_and_each_branch_is_counted() -> None:
    branch, other = Branch(Trunk(TINY_TRUNK)), Branch(Trunk(TINY_TRUNK), 32)
    one, another = cost_of(Network([branch]), 128), cost_of(Network([other]), 128)
    assert cost_of(Network([branch], scales=(1.0, 1.0)), 128).flops == 2 * one.flops
    together = cost_of(Network([branch, other]), 128)
    assert together.flops == one.flops + another.flops
    assert together.parameters == one.parameters + another.parameters
    assert [shape.channels for shape in together.branches] == [48, 32]
    # Only shapes are computed: the first map of this photo alone would take 1.6 GB.
    assert cost_of(Network([branch]), 20_000).flops > 1e10
