"""A trunk of some ten thousand weights, built like EfficientNet-Lite, registered with timm under the name `askew_tiny_lite`.

Its convolutions pad like TensorFlow's SAME, two of its blocks add their input, and its only activation is ReLU6. Its normalisation is the same for all
colours and has a whole mean, in grey levels.
"""

from __future__ import annotations

from functools import partial

from timm.models import register_model
from timm.models._efficientnet_builder import decode_arch_def, resolve_bn_args, round_channels
from timm.models.efficientnet import EfficientNet
from torch import nn

TINY_LITE = "askew_tiny_lite"


@register_model
def askew_tiny_lite(pretrained: bool = False, **_options: object) -> EfficientNet:
    """Build the trunk with random weights; timm passes options that it has no use for."""
    if pretrained:
        raise RuntimeError("no pretrained weights exist for askew_tiny_lite")
    blocks = [["ds_r1_k3_s1_e1_c8"], ["ir_r2_k3_s2_e3_c16"], ["ir_r2_k5_s2_e3_c24"]]
    trunk = EfficientNet(
        block_args=decode_arch_def(blocks),
        num_features=48,
        stem_size=8,
        fix_stem=True,
        num_classes=0,
        round_chs_fn=partial(round_channels, multiplier=1.0),
        act_layer=nn.ReLU6,
        norm_layer=partial(nn.BatchNorm2d, **resolve_bn_args({})),
        pad_type="same",
    )
    trunk.default_cfg = {"mean": (127 / 255,) * 3, "std": (128 / 255,) * 3, "classifier": "classifier"}  # type: ignore[assignment]
    return trunk
