"""A small network whose convolutions multiply bytes, and its checkpoint."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from askew_training.networks.checkpoint import Checkpoint
from askew_training.networks.network import Network
from askew_training.networks.quantised.conversion import quantised
from askew_training.quantise.ranges import choose_ranges
from tests.support.tiny_lite import TINY_LITE
from tests.support.training_helpers import SPACE, checkpoint_of, picture, tiny_network


def float_network() -> Network:
    return tiny_network(dim=24, trunk=TINY_LITE)


def pictures(count: int = 6, height: int = 96, width: int = 72, first: int = 0) -> Tensor:
    """Photos, uint8 [count, height, width, 3]."""
    return torch.from_numpy(np.stack([picture(height, width, seed) for seed in range(first, first + count)]))


def rounded(network: Network) -> Network:
    """The network with convolutions that multiply bytes, in ranges chosen from some pictures; nothing is learned."""
    made = quantised(network)
    choose_ranges(made, [pictures()])
    return made


def quantised_checkpoint() -> Checkpoint:
    made = checkpoint_of(rounded(float_network()), teacher_space=SPACE)
    return Checkpoint(made.network, made.description.model_copy(update={"arithmetic": "int8"}))
