"""Small networks and photos for the tests of training."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image
from torch import nn

from askew_training.export.write import EncoderCard
from askew_training.networks.checkpoint import Checkpoint, Description, PhotoSource, branches_of
from askew_training.networks.network import Branch, Network
from askew_training.networks.trunks import Trunk

TINY_TRUNK = "mobilenetv3_small_050"
CARD = EncoderCard(
    name="tiny",
    version="1",
    role="teacher",
    photo_size=128,
    scales=(1.0,),
    precision="fp32",
    licence="CC0",
    metrics={"symmetric.mAP": 0.5},
)


def tiny_network(dim: int | None = 16, scales: tuple[float, ...] = (1.0,), trunk: str = TINY_TRUNK) -> Network:
    torch.manual_seed(1)
    features = varied(Trunk(trunk))
    linear = None if dim is None else nn.Linear(features.channels, dim)
    return Network([Branch(features)], linear, scales).eval()


def varied(trunk: Trunk) -> Trunk:
    """Give a random trunk statistics off 0 and 1: photos then differ more, and folding them is a real test."""
    for module in trunk.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -0.5, 0.5)
            nn.init.uniform_(module.running_var, 0.5, 2.0)
            if not bool(module.weight.any()):
                # A residual network starts with branches that add nothing, and would be exported without them.
                nn.init.uniform_(module.weight, 0.2, 0.5)
    return trunk


def checkpoint_of(network: Network, photo_size: int = 128, teacher_space: str | None = None) -> Checkpoint:
    description = Description(
        branches=branches_of(network),
        dim=None if network.linear is None else network.dim,
        photo_size=photo_size,
        scales=network.scales,
        recipe="random weights, for a test",
        data=(PhotoSource(name="none", licence="CC0", photos=0),),
        teacher_space=teacher_space,
    )
    return Checkpoint(network, description)


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    random = np.random.default_rng(seed)
    coarse = random.integers(0, 256, (4, 5, 3), dtype=np.uint8)
    return np.array(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))
