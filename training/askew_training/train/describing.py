"""A batch of pixels of several shapes through the network, in the precision of the run."""

from __future__ import annotations

from collections.abc import Callable

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from askew_training.train.loading import LoadedBatch

Describe = Callable[[LoadedBatch], Tensor]


PIECE = 16
PIECE_STEP = 4
"""On a CPU, photos of one shape go through the network 16 at a time, the last piece filled up to 4, 8, 12 or 16: oneDNN
compiles its kernels anew for each size of a batch, and larger pieces are no faster."""


def describing(network: nn.Module, accelerator: Accelerator) -> Describe:
    """The function from a loaded batch to unit vectors, float32 [B, D], in the order of its photos."""
    on_cpu = accelerator.device.type == "cpu"

    def describe(batch: LoadedBatch) -> Tensor:
        vectors = []
        for pixels, _ in batch.groups:
            for piece in torch.split(pixels, PIECE if on_cpu else len(pixels)):
                filled = _filled_up(piece) if on_cpu else piece
                with accelerator.autocast():
                    vectors.append(network(filled.to(accelerator.device))[: len(piece)].float())
        order = torch.argsort(torch.cat([places for _, places in batch.groups]))
        return torch.cat(vectors)[order.to(accelerator.device)]

    return describe


def _filled_up(piece: Tensor) -> Tensor:
    """Repeat the last photo up to the next size that pieces have; what comes out for it is dropped."""
    missing = -len(piece) % PIECE_STEP
    return torch.cat([piece, piece[-1:].expand(missing, -1, -1, -1)]) if missing else piece
