"""The optimiser and the learning rate of a step, as a recipe asks."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch.optim import Optimizer

from askew_training.networks.learning import parameter_groups
from askew_training.networks.network import Network
from askew_training.train.recipe_tables import OptimiserPart


def optimiser_of(part: OptimiserPart, network: Network) -> Optimizer:
    """Build the optimiser; each of its groups remembers its own full rate as `full_rate`."""
    groups: list[dict[str, Any]] = [
        {**group, "full_rate": group["lr"]}
        for group in parameter_groups(network, part.learning_rate, part.weight_decay)
    ]
    if part.name == "sgd":
        return torch.optim.SGD(groups, momentum=part.momentum, nesterov=part.momentum > 0)
    if part.name == "adam":
        return torch.optim.Adam(groups)
    return torch.optim.AdamW(groups)


def rate_factor(part: OptimiserPart, step: int, epoch: int, steps: int) -> float:
    """What the full rate is multiplied by at a step (0 the first of `steps`) of an epoch (0 the first), 0 to 1.

    Exponential as the published AML code does it: the first epoch already runs at `decay`.
    """
    if step < part.warmup_steps:
        return (step + 1) / part.warmup_steps
    if part.schedule == "exponential":
        return part.decay ** (epoch + 1)
    if part.schedule == "cosine":
        done = (step - part.warmup_steps) / max(1, steps - part.warmup_steps)
        return 0.5 * (1 + math.cos(math.pi * done))
    return 1.0


def set_rate(optimiser: Optimizer, factor: float) -> None:
    """Set every group's rate to its share of the full one."""
    for group in optimiser.param_groups:
        group["lr"] = group["full_rate"] * factor
