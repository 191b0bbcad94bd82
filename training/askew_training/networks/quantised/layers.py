"""Features rounded to bytes, and convolutions with weights rounded to bytes.

In training mode they are computed in single precision and learned through the rounding: it passes gradients on as if it were not
there (the straight-through estimator; Jacob et al., CVPR 2018), and ranges are learned by the gradient of what they cut off
(PACT, Choi et al., 2018). In eval mode they are computed as engines compute them, with whole numbers: a feature that lies
between two levels to within a rounding error would otherwise get another one, and a network multiplies such differences.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from timm.layers.padding import pad_same
from torch import Tensor, nn
from torch.nn import functional

FEATURE_LEVELS = 255
"""Features are bytes without a sign: 0 to 255."""
WEIGHT_LEVELS = 64
"""Weights are -64 to 64. Processors with AVX2 and without VNNI add two products of a byte with a sign and one without in 16
bits: 2 × 255 × 64 fits, 2 × 255 × 127 would be cut off."""
LARGEST_BIAS = 2**30
"""Engines add the bias to sums of products in 32 bits, in units of a feature's step times a weight's."""
SMALLEST_STEP = 2**-20
"""Of weights, relative to the bias of their channel. Trained networks have channels with hardly a weight, whose output is their
bias; in smaller steps it would exceed LARGEST_BIAS where features have a step of 2**-10."""
SAMPLE = 8192
"""Values that a quantiser keeps of each batch that it observes."""


class Quantiser(nn.Module):
    """Round features of any shape to 256 levels between `low` and `high`, one of which is exactly 0.

    `low`, `high`: learned, unless `is_fixed`, as for pixels. `low` stays 0 if `starts_at_zero`, as behind a ReLU. While
    `mode` is "observe", features pass unchanged and samples of them are kept in `samples`.
    """

    def __init__(
        self, low: float = -1.0, high: float = 1.0, *, starts_at_zero: bool = False, is_fixed: bool = False
    ) -> None:
        super().__init__()
        self.starts_at_zero, self.is_fixed = starts_at_zero, is_fixed
        is_low_learned = not (starts_at_zero or is_fixed)
        self.low = nn.Parameter(torch.tensor(0.0 if starts_at_zero else low), requires_grad=is_low_learned)
        self.high = nn.Parameter(torch.tensor(high), requires_grad=not is_fixed)
        self.mode: Literal["observe", "round"] = "round"
        self.samples: list[Tensor] = []

    def forward(self, features: Tensor) -> Tensor:
        if self.mode == "observe":
            flat = features.detach().flatten()
            random = torch.Generator().manual_seed(len(self.samples))
            chosen = torch.randint(len(flat), (SAMPLE,), generator=random)
            self.samples.append(flat[chosen.to(flat.device)].float().cpu())
            return features
        rounded: Tensor = _RoundFeatures.apply(features, self.low, self.high)
        return rounded

    def from_levels(self, levels: Tensor) -> Tensor:
        """Cut off, and scale to features, levels counted from that of 0: whole numbers in float [...]."""
        step, zero = self.step, self.zero
        return (levels + zero).clamp(0, FEATURE_LEVELS).sub(zero).float() * step

    def to_levels(self, features: Tensor) -> Tensor:
        """The levels of features that were rounded to them, counted from that of 0: whole numbers, float32 [...]."""
        return torch.round(features / self.step)

    @property
    def step(self) -> Tensor:
        """The step between two levels: float32 [], without a gradient."""
        return _levels(self.low.detach(), self.high.detach())[0]

    @property
    def zero(self) -> int:
        """The level of 0."""
        return int(_levels(self.low.detach(), self.high.detach())[1])


class ByteConvolution(nn.Module):
    """A convolution, its activation, and the rounding of the result: float [N, C, H, W] → [N, O, h, w].

    Batch normalisation is folded in. Weights are rounded to -64 … 64 times a step for each output channel. They are learned
    in units of 64 steps, and the step as a factor near 1, so that one learning rate suits every channel. Padding is that of
    the given convolution.
    """

    scale: Tensor

    def __init__(
        self, convolution: nn.Conv2d, weight: Tensor, bias: Tensor, activation: nn.Module, source: Quantiser
    ) -> None:
        """`weight`, `bias`: of the convolution with its normalisation folded in. `activation`: ReLU, ReLU6 or Identity.
        `source`: what rounded its input."""
        super().__init__()
        scale = weight.detach().abs().amax((1, 2, 3), keepdim=True) / WEIGHT_LEVELS
        scale = torch.maximum(scale, SMALLEST_STEP * bias.detach().abs().reshape(scale.shape))
        scale[scale == 0] = 1.0
        self.register_buffer("scale", scale)
        self.gain = nn.Parameter(torch.ones_like(scale))
        self.weight = nn.Parameter(weight.detach() / (scale * WEIGHT_LEVELS))
        self.bias = nn.Parameter(bias.detach().clone())
        self.activation = activation
        is_linear = isinstance(activation, nn.Identity)
        self.quantiser = Quantiser(high=6.0, starts_at_zero=not is_linear)
        # In a tuple, so that it is no part of this module.
        self._source = (source,)
        self.kind = type(convolution)
        self.stride = _pair(convolution.stride)
        self.padding = convolution.padding if isinstance(convolution.padding, str) else _pair(convolution.padding)
        self.dilation, self.groups = _pair(convolution.dilation), convolution.groups

    def forward(self, features: Tensor) -> Tensor:
        codes = _round(self.weight.clamp(-1, 1) * WEIGHT_LEVELS)
        if self.training or self.quantiser.mode == "observe":
            result = self._convolve(features, codes * (self.scale * self.gain), self.bias)
            rounded: Tensor = self.quantiser(self.activation(result))
            return rounded
        (source,) = self._source
        unit = source.step * self.steps
        bias = torch.round(self.bias.double() / unit).clamp(-LARGEST_BIAS, LARGEST_BIAS).reshape(-1, 1, 1)
        # Single precision holds whole numbers up to 2²⁴, and is many times faster.
        largest = float(codes.abs().sum((1, 2, 3)).max()) * FEATURE_LEVELS
        precision = torch.float32 if largest < 2**24 else torch.float64
        sums = self._convolve(source.to_levels(features).to(precision), codes.to(precision), None)
        # As onnxruntime multiplies: the sum and the factor in single precision.
        whole = torch.round(sums) + bias
        levels = torch.round(whole.float() * (unit / self.quantiser.step).reshape(-1, 1, 1))
        return self.quantiser.from_levels(self._cut_off(levels))

    @property
    def steps(self) -> Tensor:
        """The step of each output channel's weights: float32 [O]."""
        return (self.scale * self.gain).flatten()

    def codes(self) -> Tensor:
        """The weights as bytes: int8 [O, I, kh, kw]."""
        return torch.round(self.weight.detach().clamp(-1, 1) * WEIGHT_LEVELS).to(torch.int8)

    def plain(self) -> nn.Conv2d:
        """A convolution of the original class with the rounded weights."""
        channels, width = self.weight.shape[1] * self.groups, self.weight.shape[0]
        kernel = (self.weight.shape[2], self.weight.shape[3])
        made = self.kind(channels, width, kernel, self.stride, self.padding, self.dilation, self.groups)
        assert made.bias is not None
        with torch.no_grad():
            made.weight.copy_(self.codes().float() * self.steps.reshape(-1, 1, 1, 1))
            made.bias.copy_(self.bias)
        return made

    def _convolve(self, features: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        padding = self.padding
        # timm's Conv2dSame is a Conv2d that pads in its own forward, like TensorFlow's SAME.
        if self.kind.__name__ == "Conv2dSame":
            features, padding = (
                pad_same(features, list(weight.shape[-2:]), list(self.stride), list(self.dilation)),
                (0, 0),
            )
        return functional.conv2d(features, weight, bias, self.stride, padding, self.dilation, self.groups)

    def _cut_off(self, levels: Tensor) -> Tensor:
        """The activation, on levels. What lies above the range is cut off by the range itself."""
        return levels if isinstance(self.activation, nn.Identity) else levels.clamp(min=0)


class ByteSum(nn.Module):
    """A block and the sum of its result and its input, rounded: float [N, C, H, W] → the same."""

    def __init__(self, block: nn.Module, source: Quantiser, result: Quantiser) -> None:
        """`source`, `result`: what rounded the block's input, and rounds its result."""
        super().__init__()
        self.block = block
        self.quantiser = Quantiser()
        self._rounded_by = (source, result)

    def forward(self, features: Tensor) -> Tensor:
        result = self.block(features)
        if self.training or self.quantiser.mode == "observe":
            rounded: Tensor = self.quantiser(result + features)
            return rounded
        source, own = self._rounded_by
        own_share, source_share = own.step / self.quantiser.step, source.step / self.quantiser.step
        zero = self.quantiser.zero
        # As onnxruntime adds on processors with AVX2: the second number first, each product and its sum rounded once.
        fixed = zero - _plus_product((source_share * source.zero), own_share, own.zero)
        first = _plus_product(fixed, source_share, source.to_levels(features) + source.zero)
        both = _plus_product(first, own_share, own.to_levels(result) + own.zero)
        return self.quantiser.from_levels(torch.round(both) - zero)


def _plus_product(summand: Tensor, share: Tensor, level: Tensor | int) -> Tensor:
    """summand + share · level, rounded once to single precision, as processors multiply and add in one instruction.

    Double precision holds the product of a share and a level exactly.
    """
    return (summand.double() + share.double() * torch.as_tensor(level).double()).float()


class _RoundFeatures(torch.autograd.Function):
    """x, low, high → x rounded to 256 levels. Gradients pass inside the range; outside, they move its end."""

    @staticmethod
    def forward(context: Any, features: Tensor, low: Tensor, high: Tensor) -> Tensor:
        step, zero = _levels(low, high)
        codes = torch.round(features / step) + zero
        context.save_for_backward(codes < 0, codes > FEATURE_LEVELS)
        return (codes.clamp(0, FEATURE_LEVELS) - zero) * step

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor, Tensor | None, Tensor | None]:
        below, above = context.saved_tensors
        (gradient,) = gradients
        to_low = (gradient * below).sum() if context.needs_input_grad[1] else None
        to_high = (gradient * above).sum() if context.needs_input_grad[2] else None
        return gradient.masked_fill(below | above, 0), to_low, to_high


class _Round(torch.autograd.Function):
    @staticmethod
    def forward(_context: Any, values: Tensor) -> Tensor:
        return torch.round(values)

    @staticmethod
    def backward(_context: Any, *gradients: Tensor) -> Tensor:
        return gradients[0]


def _round(values: Tensor) -> Tensor:
    rounded: Tensor = _Round.apply(values)
    return rounded


def _levels(low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    """The step between two levels, and the level of 0."""
    step = (high - low).clamp(min=1e-6) / FEATURE_LEVELS
    return step, torch.round(-low / step).clamp(0, FEATURE_LEVELS)


def _pair(numbers: tuple[int, ...]) -> tuple[int, int]:
    return numbers[0], numbers[1]
