"""Estimating the size of an encoder file before it is exported."""

from __future__ import annotations

from torch import nn

from askew_client.contract.manifest import Precision
from askew_training.export.precision import SMALLEST_CONVERTED
from askew_training.networks.network import Network


def expected_bytes(network: Network, precision: Precision) -> int:
    """Estimate the size of a network's encoder file: its weights, batch normalisation folded into convolutions.

    Golden vectors are included; the graph itself, some hundred kilobytes, is not.
    """
    total = 16 * network.dim
    stored = {"fp32": 4, "fp16": 2, "int8": 1, "int8-compute": 1}[precision]
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            # Folded into the convolution, it becomes a bias for each channel.
            sizes = [module.num_features]
        else:
            sizes = [parameter.numel() for parameter in module.parameters(recurse=False)]
        total += sum(size * (stored if size >= SMALLEST_CONVERTED else 4) for size in sizes)
    return total
