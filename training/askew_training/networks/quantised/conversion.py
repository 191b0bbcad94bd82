"""From a float network to one whose convolutions compute with bytes."""

from __future__ import annotations

import copy

import torch
from timm.models._efficientnet_blocks import ConvBnAct, DepthwiseSeparableConv, InvertedResidual
from timm.models.efficientnet import EfficientNet
from torch import Tensor, nn

from askew_training.errors import WeightsError
from askew_training.networks.network import Branch, Network
from askew_training.networks.quantised.layers import ByteConvolution, ByteSum, Quantiser

_LAYERS: dict[type[nn.Module], tuple[tuple[str, str], ...]] = {
    ConvBnAct: (("conv", "bn1"),),
    DepthwiseSeparableConv: (("conv_dw", "bn1"), ("conv_pw", "bn2")),
    InvertedResidual: (("conv_pw", "bn1"), ("conv_dw", "bn2"), ("conv_pwl", "bn3")),
}
"""Each kind of block: its convolutions in their order, and the normalisation with an activation behind each."""
_EXTRAS = ("aa", "se", "conv_s2d")
"""What blocks may have between their convolutions, and must not."""


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
    mean, std = branch.normalise.mean, branch.normalise.std
    pixels = Quantiser(float((-mean / std).min()), float(((255 - mean) / std).max()), is_fixed=True)
    branch.normalise = nn.Sequential(branch.normalise, pixels)  # type: ignore[assignment]
    source = _replace(features, "conv_stem", "bn1", pixels, name)
    for stage in features.blocks:
        assert isinstance(stage, nn.Sequential)
        for number, block in enumerate(stage):
            source = _quantise_block(stage, number, block, source, name)
    source = _replace(features, "conv_head", "bn2", source, name)
    if branch.projection is not None:
        projection, activation = branch.projection
        assert isinstance(projection, nn.Conv2d)
        bias = projection.weight.new_zeros(projection.out_channels)
        branch.projection = nn.Sequential(ByteConvolution(projection, projection.weight, bias, activation, source))


def _quantise_block(stage: nn.Sequential, number: int, block: nn.Module, source: Quantiser, name: str) -> Quantiser:
    """Quantise a block in its place. Returns what rounds its result."""
    extras = [getattr(block, extra, None) for extra in _EXTRAS]
    if type(block) not in _LAYERS or not all(extra is None or isinstance(extra, nn.Identity) for extra in extras):
        raise _unsuited(name)
    before = source
    for convolution, normalisation in _LAYERS[type(block)]:
        source = _replace(block, convolution, normalisation, source, name)
    if not block.has_skip:
        return source
    block.has_skip = False  # type: ignore[assignment]
    stage[number] = ByteSum(block, before, source)
    return stage[number].quantiser  # type: ignore[return-value]


def _replace(parent: nn.Module, convolution: str, normalisation: str, source: Quantiser, name: str) -> Quantiser:
    """Replace a convolution and what is behind it. Returns what rounds the result."""
    layer, norm = getattr(parent, convolution), getattr(parent, normalisation)
    activation = getattr(norm, "act", None)
    if (
        not isinstance(layer, nn.Conv2d)
        or not isinstance(norm, nn.BatchNorm2d)
        or not isinstance(activation, nn.ReLU | nn.ReLU6 | nn.Identity)
    ):
        raise _unsuited(name)
    made = ByteConvolution(layer, *_folded(layer, norm), activation, source)
    setattr(parent, convolution, made)
    setattr(parent, normalisation, nn.Identity())
    return made.quantiser


def _folded(convolution: nn.Conv2d, norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """The weight and the bias of a convolution with the batch normalisation behind it."""
    assert norm.running_mean is not None and norm.running_var is not None
    with torch.no_grad():
        factor = norm.weight.double() / torch.sqrt(norm.running_var.double() + norm.eps)
        before = norm.running_mean.double()
        if convolution.bias is not None:
            before = before - convolution.bias
        weight = convolution.weight.double() * factor.reshape(-1, 1, 1, 1)
        return weight.float(), (norm.bias.double() - before * factor).float()


def _unsuited(name: str) -> WeightsError:
    return WeightsError(
        f"The convolutions of {name} cannot compute with bytes: expected a trunk of convolutions and ReLUs alone, such as "
        "tf_efficientnet_lite0 or mobilenetv2_100. Export it with --precision int8, which stores bytes."
    )
