"""The statistics of batch normalisation: kept, estimated again for the photos of a run, or learned with each batch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import nn

from askew_training.networks.network import Network


def normalisations(network: nn.Module) -> list[nn.BatchNorm2d]:
    """The layers of batch normalisation."""
    return [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]


def are_folded(network: nn.Module) -> bool:
    """Whether all statistics are those of layers that only add a bias: mean 0, and a variance that gives the factor 1.

    So a network is read back from its encoder file, whose convolutions hold what the layers behind them did (`forget_statistics`).
    False without such layers.
    """
    layers = normalisations(network)
    return bool(layers) and all(
        layer.running_mean is not None
        and layer.running_var is not None
        and not bool(layer.running_mean.any())
        and torch.equal(layer.running_var, torch.full_like(layer.running_var, 1 - layer.eps))
        for layer in layers
    )


@torch.no_grad()
def forget_statistics(layer: nn.BatchNorm2d) -> None:
    """Let a layer only add its bias, because the convolution before it does the rest."""
    assert layer.running_mean is not None and layer.running_var is not None
    layer.weight.fill_(1)
    layer.running_mean.zero_()
    layer.running_var.fill_(1 - layer.eps)


@torch.no_grad()
def estimate_statistics(network: Network, describe_all: Callable[[], None]) -> None:
    """Replace the running statistics by the mean over what `describe_all` lets the network describe.

    Every pass of the network counts the same. The network's modes are as before afterwards. If it describes nothing, its
    statistics stay.
    """
    layers = normalisations(network)
    before = [(layer, layer.momentum, layer.training) for layer in layers]
    kept = [{name: buffer.clone() for name, buffer in layer.named_buffers()} for layer in layers]
    for layer in layers:
        layer.reset_running_stats()
        # The mean of all passes, in place of a moving one.
        layer.momentum = None
        layer.train()
    try:
        describe_all()
    finally:
        for (layer, momentum, mode), buffers in zip(before, kept, strict=True):
            layer.momentum = momentum
            layer.train(mode)
            if layer.num_batches_tracked is not None and not int(layer.num_batches_tracked):
                for name, buffer in buffers.items():
                    layer.get_buffer(name).copy_(buffer)


@contextmanager
def evaluated(network: nn.Module) -> Iterator[None]:
    """Describe with the network's own statistics inside the block, and train on behind it."""
    was_training = network.training
    network.eval()
    try:
        yield
    finally:
        network.train(was_training)
