"""Features rounded to bytes, and convolutions with weights rounded to bytes, both trained through the rounding.

Rounding passes gradients on as if it were not there (the straight-through estimator; Jacob et al., CVPR 2018), and ranges
are learned by the gradient of what they cut off (PACT, Choi et al., 2018).
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from timm.layers import pad_same
from torch import Tensor, nn
from torch.nn import functional

FEATURE_LEVELS = 255
"""Features are bytes without a sign: 0 to 255."""
WEIGHT_LEVELS = 64
"""Weights are -64 to 64. Processors with AVX2 and without VNNI add two products of a byte with a sign and one without in 16
bits: 2 × 255 × 64 fits, 2 × 255 × 127 would be cut off."""


class Quantiser(nn.Module):
    """Round features of any shape to 256 levels between `low` and `high`, one of which is exactly 0.

    `low`, `high`: learned, unless `is_fixed`, as for pixels. `low` stays 0 if `starts_at_zero`, as behind a ReLU. While
    `mode` is "observe", features pass unchanged and samples of them are kept in `samples`.
    """

    def __init__(self, low: float = -1.0, high: float = 1.0, *, starts_at_zero: bool = False, is_fixed: bool = False) -> None:
        super().__init__()
        self.starts_at_zero = starts_at_zero
        self.low = nn.Parameter(torch.tensor(0.0 if starts_at_zero else low), requires_grad=not (starts_at_zero or is_fixed))
        self.high = nn.Parameter(torch.tensor(high), requires_grad=not is_fixed)
        self.is_fixed = is_fixed
        self.mode: Literal["observe", "round"] = "round"
        self.samples: list[Tensor] = []

    def forward(self, features: Tensor) -> Tensor:
        if self.mode == "observe":
            flat = features.detach().flatten()
            self.samples.append(flat[torch.randint(len(flat), (SAMPLE,), device=flat.device)].float().cpu())
            return features
        rounded: Tensor = _RoundFeatures.apply(features, self.low, self.high)
        return rounded

    def levels(self) -> tuple[float, int]:
        """The step between two levels, and the level of 0."""
        step, zero = _levels(self.low.detach(), self.high.detach())
        return float(step), int(zero)


SAMPLE = 8192
"""Values that a quantiser keeps of each batch that it observes."""


class ByteConvolution(nn.Module):
    """A convolution with the batch normalisation behind it folded in: float [N, C, H, W] → [N, O, h, w].

    Weights are rounded to -64 … 64 times a step for each output channel. They are learned in units of 64 steps, and the
    step as a factor near 1, so that one learning rate suits every channel. Padding is that of the given convolution.
    """

    step: Tensor

    def __init__(self, convolution: nn.Conv2d, weight: Tensor, bias: Tensor) -> None:
        """`weight`, `bias`: of the convolution with its normalisation folded in."""
        super().__init__()
        step = weight.detach().abs().amax((1, 2, 3), keepdim=True) / WEIGHT_LEVELS
        step[step == 0] = 1.0
        self.register_buffer("step", step)
        self.gain = nn.Parameter(torch.ones_like(step))
        self.weight = nn.Parameter(weight.detach() / (step * WEIGHT_LEVELS))
        self.bias = nn.Parameter(bias.detach().clone())
        self.kind = type(convolution)
        self.stride, self.padding = convolution.stride, convolution.padding
        self.dilation, self.groups = convolution.dilation, convolution.groups

    def forward(self, features: Tensor) -> Tensor:
        if self.pads_as_needed:
            features = pad_same(features, list(self.weight.shape[-2:]), list(self.stride), list(self.dilation))
        weight = _round(self.weight.clamp(-1, 1) * WEIGHT_LEVELS) * (self.step * self.gain)
        padding = (0, 0) if self.pads_as_needed else self.padding
        return functional.conv2d(features, weight, self.bias, self.stride, padding, self.dilation, self.groups)

    @property
    def pads_as_needed(self) -> bool:
        """Whether it pads like TensorFlow's SAME: timm's Conv2dSame is a Conv2d that pads in its own forward."""
        return self.kind.__name__ == "Conv2dSame"

    def codes(self) -> tuple[Tensor, Tensor]:
        """The weights as int8 [O, I, kh, kw], and their steps: float32 [O]."""
        codes = torch.round(self.weight.detach().clamp(-1, 1) * WEIGHT_LEVELS).to(torch.int8)
        return codes, (self.step * self.gain).detach().flatten()

    def plain(self) -> nn.Conv2d:
        """A convolution of the original class with the rounded weights."""
        channels, width = self.weight.shape[1] * self.groups, self.weight.shape[0]
        made = self.kind(
            channels, width, tuple(self.weight.shape[-2:]), self.stride, self.padding, self.dilation, self.groups
        )
        codes, step = self.codes()
        with torch.no_grad():
            made.weight.copy_(codes.float() * step.reshape(-1, 1, 1, 1))
            assert made.bias is not None
            made.bias.copy_(self.bias)
        return made


class _RoundFeatures(torch.autograd.Function):
    """x, low, high → x rounded to 256 levels. Gradients pass inside the range; outside, they move its end."""

    @staticmethod
    def forward(context: Any, features: Tensor, low: Tensor, high: Tensor) -> Tensor:
        step, zero = _levels(low, high)
        codes = torch.round(features / step) + zero
        rounded = (codes.clamp(0, FEATURE_LEVELS) - zero) * step
        context.save_for_backward(codes < 0, codes > FEATURE_LEVELS)
        return rounded

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
    step = (high - low).clamp(min=1e-6) / FEATURE_LEVELS
    return step, torch.round(-low / step).clamp(0, FEATURE_LEVELS)
