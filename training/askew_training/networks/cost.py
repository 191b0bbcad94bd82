"""What a network costs: parameters, and floating-point operations for one photo."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from torch.utils.flop_counter import FlopCounterMode

from askew_training.networks.checkpoint import branches_of
from askew_training.networks.network import Branch, Network


@dataclass(frozen=True)
class BranchShape:
    """A branch: its trunk and projection, the channels that it pools, and its stride in pixels."""

    trunk: str
    channels: int
    stride: int


@dataclass(frozen=True)
class Cost:
    """`parameters`: the number of those that can learn. `flops`: operations for one photo."""

    parameters: int
    flops: int
    branches: tuple[BranchShape, ...]


def cost_of(network: Network, photo_size: int) -> Cost:
    """Count the operations of describing one photo of `photo_size` × `photo_size` px, at all scales of the network.

    Two operations for each multiply-accumulate of convolutions and matrix products; biases, normalisation, activations,
    pooling, resizing and scaling to unit length are not counted. Counted this way, the networks of the AML paper are
    within 1.3 % of its figures. Only shapes go through the network, nothing is computed, so no photo is too large.
    """
    shapes = copy.deepcopy(network).to("meta").eval()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        shapes(torch.zeros(1, photo_size, photo_size, 3, dtype=torch.uint8, device="meta"))
    return Cost(
        parameters=sum(parameter.numel() for parameter in network.parameters()),
        flops=int(counter.get_total_flops()),
        branches=tuple(
            BranchShape(str(description), branch.channels, _stride(branch))
            for description, branch in zip(branches_of(network), shapes.branches, strict=True)
        ),
    )


def _stride(branch: Branch) -> int:
    """Measured with two photos, so that what a trunk loses at the edges cancels out."""
    with torch.no_grad():
        small, large = (
            int(branch.trunk(torch.zeros(1, 3, side, side, device="meta")).shape[-1]) for side in (256, 512)
        )
    return 256 // (large - small)
