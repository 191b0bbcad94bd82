"""A trunk of a few thousand weights, registered with timm under the name `askew_tiny`.

It has what trained networks have and exports must handle (strided, depthwise and 1×1 convolutions, batch
normalisation, an unused layer behind the features), and runs in a millisecond. The checkpoints in
`tests/training/fixtures/made_at_0.1` are of this trunk: its layers and their names must not change.
"""

from __future__ import annotations

from timm.models import register_model
from torch import Tensor, nn

TINY_TRUNK = "askew_tiny"
TINY_CHANNELS = 48


class TinyTrunk(nn.Module):
    """Stride 16, 48 channels: float [N, 3, H, W] → [N, 48, ⌈H / 16⌉, ⌈W / 16⌉]."""

    def __init__(self) -> None:
        super().__init__()
        self.num_features = TINY_CHANNELS
        self.default_cfg = {"mean": (0.5, 0.5, 0.5), "std": (0.25, 0.25, 0.25), "classifier": "head"}
        self.stem = _convolution(3, 16, kernel=4, stride=4)
        self.first = nn.Sequential(_convolution(16, 16, kernel=5, stride=2, groups=16), _convolution(16, 32))
        self.second = nn.Sequential(
            _convolution(32, 32, kernel=3, stride=2, groups=32), _convolution(32, TINY_CHANNELS)
        )
        self.head = nn.Linear(TINY_CHANNELS, 8)

    def forward_features(self, photos: Tensor) -> Tensor:
        features: Tensor = self.second(self.first(self.stem(photos)))
        return features

    def forward(self, photos: Tensor) -> Tensor:
        scores: Tensor = self.head(self.forward_features(photos).mean((2, 3)))
        return scores


def _convolution(channels: int, width: int, kernel: int = 1, stride: int = 1, groups: int = 1) -> nn.Sequential:
    convolution = nn.Conv2d(channels, width, kernel, stride, (kernel - 1) // 2, groups=groups, bias=False)
    nn.init.kaiming_normal_(convolution.weight, mode="fan_out")
    return nn.Sequential(convolution, nn.BatchNorm2d(width), nn.ReLU())


@register_model
def askew_tiny(pretrained: bool = False, **_options: object) -> TinyTrunk:
    """Build the trunk with random weights; timm passes options that it has no use for."""
    if pretrained:
        raise RuntimeError("no pretrained weights exist for askew_tiny")
    return TinyTrunk()
