"""A batch of pixels of several shapes through the network, in the precision of the run."""

from __future__ import annotations

from collections.abc import Callable

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from askew_training.train.loading import LoadedBatch

Describe = Callable[[LoadedBatch], Tensor]


def describing(network: nn.Module, accelerator: Accelerator) -> Describe:
    """The function from a loaded batch to unit vectors, float32 [B, D], in the order of its photos."""

    def describe(batch: LoadedBatch) -> Tensor:
        vectors, places = [], []
        for pixels, where in batch.groups:
            with accelerator.autocast():
                vectors.append(network(pixels.to(accelerator.device))[: len(where)].float())
            places.append(where)
        order = torch.argsort(torch.cat(places))
        return torch.cat(vectors)[order.to(accelerator.device)]

    return describe
