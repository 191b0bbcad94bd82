"""A quantised network as torch's exporter takes it: convolutions with rounded weights between rounded features."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from askew_training.networks.network import Network
from askew_training.networks.quantised.layers import FEATURE_LEVELS, ByteConvolution, ByteSum, Quantiser


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
            steps = child.steps.detach()
            weights[f"{prefix}{name}.0.weight"] = ByteWeights(child.codes().numpy(), steps.numpy())
            rounding = _Rounding(child.quantiser)
            setattr(parent, name, nn.Sequential(child.plain(), child.activation, rounding))
        elif isinstance(child, ByteSum):
            _replace(child.block, f"{prefix}{name}.block.", weights)
            setattr(parent, name, _Sum(child.block, _Rounding(child.quantiser)))
        elif isinstance(child, Quantiser):
            setattr(parent, name, _Rounding(child))
        else:
            _replace(child, f"{prefix}{name}.", weights)


class _Sum(nn.Module):
    def __init__(self, block: nn.Module, rounding: nn.Module) -> None:
        super().__init__()
        self.block, self.rounding = block, rounding

    def forward(self, features: Tensor) -> Tensor:
        rounded: Tensor = self.rounding(self.block(features) + features)
        return rounded


class _Rounding(nn.Module):
    """A quantiser whose range no longer changes."""

    def __init__(self, quantiser: Quantiser) -> None:
        super().__init__()
        self.step, self.zero = float(quantiser.step), quantiser.zero

    def forward(self, features: Tensor) -> Tensor:
        return torch.fake_quantize_per_tensor_affine(features, self.step, self.zero, 0, FEATURE_LEVELS)
