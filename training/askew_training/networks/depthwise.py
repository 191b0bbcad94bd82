"""Depthwise convolutions with a faster backward pass on a CPU."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional


def quicken_depthwise(network: nn.Module) -> None:
    """Replace each depthwise convolution in `network` by one with a faster backward pass on a CPU.

    Weights, names in the state dict, outputs and gradients stay the same, up to rounding. oneDNN's gradient of the
    input of a strided depthwise convolution takes ten to thirty times as long as the forward pass, and so does its
    gradient of a 5 × 5 kernel in bfloat16. Together they are a third of a step of EfficientNet-Lite (docs/training.md).
    """
    for name, child in list(network.named_children()):
        if isinstance(child, nn.Conv2d) and _is_depthwise(child):
            setattr(network, name, QuickDepthwise(child))
        else:
            quicken_depthwise(child)


def _is_depthwise(convolution: nn.Conv2d) -> bool:
    return (
        convolution.groups == convolution.in_channels == convolution.out_channels > 1
        and convolution.bias is None
        and convolution.kernel_size[0] == convolution.kernel_size[1]
        and convolution.stride[0] == convolution.stride[1]
        and convolution.dilation == (1, 1)
        and isinstance(convolution.padding, tuple)
        and convolution.padding[0] == convolution.padding[1]
        and convolution.padding_mode == "zeros"
    )


class QuickDepthwise(nn.Module):
    """A depthwise convolution without bias: float [N, C, H, W] → [N, C, h, w].

    It shares the weight of the convolution that it replaces, and pads in the same way: by a constant, or like
    TensorFlow's SAME, which depends on the size of the photo.
    """

    def __init__(self, convolution: nn.Conv2d) -> None:
        super().__init__()
        self.weight = convolution.weight
        self.kernel = int(convolution.kernel_size[0])
        self.stride = int(convolution.stride[0])
        # timm's Conv2dSame is a Conv2d with padding 0 that pads in its own forward.
        self.pads_as_needed = type(convolution).__name__ == "Conv2dSame"
        self.padding = 0 if self.pads_as_needed else int(convolution.padding[0])

    def forward(self, features: Tensor) -> Tensor:
        if self.pads_as_needed:
            features = _pad_same(features, self.kernel, self.stride)
        if torch.is_autocast_enabled(features.device.type):
            features = features.to(torch.get_autocast_dtype(features.device.type))
        if features.device.type != "cpu":
            weight = self.weight.to(features.dtype)
            return functional.conv2d(features, weight, None, self.stride, self.padding, 1, len(weight))
        result: Tensor = _Depthwise.apply(features, self.weight, self.stride, self.padding)
        return result


class _Depthwise(torch.autograd.Function):
    """The same convolution; the two slow gradients are computed by other kernels."""

    @staticmethod
    def forward(context: Any, features: Tensor, weight: Tensor, stride: int, padding: int) -> Tensor:
        context.save_for_backward(features, weight)
        context.stride, context.padding = stride, padding
        return functional.conv2d(features, weight.to(features.dtype), None, stride, padding, 1, len(weight))

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        features, weight = context.saved_tensors
        gradient = gradients[0].contiguous(memory_format=torch.channels_last)
        to_features = to_weight = None
        if context.needs_input_grad[0]:
            to_features = _to_features(gradient, features, weight, context.stride, context.padding)
        if context.needs_input_grad[1]:
            to_weight = _to_weight(gradient, features, weight, context.stride, context.padding)
        return to_features, to_weight, None, None


def _to_features(gradient: Tensor, features: Tensor, weight: Tensor, stride: int, padding: int) -> Tensor:
    kernel = weight.to(gradient.dtype)
    if stride == 1:
        return _backward(gradient, features, kernel, 1, padding, (True, False, False))[0]
    # Spread the gradient over the grid of stride 1, with zeros between, and convolve it with the mirrored kernel.
    batch, channels, height, width = features.shape
    size = kernel.shape[-1]
    spread = gradient.new_zeros((batch, channels, height + 2 * padding - size + 1, width + 2 * padding - size + 1))
    spread = spread.contiguous(memory_format=torch.channels_last)
    spread[:, :, ::stride, ::stride] = gradient
    return functional.conv2d(spread, kernel.flip(2, 3), None, 1, size - 1 - padding, 1, channels)


def _to_weight(gradient: Tensor, features: Tensor, weight: Tensor, stride: int, padding: int) -> Tensor:
    if weight.shape[-1] > 3 and gradient.dtype == torch.bfloat16:
        gradient, features = gradient.float(), features.float()
    kernel = weight.to(gradient.dtype)
    return _backward(gradient, features, kernel, stride, padding, (False, True, False))[1].to(weight.dtype)


def _backward(
    gradient: Tensor, features: Tensor, kernel: Tensor, stride: int, padding: int, wanted: tuple[bool, bool, bool]
) -> tuple[Tensor, Tensor, Tensor]:
    result: tuple[Tensor, Tensor, Tensor] = torch.ops.aten.convolution_backward(
        gradient, features, kernel, None, [stride] * 2, [padding] * 2, [1, 1], False, [0, 0], len(kernel), wanted
    )
    return result


def _pad_same(features: Tensor, kernel: int, stride: int) -> Tensor:
    """Pad with zeros like TensorFlow's SAME, so that the output is ⌈side / stride⌉ long; an odd one goes to the end."""
    height, width = features.shape[-2:]
    down = max((-(-height // stride) - 1) * stride + kernel - height, 0)
    across = max((-(-width // stride) - 1) * stride + kernel - width, 0)
    return functional.pad(features, [across // 2, across - across // 2, down // 2, down - down // 2])
