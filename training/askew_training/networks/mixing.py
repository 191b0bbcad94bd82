"""The average of two networks' weights."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from askew_training.errors import WeightsError
from askew_training.networks.checkpoint import Checkpoint, network_of
from askew_training.networks.network import Branch, Network
from askew_training.networks.statistics import are_folded
from askew_training.networks.weights import trunk_with_weights

NEARLY = 1.0
"""Grey levels by which two ways to write one normalisation may differ, such as 127 and 127.5."""


def mix_with_start(tuned: Network, weights: Sequence[str], share: float) -> Network:
    """Compute share · tuned + (1 − share) · start, tensor by tensor (Wortsman et al., CVPR 2022, "WiSE-FT").

    `weights` names the start of each trunk; GeM's exponents start at 3. The result has no linear layer, because the
    layer of either network would not fit the mixture. Raises WeightsError for weights that do not fit a trunk, for
    another number of them than of trunks, for a network with a projection, whose start is unknown, and for weights
    that are no counterparts (`check_counterparts`).
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
    network = Network(starts, None, tuned.scales, tuned.scale_mean)
    check_counterparts(tuned, network)
    network.load_state_dict(_average(tuned, network, share))
    return network.eval()


def mix_with_checkpoint(tuned: Checkpoint, start: Checkpoint, share: float) -> Network:
    """Compute share · tuned + (1 − share) · start of all tensors, the linear layers' too (WiSE-FT, as above).

    It makes sense if `tuned` was trained from `start` with its linear layer kept. Raises WeightsError for networks of another
    layout, if one of them is a student of a teacher that did not teach the other, and for weights that are no counterparts
    (`check_counterparts`).
    """
    if tuned.description.teacher_space != start.description.teacher_space:
        raise WeightsError(
            f"Expected the start of a {_kind(tuned)}, got a {_kind(start)}. Only networks that describe in one space, "
            "or two that each define their own, have an average."
        )
    ends, starts = (_layout(each) for each in (tuned, start))
    if ends != starts:
        raise WeightsError(
            f"Expected a start of the same layout, {ends}, got {starts}. Name the checkpoint from which the network was trained."
        )
    check_counterparts(tuned.network, start.network)
    network = network_of(tuned.description)
    network.load_state_dict(_average(tuned.network, start.network, share))
    return network.eval()


def check_counterparts(tuned: Network, start: Network) -> None:
    """Raise WeightsError if the weights of two networks of one layout cannot mean the same.

    So it is if the batch normalisation of one network alone is folded into its convolutions, which multiplies their weights
    channel by channel; and if the networks expect other numbers for the same photo.
    """
    for end, begin in zip(tuned.branches, start.branches, strict=True):
        if are_folded(end) != are_folded(begin):
            folded, other = ("tuned network", "start") if are_folded(end) else ("start", "tuned network")
            raise WeightsError(
                f"The batch normalisation of the {folded} is folded into its convolutions, as in encoder files, and that of the "
                f"{other} is not, so their weights have no average. Expected two checkpoints of one kind: `askew export` and "
                f"`askew import-checkpoint` fold the {other}, too."
            )
        wanted, given = (_normalisation(branch) for branch in (end, begin))
        if any((a - b).abs().max() > NEARLY for a, b in zip(wanted, given, strict=True)):
            raise WeightsError(
                f"Expected a start whose input is normalised by {_in_words(wanted)} grey levels, got one of {_in_words(given)}: weights "
                "fit only the input that they were trained on. Name what the network was trained from."
            )


def _normalisation(branch: Branch) -> tuple[Tensor, Tensor]:
    return branch.normalise.mean.flatten(), branch.normalise.std.flatten()


def _in_words(normalisation: tuple[Tensor, Tensor]) -> str:
    mean, std = (", ".join(f"{each:.4g}" for each in values.tolist()) for values in normalisation)
    return f"mean {mean} and deviation {std}"


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
