"""The exponential moving average of a network's weights, which is measured and kept in their place."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class WeightAverage:
    """average ← average + (1 − decay) · (weights − average), after every step.

    In the first steps the decay is at most (1 + step) / (10 + step), as in TensorFlow's ExponentialMovingAverage: otherwise
    the weights that the run began with would outlast a short run.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self._network, self._decay = network, decay
        self._tensors = {name: tensor.detach().clone() for name, tensor in _averaged(network).items()}

    def update(self, step: int) -> None:
        """Take in the weights after a step, counted from 1."""
        decay = min(self._decay, (1 + step) / (10 + step))
        present = _averaged(self._network)
        with torch.no_grad():
            torch._foreach_lerp_(list(self._tensors.values()), [present[name] for name in self._tensors], 1 - decay)

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Continue from the average of a stopped run; tensors of other names are left out."""
        with torch.no_grad():
            for name, tensor in self._tensors.items():
                tensor.copy_(tensors[name])

    @contextmanager
    def in_network(self) -> Iterator[None]:
        """Within it, the network has the average as its weights."""
        own = {name: tensor.detach().clone() for name, tensor in _averaged(self._network).items()}
        _copy(self._tensors, self._network)
        try:
            yield
        finally:
            _copy(own, self._network)


def _averaged(network: nn.Module) -> dict[str, Tensor]:
    """The weights and statistics of a network, without counters."""
    return {name: tensor for name, tensor in network.state_dict().items() if tensor.is_floating_point()}


def _copy(tensors: Mapping[str, Tensor], network: nn.Module) -> None:
    present = _averaged(network)
    with torch.no_grad():
        for name, tensor in tensors.items():
            present[name].copy_(tensor)
