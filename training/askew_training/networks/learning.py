"""What a network needs before it learns: batch statistics that stand still, and rates for each parameter."""

from __future__ import annotations

from typing import TypedDict

from torch import nn

from askew_training.networks.network import GeM, Network

POOLING_RATE = 10.0
"""GeM's exponent learns this many times faster than the rest (as the code of the AML paper)."""


class ParameterGroup(TypedDict):
    """One group of parameters, as the optimisers of torch take it."""

    params: list[nn.Parameter]
    lr: float
    weight_decay: float


def freeze_statistics(network: Network) -> None:
    """Bring a network into training mode, with the running statistics of its batch normalisation frozen.

    Now and after each later `network.train()`. The weights and biases of batch normalisation go on learning. The AML
    paper trains so, because photos of different shapes are given one at a time.
    """
    network.statistics_frozen = True
    network.train()


def parameter_groups(network: Network, learning_rate: float, weight_decay: float) -> list[ParameterGroup]:
    """Group the parameters that learn: GeM's exponents at ten times the rate and without decay, then the rest.

    Decay would pull an exponent towards 0, where the mean is not defined. Parameters that do not ask for a gradient
    are left out, and so is a group without any.
    """
    exponents = [module.p for module in network.modules() if isinstance(module, GeM) and module.p.requires_grad]
    chosen = {id(exponent) for exponent in exponents}
    rest = [p for p in network.parameters() if p.requires_grad and id(p) not in chosen]
    groups: list[ParameterGroup] = [
        {"params": exponents, "lr": POOLING_RATE * learning_rate, "weight_decay": 0.0},
        {"params": rest, "lr": learning_rate, "weight_decay": weight_decay},
    ]
    return [group for group in groups if group["params"]]
