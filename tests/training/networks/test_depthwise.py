"""The faster depthwise convolution computes the same as torch's."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from askew_training.networks.depthwise import QuickDepthwise, quicken_depthwise
from askew_training.networks.trunks import Trunk
from tests.support.tiny_trunk import TINY_TRUNK


def gradients(network: nn.Module, features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, list[torch.Tensor]]:
    features = features.clone().requires_grad_()
    network.zero_grad()
    output = network(features)
    weights = torch.linspace(-1, 1, output.numel(), dtype=output.dtype).reshape(output.shape)
    (output * weights).sum().backward()
    assert features.grad is not None
    return output.detach(), features.grad, [each.grad for each in network.parameters() if each.grad is not None]


@settings(max_examples=50)
@given(
    kernel=st.sampled_from([1, 3, 5, 7]),
    stride=st.integers(1, 3),
    height=st.integers(8, 19),
    width=st.integers(8, 19),
    padded=st.booleans(),
    seed=st.integers(0, 99),
)
def test_outputs_and_gradients_are_those_of_torch(
    kernel: int, stride: int, height: int, width: int, padded: bool, seed: int
) -> None:
    torch.manual_seed(seed)
    padding = kernel // 2 if padded else 0
    plain = nn.Sequential(nn.Conv2d(6, 6, kernel, stride, padding, groups=6, bias=False)).double()
    quick = copy.deepcopy(plain)
    quicken_depthwise(quick)
    assert isinstance(quick[0], QuickDepthwise)
    features = torch.randn(3, 6, height, width, dtype=torch.float64)
    expected, actual = gradients(plain, features), gradients(quick, features)
    torch.testing.assert_close(actual, expected)


@pytest.mark.slow
@pytest.mark.parametrize("name", [TINY_TRUNK, "mobilenetv3_small_050", "tf_efficientnet_lite0", "tf_efficientnet_b3"])
def test_a_quickened_trunk_has_the_same_names_outputs_and_gradients(name: str) -> None:
    torch.manual_seed(0)
    plain = Trunk(name).eval()
    quick = copy.deepcopy(plain)
    quicken_depthwise(quick)
    assert any(isinstance(module, QuickDepthwise) for module in quick.modules())
    assert list(quick.state_dict()) == list(plain.state_dict())
    photos = torch.randn(2, 3, 75, 98)
    expected, actual = gradients(plain, photos), gradients(quick, photos)
    torch.testing.assert_close(actual[0], expected[0], rtol=1e-4, atol=1e-4)
    for mine, theirs in zip(actual[2], expected[2], strict=True):
        assert float((mine - theirs).norm()) <= 1e-3 * float(theirs.norm()) + 1e-5


def test_gradients_in_bfloat16_are_no_coarser_than_torchs_own() -> None:
    torch.manual_seed(0)
    plain = nn.Sequential(nn.Conv2d(16, 16, 5, 2, 2, groups=16, bias=False))
    quick = copy.deepcopy(plain)
    quicken_depthwise(quick)
    features = torch.randn(2, 16, 24, 24)
    exact = gradients(plain, features)
    with torch.autocast("cpu", torch.bfloat16):
        rounded, torchs = gradients(quick, features), gradients(plain, features)
    error = (rounded[2][0] - exact[2][0]).norm()
    assert float(error) <= 1.5 * float((torchs[2][0] - exact[2][0]).norm()) + 1e-6
    assert float((rounded[1] - exact[1]).norm() / exact[1].norm()) < 0.02
