"""Trunks."""

from __future__ import annotations

import pytest
import torch

from askew_training.errors import WeightsError
from askew_training.networks.trunks import Trunk
from tests.support.tiny_trunk import TINY_TRUNK


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "channels", "stride", "unused"),
    [
        ("resnet50", 2048, 32, {"fc"}),
        ("vgg16", 512, 16, {"pre_logits", "head.fc"}),
        ("mobilenetv2_100", 1280, 32, {"classifier"}),
        # Its last convolution comes after its pooling, so it is not among the features.
        ("mobilenetv3_small_100", 576, 32, {"conv_head", "classifier"}),
        ("tf_efficientnet_lite0", 1280, 32, {"classifier"}),
        ("convnext_atto", 320, 32, {"head", "head.fc"}),
    ],
)
def test_a_trunk_is_a_timm_network_up_to_its_last_map(name: str, channels: int, stride: int, unused: set[str]) -> None:
    trunk = Trunk(name).eval()
    assert (trunk.channels, set(trunk.unused)) == (channels, unused)
    with torch.inference_mode():
        features = trunk(torch.zeros(1, 3, 2 * stride, 3 * stride))
    assert features.shape == (1, channels, 2, 3)
    assert not any(part.split(".")[0] in unused for part in trunk.features.state_dict())
    assert all(module.training for module in Trunk(TINY_TRUNK).modules())


def test_an_unknown_trunk_is_refused() -> None:
    with pytest.raises(WeightsError, match="name of a timm network"):
        Trunk("resnet9000")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "swin_tiny_patch4_window7_224", "levit_128"])
def test_a_trunk_that_is_not_convolutional_is_refused(name: str) -> None:
    with pytest.raises(WeightsError, match="Expected a convolutional trunk, such as resnet101"):
        Trunk(name)
