"""One trunk of a network of several, by itself."""

from __future__ import annotations

import math

import torch
from torch import nn

from askew_training.errors import CheckpointError
from askew_training.networks.network import Network


def one_branch(network: Network, number: int | None) -> Network:
    """Take one trunk of a network with its part of the linear layer, at one scale.

    `number`: from 1; None takes all. The vectors of several branches are scaled to unit length together, so the part is
    divided by √n: the pooled vector of one has unit length by itself. What the other branches add is missing, so the
    layer is only a start. Raises CheckpointError if there is no such branch, or no linear layer.
    """
    if network.linear is None:
        raise CheckpointError("The network has no linear layer to take a part of.")
    branches = list(network.branches)
    if number is None:
        return Network(branches, network.linear, (1.0,)).eval()
    if not 1 <= number <= len(branches):
        raise CheckpointError(f"Expected the number of one of {len(branches)} branches, from 1, got {number}.")
    before = sum(branch.channels for branch in branches[: number - 1])
    chosen = branches[number - 1]
    part = nn.Linear(chosen.channels, network.linear.out_features)
    with torch.no_grad():
        weight = network.linear.weight[:, before : before + chosen.channels] / math.sqrt(len(branches))
        part.load_state_dict({"weight": weight, "bias": network.linear.bias})
    return Network([chosen], part, (1.0,)).eval()
