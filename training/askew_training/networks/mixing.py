"""The average of two networks' weights."""

from __future__ import annotations

from collections.abc import Sequence

from askew_training.errors import WeightsError
from askew_training.networks.network import Branch, Network
from askew_training.networks.weights import trunk_with_weights


def mix_with_start(tuned: Network, weights: Sequence[str], share: float) -> Network:
    """Compute share · tuned + (1 − share) · start, tensor by tensor (Wortsman et al., CVPR 2022, "WiSE-FT").

    `weights` names the start of each trunk; GeM's exponents start at 3. The result has no linear layer, because the
    layer of either network would not fit the mixture. Raises WeightsError for weights that do not fit a trunk, for
    another number of them than of trunks, and for a network with a projection, whose start is unknown.
    """
    if len(weights) != len(tuned.branches):
        raise WeightsError(f"Expected --weights for each of {len(tuned.branches)} trunk(s), got {len(weights)}.")
    if any(branch.projection is not None for branch in tuned.branches):
        raise WeightsError(
            "Expected trunks without a projection: a projection starts at random, and its start is not kept."
        )
    starts = [
        Branch(trunk_with_weights(branch.trunk.name, source), pooling=branch.pooling)
        for branch, source in zip(tuned.branches, weights, strict=True)
    ]
    network = Network(starts, None, tuned.scales)
    ends = tuned.state_dict()
    network.load_state_dict(
        {
            name: share * ends[name] + (1 - share) * start if start.is_floating_point() else start
            for name, start in network.state_dict().items()
        }
    )
    return network.eval()
