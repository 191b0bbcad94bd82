"""Averaging the scales of one network with the exponent of another, as in the tests of the AML paper's code."""

from __future__ import annotations

from dataclasses import replace

from askew_training.errors import WeightsError
from askew_training.networks.checkpoint import Checkpoint
from askew_training.networks.network import Network, ScaleMean
from askew_training.networks.pooling import GeM


def with_scale_exponent(checkpoint: Checkpoint, other: Checkpoint, name: str) -> Checkpoint:
    """Let a network average its scales by the power mean with the exponent of GeM of another one, called `name`.

    The space stays, because scales are not part of it. Raises WeightsError if either network does not pool with plain
    GeM, if the other one has several branches, or if the network averages behind its linear layer.
    """
    mean = checkpoint.network.scale_mean
    if mean.behind_linear or not all(isinstance(branch.pool, GeM) for branch in checkpoint.network.branches):
        raise WeightsError("The network averages its scales without an exponent. Leave --scale-exponent-of out.")
    pools = [branch.pool for branch in other.network.branches]
    if len(pools) != 1 or not isinstance(pools[0], GeM):
        raise WeightsError(
            f"{name} has no single exponent. Expected a checkpoint of one trunk that pools with plain GeM."
        )
    exponent = float(pools[0].p.detach())
    source = checkpoint.network
    network = Network(source.branches, source.linear, source.scales, ScaleMean(exponent=exponent)).eval()
    recipe = f"{checkpoint.description.recipe}; scales averaged with the exponent {exponent:.4g} of {name}"
    update = {"recipe": recipe, "scale_mean": network.scale_mean}
    return replace(checkpoint, network=network, description=checkpoint.description.model_copy(update=update))
