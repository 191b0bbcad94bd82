"""Small networks, photos and commands for the tests of training."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import typer
from accelerate.state import AcceleratorState
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn
from typer.testing import CliRunner, Result

from askew_training.data.licences import PhotoSource
from askew_training.export.encoder_file import EncoderCard
from askew_training.networks.checkpoint import Checkpoint, Description, branches_of
from askew_training.networks.network import Branch, Network
from askew_training.networks.trunks import Trunk
from tests.support.tiny_trunk import TINY_TRUNK

SPACE = "sp1-" + "0" * 32
MANIFEST_HEADER = "path,instance_id,role,benchmark,set\n"

EXAMPLES = int(os.environ.get("ASKEW_EXAMPLES", "25"))
"""Random examples for each property that is compared with a slow loop. Set it to thousands for a long search."""

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
    """Give a random trunk batch statistics other than 0 and 1: photos then differ more, and folding them is tested."""
    for module in trunk.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None and module.running_var is not None
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


def picture(height: int, width: int, seed: int = 0) -> NDArray[np.uint8]:
    random = np.random.default_rng(seed)
    coarse = random.integers(0, 256, (4, 5, 3), dtype=np.uint8)
    return np.array(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))


def unit_vectors(count: int, dim: int, seed: int) -> NDArray[np.float32]:
    values = np.random.default_rng(seed).normal(size=(count, dim)).astype(np.float32)
    return np.asarray(values / np.linalg.norm(values, axis=1, keepdims=True), dtype=np.float32)


def unit_tensors(count: int, dim: int, seed: int) -> Tensor:
    """In double precision."""
    values = torch.from_numpy(np.random.default_rng(seed).normal(size=(count, dim)))
    return nn.functional.normalize(values, dim=1)


def gradient_of(tensor: Tensor) -> Tensor:
    assert tensor.grad is not None
    return tensor.grad


def run_command(command: Callable[..., Any], *arguments: object) -> Result:
    """Run a command of the command line in this process. Raises what it raises, except for its exit."""
    application = typer.Typer()
    application.command()(command)
    result = CliRunner().invoke(application, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def forget_precision() -> None:
    """Let accelerate forget the precision of a run, which it keeps for its process; each command has its own process."""
    AcceleratorState._reset_state(reset_partial_state=True)


def words(text: str) -> str:
    """The text of a message that the terminal broke into lines and framed."""
    return " ".join(text.replace("│", " ").split())
