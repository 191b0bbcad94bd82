"""The ranges that features are rounded in, chosen from what a network computes for some photos."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from askew_training.networks.network import Network
from askew_training.networks.quantised.layers import FEATURE_LEVELS, Quantiser

_SHARES = torch.linspace(0.2, 1.0, 33)
"""The shares of the observed range that are tried."""


def choose_ranges(network: Network, batches: Iterable[Tensor]) -> None:
    """Set each range of a quantised network to the one that rounds what it observes with the smallest squared error.

    `batches`: photos, uint8 [N, H, W, 3], on the network's device. Ranges that are fixed stay as they are.
    """
    quantisers = [module for module in network.modules() if isinstance(module, Quantiser)]
    for each in quantisers:
        each.mode, each.samples = "observe", []
    with torch.no_grad():
        for photos in batches:
            network(photos)
    for each in quantisers:
        samples = torch.cat(each.samples)
        each.mode, each.samples = "round", []
        if not each.is_fixed:
            low, high = best_range(samples, each.starts_at_zero)
            each.low.data.fill_(low)
            each.high.data.fill_(high)


def best_range(samples: Tensor, starts_at_zero: bool) -> tuple[float, float]:
    """The range around 0 that rounds float [n] samples to 256 levels with the smallest squared error."""
    lowest = 0.0 if starts_at_zero else min(float(samples.min()), 0.0)
    highest = max(float(samples.max()), 1e-3)
    best, smallest = (lowest, highest), float("inf")
    for share in _SHARES.tolist():
        low, high = share * lowest, share * highest
        step = (high - low) / FEATURE_LEVELS
        zero = round(-low / step)
        rounded = ((samples / step).round() + zero).clamp(0, FEATURE_LEVELS)
        error = float((((rounded - zero) * step - samples) ** 2).mean())
        if error < smallest:
            best, smallest = (low, high), error
    return best
