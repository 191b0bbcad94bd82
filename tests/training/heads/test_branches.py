"""One trunk of a network of several."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from askew_training.errors import CheckpointError
from askew_training.heads.branches import one_branch
from askew_training.networks.network import Network
from tests.support.training_helpers import picture, tiny_network


def test_the_parts_of_all_branches_add_up_to_the_whole() -> None:
    """Before the last scaling to unit length, and without the bias, which each part has."""
    first, second = tiny_network(dim=None), tiny_network(dim=None, scales=(1.0, 0.7))
    torch.manual_seed(3)
    layer = nn.Linear(first.channels + second.channels, 6)
    both = Network([*first.branches, *second.branches], layer).eval()
    photos = torch.from_numpy(picture(96, 128))[None]
    with torch.no_grad():
        whole = layer(both.pooled(photos))
        parts = [one_branch(both, number) for number in (1, 2)]
        added = sum(part.linear(part.pooled(photos)) for part in parts if part.linear is not None) - layer.bias
    torch.testing.assert_close(added, whole, atol=1e-5, rtol=1e-4)
    assert all(part.dim == 6 and part.scales == (1.0,) for part in parts)


def test_the_only_branch_has_the_whole_layer() -> None:
    network = tiny_network(dim=5)
    assert network.linear is not None
    for number in (1, None):
        taken = one_branch(network, number)
        assert taken.linear is not None and torch.equal(taken.linear.weight, network.linear.weight)


@pytest.mark.parametrize("number", [0, 2, -1])
def test_a_branch_that_is_not_there_is_refused(number: int) -> None:
    with pytest.raises(CheckpointError, match="one of 1 branches"):
        one_branch(tiny_network(dim=5), number)
