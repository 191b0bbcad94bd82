"""What a network computes."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from askew_training.errors import WeightsError
from askew_training.networks.network import THREE_SCALES, Branch, Network, unit_length
from askew_training.networks.trunks import Trunk
from tests.support.tiny_trunk import TINY_TRUNK
from tests.support.training_helpers import picture, tiny_network


def test_vectors_have_unit_length_and_several_scales_are_the_power_mean() -> None:
    network = tiny_network(scales=THREE_SCALES)
    pixels = torch.from_numpy(picture(90, 131))[None]
    with torch.inference_mode():
        described = network(pixels)[0]
        branch = network.branches[0]
        photos = branch.normalise(pixels)
        singles = []
        for scale in THREE_SCALES:
            resized = functional.interpolate(photos, scale_factor=scale, mode="bilinear", align_corners=False)
            singles.append(unit_length(branch.pool(branch.trunk(photos if scale == 1 else resized)))[0])
        mean = unit_length((torch.stack(singles) ** 3).mean(0) ** (1 / 3))
        assert network.linear is not None
        expected = unit_length(network.linear(mean))
    torch.testing.assert_close(described, expected)
    assert float(described.norm()) == pytest.approx(1, abs=1e-6)


def test_a_projection_without_bias_comes_before_pooling() -> None:
    branch = Branch(Trunk(TINY_TRUNK), 40).eval()
    pixels = torch.from_numpy(picture(90, 131))[None]
    with torch.inference_mode():
        features = branch.trunk(branch.normalise(pixels))
        assert branch.projection is not None
        convolution = branch.projection[0]
        assert isinstance(convolution, torch.nn.Conv2d)
        projected = torch.einsum("nchw,dc->ndhw", features, convolution.weight[:, :, 0, 0]).relu()
        vector = branch(pixels)
    torch.testing.assert_close(vector, unit_length(branch.pool(projected)))
    assert convolution.bias is None
    assert vector.shape == (1, 40)
    assert bool((vector >= 0).all())


def test_several_trunks_have_the_same_weight() -> None:
    branches = [Branch(Trunk(TINY_TRUNK), width).eval() for width in (24, 60)]
    network = Network(branches, scales=(2**0.5, 1.0, 0.5**0.5)).eval()
    pixels = torch.from_numpy(picture(90, 131))[None]
    with torch.inference_mode():
        together, alone = network(pixels)[0], [branch(pixels, network.scales)[0] for branch in branches]
    assert (network.channels, network.dim) == (84, 84)
    torch.testing.assert_close(together, torch.cat(alone) / 2**0.5)


def test_parts_that_do_not_fit_are_refused() -> None:
    branch = Branch(Trunk(TINY_TRUNK), 24)
    with pytest.raises(WeightsError, match="linear layer of 24 inputs"):
        Network([branch], torch.nn.Linear(25, 8))
    wrong: list[tuple[float, ...]] = [(), (1.0, 0.0), (-1.0,), (float("inf"),), (float("nan"),)]
    for scales in wrong:
        with pytest.raises(WeightsError, match="positive scales"):
            Network([branch], scales=scales)
