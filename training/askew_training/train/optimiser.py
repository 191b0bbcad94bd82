"""The optimiser of a recipe, and the learning rate of each step."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch.optim import Optimizer

from askew_training.networks.learning import parameter_groups
from askew_training.networks.network import Network
from askew_training.train.recipe_tables import OptimiserTable


def build_optimiser(table: OptimiserTable, network: Network, fused: bool = False) -> Optimizer:
    """Build the optimiser; each of its groups stores its full learning rate as `full_rate`.

    `fused`: one kernel for all parameters, which must be on a GPU already.
    """
    groups: list[dict[str, Any]] = [
        {**group, "full_rate": group["lr"]}
        for group in parameter_groups(network, table.learning_rate, table.weight_decay)
    ]
    if table.name == "sgd":
        return torch.optim.SGD(groups, momentum=table.momentum, nesterov=table.momentum > 0, fused=fused or None)
    if table.name == "adam":
        return torch.optim.Adam(groups, fused=fused or None)
    return torch.optim.AdamW(groups, fused=fused or None)


def load_optimiser(optimiser: Optimizer, state: dict[str, Any]) -> None:
    """Load the state of an optimiser from a checkpoint, which may come from another device."""
    fused = [group.get("fused") for group in optimiser.param_groups]
    # The state says how its own device computed; where the parameters are now decides how this one does.
    groups = [{**group, "fused": own} for group, own in zip(state["param_groups"], fused, strict=True)]
    optimiser.load_state_dict({**state, "param_groups": groups})


def rate_factor(table: OptimiserTable, step: int, epoch: int, steps: int | None, share: float | None = None) -> float:
    """The factor of the full rate, 0 to 1, at a step of an epoch, both counted from 0.

    `steps`: of the whole run; None if it ends by minutes, of which `share`, 0 to 1, has passed.

    The exponential schedule is that of the published AML code: the first epoch already has the factor `decay`.
    """
    if step < table.warmup_steps:
        return (step + 1) / table.warmup_steps
    if table.schedule == "exponential":
        return table.decay ** (epoch + 1)
    if table.schedule == "cosine":
        by_steps = (step - table.warmup_steps) / max(1, (steps or 0) - table.warmup_steps)
        done = by_steps if share is None else share
        return 0.5 * (1 + math.cos(math.pi * done))
    return 1.0


def set_rate(optimiser: Optimizer, factor: float) -> None:
    """Set the rate of every group to `factor` times its full rate."""
    for group in optimiser.param_groups:
        group["lr"] = group["full_rate"] * factor
