"""The average of two networks' weights."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from askew_training.errors import WeightsError
from askew_training.networks.checkpoint import Checkpoint, network_of
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
    network.load_state_dict(_average(tuned, network, share))
    return network.eval()


def mix_with_checkpoint(tuned: Checkpoint, start: Checkpoint, share: float) -> Network:
    """Compute share · tuned + (1 − share) · start of all tensors, the linear layers' too (WiSE-FT, as above).

    It makes sense if `tuned` was trained from `start` with its linear layer kept. Raises WeightsError for networks of another
    layout, and if one of them is a student of a teacher that did not teach the other.
    """
    if tuned.description.teacher_space != start.description.teacher_space:
        raise WeightsError(
            f"Expected the start of a {_kind(tuned)}, got a {_kind(start)}. Only networks that describe in one space, "
            "or two that each define their own, have an average."
        )
    ends, starts = (_layout(each) for each in (tuned, start))
    if ends != starts:
        raise WeightsError(
            f"Expected the start of a {ends}, got a {starts}. Name the checkpoint from which the network was trained."
        )
    network = network_of(tuned.description)
    network.load_state_dict(_average(tuned.network, start.network, share))
    return network.eval()


def _average(tuned: Network, start: Network, share: float) -> dict[str, Tensor]:
    ends = tuned.state_dict()
    return {
        name: share * ends[name] + (1 - share) * tensor if tensor.is_floating_point() else tensor
        for name, tensor in start.state_dict().items()
    }


def _kind(checkpoint: Checkpoint) -> str:
    space = checkpoint.description.teacher_space
    return "network without a teacher" if space is None else f"student of the space {space}"


def _layout(checkpoint: Checkpoint) -> str:
    """What must be equal, in words."""
    dim = checkpoint.description.dim
    layer = "no linear layer" if dim is None else f"a linear layer of {dim} dimensions"
    return f"{checkpoint.description.trunk} with {layer}"
