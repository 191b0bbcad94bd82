"""A quantised network as torch's exporter takes it: convolutions with rounded weights between rounded features."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from askew_training.networks.network import Network
from askew_training.networks.quantised.layers import FEATURE_LEVELS, ByteConvolution, Quantiser


@dataclass(frozen=True)
class ByteWeights:
    """The weights of one convolution: int8 [O, I, kh, kw], and the step of each output channel, float32 [O]."""

    codes: NDArray[np.int8]
    steps: NDArray[np.float32]


def is_quantised(network: Network) -> bool:
    """Whether the convolutions of a network compute with bytes."""
    return any(isinstance(module, ByteConvolution) for module in network.modules())


def exportable(network: Network) -> tuple[Network, dict[str, ByteWeights]]:
    """Return a copy whose convolutions are plain ones with rounded weights, and these weights by the names that they
    have in the exported graph.

    Rounded features become a QuantizeLinear and a DequantizeLinear in the graph.
    """
    made = copy.deepcopy(network)
    weights: dict[str, ByteWeights] = {}
    _replace(made, "", weights)
    return made.eval(), weights


def _replace(parent: nn.Module, prefix: str, weights: dict[str, ByteWeights]) -> None:
    for name, child in list(parent.named_children()):
        if isinstance(child, ByteConvolution):
            codes, steps = child.codes()
            weights[f"{prefix}{name}.weight"] = ByteWeights(codes.numpy(), steps.numpy())
            setattr(parent, name, child.plain())
        elif isinstance(child, Quantiser):
            setattr(parent, name, _Rounding(*child.levels()))
        else:
            _replace(child, f"{prefix}{name}.", weights)


class _Rounding(nn.Module):
    """A quantiser whose range no longer changes."""

    def __init__(self, step: float, zero: int) -> None:
        super().__init__()
        self.step, self.zero = step, zero

    def forward(self, features: Tensor) -> Tensor:
        return torch.fake_quantize_per_tensor_affine(features, self.step, self.zero, 0, FEATURE_LEVELS)
