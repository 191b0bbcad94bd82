"""How large an encoder file will be, before it is exported."""

from __future__ import annotations

from typing import Literal

from torch import nn

from askew_training.export.precision import SMALLEST_STORED_HALF
from askew_training.networks.network import Network


def expected_bytes(network: Network, precision: Literal["fp32", "fp16"]) -> int:
    """Estimate the size of a network's encoder file: its weights, batch normalisation folded into convolutions.

    Golden vectors are included, the graph itself is not: some hundred kilobytes.
    """
    total = 16 * network.dim
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            # What is left of it is a bias for each channel.
            sizes = [module.num_features]
        else:
            sizes = [parameter.numel() for parameter in module.parameters(recurse=False)]
        total += sum(size * (2 if precision == "fp16" and size >= SMALLEST_STORED_HALF else 4) for size in sizes)
    return total
