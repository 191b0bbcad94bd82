"""The shapes that a network meets in training on a GPU, prepared before the clock starts."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from accelerate import Accelerator
from torch import nn


def warm_up(network: nn.Module, accelerator: Accelerator, shapes: Sequence[tuple[int, int]], count: int) -> None:
    """Let a GPU prepare its convolutions: a pass forward and backward for each shape, (height, width), of `count` photos.

    Nothing is learned from it, no statistics either, and the gradients are dropped.
    """
    statistics = {name: buffer.clone() for name, buffer in network.named_buffers()}
    for height, width in shapes:
        pixels = torch.zeros((count, height, width, 3), dtype=torch.uint8, device=accelerator.device)
        with accelerator.autocast():
            vectors = network(pixels)
        # The gradients that this leaves are 0 or not finite; they are dropped either way.
        accelerator.backward(vectors.float().sum())
        network.zero_grad(set_to_none=True)
    with torch.no_grad():
        for name, buffer in network.named_buffers():
            buffer.copy_(statistics[name])
    if accelerator.device.type == "cuda":
        torch.cuda.synchronize(accelerator.device)
