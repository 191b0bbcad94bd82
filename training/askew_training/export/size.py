"""How large an encoder file will be, before it is exported."""

from __future__ import annotations

from torch import nn

from askew_client.contract.manifest import Precision
from askew_training.export.precision import SMALLEST_STORED_SMALL
from askew_training.networks.network import Network


def expected_bytes(network: Network, precision: Precision) -> int:
    """Estimate the size of a network's encoder file: its weights, batch normalisation folded into convolutions.

    Golden vectors are included, the graph itself is not: some hundred kilobytes.
    """
    total = 16 * network.dim
    stored = {"fp32": 4, "fp16": 2, "int8": 1}[precision]
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            # What is left of it is a bias for each channel.
            sizes = [module.num_features]
        else:
            sizes = [parameter.numel() for parameter in module.parameters(recurse=False)]
        total += sum(size * (stored if size >= SMALLEST_STORED_SMALL else 4) for size in sizes)
    return total
