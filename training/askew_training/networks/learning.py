"""Preparing a network for training: frozen batch statistics, and learning rates for groups of parameters."""

from __future__ import annotations

from typing import TypedDict

from torch import nn

from askew_training.networks.network import Network
from askew_training.networks.pooling import GeM, GeMmp, RegionalGeM

POOLING_RATE = 10.0
"""GeM's exponent learns this many times faster than the rest (as in the code of the AML paper)."""
CHANNEL_POOLING_RATE = 100.0
"""The same for the exponents of GeMmp, one for each channel (as in cirtorch, on which that code is built)."""


class ParameterGroup(TypedDict):
    """One group of parameters, in the form that torch's optimisers take."""

    params: list[nn.Parameter]
    lr: float
    weight_decay: float


def freeze_statistics(network: Network) -> None:
    """Set a network to training mode, with the running statistics of its batch normalisation frozen.

    They also stay frozen after later calls of `network.train()`. The weights and biases of batch normalisation still
    learn. The AML paper trains like this, because it gives photos of different shapes one at a time.
    """
    network.statistics_frozen = True
    network.train()


def prepare_statistics(network: Network, are_trained: bool) -> None:
    """Set a network to training mode, in which batch normalisation learns its statistics, or keeps those that it has."""
    if are_trained:
        network.train()
    else:
        freeze_statistics(network)


def parameter_groups(network: Network, learning_rate: float, weight_decay: float) -> list[ParameterGroup]:
    """Group the parameters that learn: shared exponents at ten times the rate and exponents of single channels at a
    hundred times, both without decay; then the rest.

    Decay would pull an exponent towards 0, where the mean is not defined. Parameters that do not require a gradient
    are left out, and so are empty groups.
    """
    learning = [
        module
        for module in network.modules()
        if isinstance(module, (GeM, GeMmp, RegionalGeM)) and module.p.requires_grad
    ]
    shared = [module.p for module in learning if not isinstance(module, GeMmp)]
    by_channel = [module.p for module in learning if isinstance(module, GeMmp)]
    chosen = {id(exponent) for exponent in shared + by_channel}
    rest = [p for p in network.parameters() if p.requires_grad and id(p) not in chosen]
    groups: list[ParameterGroup] = [
        {"params": shared, "lr": POOLING_RATE * learning_rate, "weight_decay": 0.0},
        {"params": by_channel, "lr": CHANNEL_POOLING_RATE * learning_rate, "weight_decay": 0.0},
        {"params": rest, "lr": learning_rate, "weight_decay": weight_decay},
    ]
    return [group for group in groups if group["params"]]
