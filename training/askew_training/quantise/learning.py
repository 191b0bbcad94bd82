"""Quantisation-aware training in the space of the network itself: it describes the same views, before and after rounding."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice

import torch
from torch import Tensor, nn

from askew_training.errors import TrainingError
from askew_training.networks.network import Network
from askew_training.networks.quantised.conversion import quantised
from askew_training.networks.quantised.layers import ByteConvolution, Quantiser
from askew_training.quantise.ranges import choose_ranges

RANGE_FACTOR = 3.0
"""Ranges are several units wide, weights one."""


@dataclass(frozen=True)
class Learning:
    """How long and how fast a quantised network learns.

    `steps`: of the optimiser, one for each batch. `observed`: batches from which the ranges are chosen first. `rate`: the
    highest learning rate of Adam, in shares of the largest weight of a channel; it rises for a twentieth of the steps and
    falls to 0 as a cosine.
    """

    steps: int = 300
    observed: int = 8
    rate: float = 1e-4


def learn_rounded(
    network: Network,
    views: Iterator[Tensor],
    learning: Learning = Learning(),
    on_step: Callable[[int, float], None] = lambda step, cosine: None,
) -> Network:
    """Return a quantised copy of a float network that gives nearly the same vectors: float [N, D], in eval mode.

    `network`: in eval mode, on any device; it is not changed. `views`: batches of photos, uint8 [N, H, W, 3], such as
    random crops, on the CPU or the same device; `learning.observed` and `learning.steps` of them are taken. No labels and no
    teacher are needed: what is learned is the network's own vector of the very same pixels (function matching, Beyer et al.,
    CVPR 2022). `on_step` gets the number of the step, from 1, and the mean cosine to the float network before it.

    Raises WeightsError for a trunk that cannot be quantised, TrainingError if the loss is not finite or views run out.
    """
    device = next(network.parameters()).device
    network = network.eval()
    learner = quantised(network).to(device)
    choose_ranges(learner, (photos.to(device) for photos in islice(views, learning.observed)))
    learner.train()
    groups = _parameters(learner)
    optimiser = torch.optim.Adam([{"params": group, "lr": learning.rate * factor} for factor, group in groups])
    for step in range(1, learning.steps + 1):
        photos = next(views, None)
        if photos is None:
            raise TrainingError(f"Expected {learning.steps} batches of photos to learn from, got {step - 1}.")
        photos = photos.to(device)
        with torch.no_grad():
            wanted = network(photos)
        cosine = (learner(photos) * wanted).sum(-1).mean()
        if not bool(torch.isfinite(cosine)):
            raise TrainingError(f"The cosine is no longer finite in step {step}. Lower the learning rate.")
        optimiser.zero_grad(set_to_none=True)
        (1 - cosine).backward()
        share = _rate_share(step, learning.steps)
        for group, (factor, _) in zip(optimiser.param_groups, groups, strict=True):
            group["lr"] = learning.rate * factor * share
        optimiser.step()
        on_step(step, float(cosine.detach()))
    return learner.eval()


def cosine_of(network: Network, learned: Network, views: Iterator[Tensor], batches: int) -> float:
    """The mean cosine between the vectors of a float network and of its quantised copy, for some batches of photos."""
    device = next(network.parameters()).device
    with torch.no_grad():
        cosines = [
            (network(photos.to(device)) * learned(photos.to(device))).sum(-1) for photos in islice(views, batches)
        ]
    return float(torch.cat(cosines).mean())


def _parameters(network: Network) -> list[tuple[float, list[nn.Parameter]]]:
    """What is learned, by the factor of its learning rate: weights, their steps and biases; the ends of ranges.

    Pooling and the linear layer stay: they are the space's.
    """
    layers = [module for module in network.modules() if isinstance(module, ByteConvolution)]
    ranges = [module for module in network.modules() if isinstance(module, Quantiser) and not module.is_fixed]
    weights = [parameter for layer in layers for parameter in (layer.weight, layer.gain, layer.bias)]
    ends = [end for each in ranges for end in (each.low, each.high) if end.requires_grad]
    return [(1.0, weights), (RANGE_FACTOR, ends)]


def _rate_share(step: int, steps: int) -> float:
    warm = max(1, steps // 20)
    return min(step / warm, 0.5 * (1 + math.cos(math.pi * min(1.0, (step - 1) / steps))))
