"""What a network computes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from onnx import TensorProto, helper
from torch.nn import functional

from askew_client.encoding.runtime import open_session
from askew_training.errors import WeightsError
from askew_training.networks.network import THREE_SCALES, Branch, Network, in_float32, unit_length
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


def test_a_scale_gives_as_many_pixels_in_torch_as_in_onnx_runtime() -> None:
    """240 px times 1.05 were 252 px for torch, but 251 px for ONNX Runtime, which takes the factor in float32."""
    resize = helper.make_node("Resize", ["photo", "", "scales"], ["resized"], mode="linear")
    inputs = [
        helper.make_tensor_value_info("photo", TensorProto.FLOAT, [1, 1, "height", 1]),
        helper.make_tensor_value_info("scales", TensorProto.FLOAT, [4]),
    ]
    output = helper.make_tensor_value_info("resized", TensorProto.FLOAT, [1, 1, "resized_height", 1])
    graph = helper.make_graph([resize], "resize", inputs, [output])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    runtime = open_session(model.SerializeToString())

    differing = []
    for scale in [*(k / 20 for k in range(2, 40)), 1.4142, *THREE_SCALES]:
        factors = np.array([1, 1, in_float32(scale), 1], np.float32)
        for height in range(32, 700, 4):
            by_torch = functional.interpolate(
                torch.zeros(1, 1, height, 1), scale_factor=(in_float32(scale), 1.0), mode="bilinear"
            )
            (by_runtime,) = runtime.run(None, {"photo": np.zeros((1, 1, height, 1), np.float32), "scales": factors})
            if by_torch.shape != by_runtime.shape:
                differing.append((scale, height, by_torch.shape[2], by_runtime.shape[2]))
    assert differing == []
