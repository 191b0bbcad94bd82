"""Between two networks: their weights averaged."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from askew_training.networks.network import Network


def mixed(tuned: Network, weights: list[str], share: float) -> Network:
    """share · tuned + (1 − share) · start, tensor by tensor (Wortsman et al., CVPR 2022, "WiSE-FT").

    `weights` names the start of each trunk; GeM's exponents start at 3, and a linear layer is left out: it fits neither
    mixture. Raises WeightsError for weights that do not fit a trunk, a number of them that does not fit the network,
    and a network with a projection, whose start nobody knows.
    """
    from askew_training.errors import WeightsError
    from askew_training.networks.network import Branch, Network
    from askew_training.networks.weights import trunk_with_weights

    if len(weights) != len(tuned.branches):
        raise WeightsError(f"Expected --weights for each of {len(tuned.branches)} trunk(s), got {len(weights)}.")
    if any(branch.projection is not None for branch in tuned.branches):
        raise WeightsError("A projection started at random, and nothing is left of that: expected trunks without one.")
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
