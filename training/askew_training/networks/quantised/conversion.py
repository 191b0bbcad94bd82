"""From a float network to one whose convolutions compute with bytes."""

from __future__ import annotations

import copy

import torch
from timm.models._efficientnet_blocks import ConvBnAct, DepthwiseSeparableConv, InvertedResidual
from timm.models.efficientnet import EfficientNet
from torch import Tensor, nn

from askew_training.errors import WeightsError
from askew_training.networks.network import Branch, Network
from askew_training.networks.quantised.layers import ByteConvolution, Quantiser

_PAIRS: dict[type[nn.Module], tuple[tuple[str, str], ...]] = {
    ConvBnAct: (("conv", "bn1"),),
    DepthwiseSeparableConv: (("conv_dw", "bn1"), ("conv_pw", "bn2")),
    InvertedResidual: (("conv_pw", "bn1"), ("conv_dw", "bn2"), ("conv_pwl", "bn3")),
}
"""Each kind of block: its convolutions, and the normalisation (with an activation or without) behind each."""
_STEM_AND_HEAD = (("conv_stem", "bn1"), ("conv_head", "bn2"))


def quantised(network: Network) -> Network:
    """Return a copy of a float network whose convolutions compute with bytes; its ranges are not learned yet.

    Batch normalisation is folded into the convolutions. Features are rounded behind every convolution with its activation,
    and behind every sum; pixels before the first one. Pooling, unit length and the linear layer stay as they are. Raises
    WeightsError for a trunk other than an EfficientNet of convolutions and ReLUs: of others, squeeze-and-excitation and
    SiLU would stay in single precision between the convolutions, and nothing would be gained.
    """
    made = copy.deepcopy(network)
    for branch in made.branches:
        _quantise_branch(branch)
    return made.train(network.training)


def _quantise_branch(branch: Branch) -> None:
    name, features = branch.trunk.name, branch.trunk.features
    if not isinstance(features, EfficientNet):
        raise _unsuited(name)
    blocks = [(stage, number, block) for stage in features.blocks for number, block in enumerate(stage)]
    for stage, number, block in blocks:
        if type(block) not in _PAIRS or not all(isinstance(getattr(block, part, _NONE), nn.Identity) for part in ("aa", "se")):
            if not (isinstance(block, ConvBnAct) and isinstance(block.aa, nn.Identity)):
                raise _unsuited(name)
        for convolution, normalisation in _PAIRS[type(block)]:
            _replace(block, convolution, normalisation, name)
        if block.has_skip:
            stage[number] = nn.Sequential(block, Quantiser())
    for convolution, normalisation in _STEM_AND_HEAD:
        _replace(features, convolution, normalisation, name)
    mean, std = branch.normalise.mean, branch.normalise.std
    pixels = Quantiser(float((-mean / std).min()), float(((255 - mean) / std).max()), is_fixed=True)
    branch.normalise = nn.Sequential(branch.normalise, pixels)  # type: ignore[assignment]
    if branch.projection is not None:
        projection = branch.projection[0]
        assert isinstance(projection, nn.Conv2d)
        bias = torch.zeros(projection.out_channels)
        branch.projection = nn.Sequential(
            ByteConvolution(projection, projection.weight, bias), nn.ReLU(), Quantiser(starts_at_zero=True)
        )


_NONE = nn.Identity()


def _replace(parent: nn.Module, convolution: str, normalisation: str, name: str) -> None:
    layer, norm = getattr(parent, convolution), getattr(parent, normalisation)
    activation = getattr(norm, "act", None)
    if (
        not isinstance(layer, nn.Conv2d)
        or not isinstance(norm, nn.BatchNorm2d)
        or not isinstance(activation, nn.ReLU | nn.ReLU6 | nn.Identity)
    ):
        raise _unsuited(name)
    setattr(parent, convolution, ByteConvolution(layer, *_folded(layer, norm)))
    is_linear = isinstance(activation, nn.Identity)
    quantiser = Quantiser(starts_at_zero=not is_linear, high=6.0 if isinstance(activation, nn.ReLU6) else 1.0)
    setattr(parent, normalisation, nn.Sequential(activation, quantiser))


def _folded(convolution: nn.Conv2d, norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """The weight and the bias of a convolution with the batch normalisation behind it."""
    assert norm.running_mean is not None and norm.running_var is not None
    with torch.no_grad():
        factor = norm.weight.double() / torch.sqrt(norm.running_var.double() + norm.eps)
        before = norm.running_mean.double() if convolution.bias is None else norm.running_mean.double() - convolution.bias
        weight = convolution.weight.double() * factor.reshape(-1, 1, 1, 1)
        return weight.float(), (norm.bias.double() - before * factor).float()


def _unsuited(name: str) -> WeightsError:
    return WeightsError(
        f"The convolutions of {name} cannot compute with bytes: expected a trunk of convolutions and ReLUs alone, such as "
        "tf_efficientnet_lite0 or mobilenetv2_100. Export it with --precision int8, which stores bytes."
    )
