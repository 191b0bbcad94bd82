"""SAME padding that convolutions do themselves."""

from __future__ import annotations

import dataclasses
import itertools
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from timm.layers.conv2d_same import Conv2dSame
from torch import nn

from askew_client import Encoder
from askew_client.encoding.runtime import open_session
from askew_training.export.encoder_file import write_encoder
from askew_training.export.gate import check_same
from askew_training.export.graph import encoder_graph
from askew_training.export.mobile_graphs import fixed_network, mobile_sizes
from askew_training.export.padding import pad_in_convolutions, same_padding
from askew_training.export.reexport import rewrite_encoder
from askew_training.export.simplification import simplify
from askew_training.networks.network import Network
from tests.support.training_helpers import CARD, checkpoint_of, picture, tiny_network

if TYPE_CHECKING:
    from askew_client.encoding.runtime import Session

PHOTO_SIZE = 96
SIZES = [
    *((41 + down, 57 + across) for down, across in itertools.product(range(4), repeat=2)),
    *((1, 1), (1, 2), (2, 1), (1, 77), (77, 1), (3, 4000), (4000, 3)),
    *((95, 96), (97, 96), (193, 500), (501, 96)),
]
"""Heights and widths: remainders by all strides, a single pixel, rows, columns, below and above the photo size."""


@pytest.fixture(scope="module")
def network() -> Network:
    """A network that pads as `tf_` trunks do: three convolutions, with kernels of 4, 5 and 3 and strides of 4, 2 and 2."""
    network = tiny_network(scales=(2**0.5, 1.0))
    for parent in list(network.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.Conv2d) and child.stride != (1, 1):
                same = Conv2dSame(
                    child.in_channels,
                    child.out_channels,
                    child.kernel_size[0],
                    child.stride[0],
                    groups=child.groups,
                    bias=child.bias is not None,
                )
                same.load_state_dict(child.state_dict())
                setattr(parent, name, same)
    return network.eval()


@pytest.fixture(scope="module")
def padded(network: Network) -> onnx.ModelProto:
    """The graph with Pad nodes, as the exporter and onnxslim leave it."""
    return simplify(encoder_graph(network, PHOTO_SIZE))


def operators(model: onnx.ModelProto) -> Counter[str]:
    return Counter(node.op_type for node in model.graph.node)


def open_graph(model: onnx.ModelProto) -> Session:
    return open_session(model.SerializeToString())


@pytest.mark.slow
def test_photos_of_all_sizes_keep_their_pixels_and_vectors(padded: onnx.ModelProto) -> None:
    cheaper = pad_in_convolutions(padded)
    assert operators(padded)["Pad"] == 6
    assert operators(cheaper)["Pad"] == 0
    # Nothing that computed the widths is left.
    assert len(cheaper.graph.node) < len(padded.graph.node) - 6 * 40
    assert check_same(padded, cheaper, PHOTO_SIZE) < 1e-12
    sessions = []
    for model in (padded, cheaper):
        opened = onnx.ModelProto()
        opened.CopyFrom(model)
        opened.graph.output.append(helper.make_tensor_value_info("pixels", TensorProto.UINT8, None))
        sessions.append(open_graph(opened))
    for height, width in SIZES:
        photos = np.stack([picture(height, width, seed) for seed in range(2)])
        before, after = (session.run(["pixels", "descriptor"], {"image": photos}) for session in sessions)
        np.testing.assert_array_equal(before[0], after[0])
        np.testing.assert_allclose(before[1], after[1], atol=1e-6)


@pytest.mark.slow
def test_an_encoder_file_written_again_pads_in_its_convolutions(network: Network, tmp_path: Path) -> None:
    old, new, fresh = (tmp_path / f"{name}.onnx" for name in ("old", "new", "fresh"))
    card = dataclasses.replace(CARD, role="student", precision="fp16", scales=(1.0,))
    write_encoder(checkpoint_of(network), card, old, simplified=False)
    write_encoder(checkpoint_of(network), card, fresh)
    assert rewrite_encoder(old, "2", new) < 1e-12
    assert operators(onnx.load(old))["Pad"] == 3
    assert operators(onnx.load(new))["Pad"] == operators(onnx.load(fresh))["Pad"] == 0
    photos = [picture(65, 64), picture(300, 201)]
    for path in (new, fresh):
        Encoder(path).check_golden()
        np.testing.assert_allclose(Encoder(path).encode(photos), Encoder(old).encode(photos), atol=1e-6)


@pytest.mark.slow
def test_parts_of_fixed_shapes_state_their_padding(padded: onnx.ModelProto) -> None:
    cheaper = pad_in_convolutions(padded)
    for height, width in mobile_sizes(101).values():
        old, new = fixed_network(padded, height, width), fixed_network(cheaper, height, width)
        assert operators(old) == operators(new)
        assert paddings(old) == paddings(new)
        pixels = np.random.default_rng(0).integers(0, 256, (1, height, width, 3)).astype(np.float32)
        expected, actual = (open_graph(model).run(None, {"pixels": pixels})[0] for model in (old, new))
        np.testing.assert_allclose(actual, expected, atol=1e-6)


def paddings(model: onnx.ModelProto) -> list[list[int]]:
    """What each convolution of a graph pads, as numbers."""
    found = []
    for node in model.graph.node:
        attributes = {each.name: helper.get_attribute_value(each) for each in node.attribute}
        if node.op_type == "Conv":
            assert "auto_pad" not in attributes
            found.append(list(attributes["pads"]))
    return found


def pad_with_ones(model: onnx.ModelProto, pad: onnx.NodeProto) -> None:
    model.graph.initializer.append(numpy_helper.from_array(np.array(1, dtype=np.float32), "one"))
    pad.input[2] = "one"


def repeat_the_edge(_model: onnx.ModelProto, pad: onnx.NodeProto) -> None:
    next(each for each in pad.attribute if each.name == "mode").s = b"edge"


def pad_one_more(model: onnx.ModelProto, pad: onnx.NodeProto) -> None:
    model.graph.initializer.append(numpy_helper.from_array(np.array([0] * 7 + [1]), "one_more"))
    place = list(model.graph.node).index(pad)
    model.graph.node.insert(place, helper.make_node("Add", [pad.input[1], "one_more"], ["more"]))
    pad.input[1] = "more"


def pad_the_odd_one_first(model: onnx.ModelProto, pad: onnx.NodeProto) -> None:
    order = numpy_helper.from_array(np.array([0, 1, 6, 7, 4, 5, 2, 3]), "order")
    model.graph.initializer.append(order)
    place = list(model.graph.node).index(pad)
    model.graph.node.insert(place, helper.make_node("Gather", [pad.input[1], "order"], ["lower"]))
    pad.input[1] = "lower"


def dilate(model: onnx.ModelProto, pad: onnx.NodeProto) -> None:
    convolution = next(node for node in model.graph.node if node.input[0] == pad.output[0])
    next(each for each in convolution.attribute if each.name == "dilations").ints[:] = [2, 2]


@pytest.mark.slow
@pytest.mark.parametrize("change", [pad_with_ones, repeat_the_edge, pad_one_more, pad_the_odd_one_first, dilate])
def test_padding_by_another_rule_stays(
    padded: onnx.ModelProto, change: Callable[[onnx.ModelProto, onnx.NodeProto], None]
) -> None:
    other = onnx.ModelProto()
    other.CopyFrom(padded)
    # The second one: its convolution has a kernel of 5, and a photo that is large enough when it is dilated.
    change(other, [node for node in other.graph.node if node.op_type == "Pad"][1])
    cheaper = pad_in_convolutions(other)
    assert operators(cheaper)["Pad"] == 1
    photo = {"image": picture(90, 95)[None]}
    expected, actual = (open_graph(model).run(None, photo)[0] for model in (other, cheaper))
    np.testing.assert_allclose(actual, expected, atol=1e-6)


@pytest.mark.parametrize(("stride", "left"), [(1, 0), (2, 1)])
def test_fixed_widths_are_replaced_only_where_the_rule_gives_them_for_all_sizes(stride: int, left: int) -> None:
    weights = np.random.default_rng(0).normal(size=(4, 3, 3, 3)).astype(np.float32)
    widths = np.array([0, 0, 1, 1, 0, 0, 1, 1])
    graph = helper.make_graph(
        [
            helper.make_node("Pad", ["x", "widths"], ["padded"]),
            helper.make_node("Conv", ["padded", "w"], ["y"], strides=[stride, stride]),
        ],
        "fixed",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3, "H", "W"])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 4, "h", "w"])],
        [numpy_helper.from_array(weights, "w"), numpy_helper.from_array(widths, "widths")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    assert operators(pad_in_convolutions(model))["Pad"] == left


@pytest.mark.parametrize(("channels", "groups"), [(3, 1), (16, 1), (16, 16)])
def test_the_engine_pads_by_the_rule(channels: int, groups: int) -> None:
    """All remainders by the stride, sides shorter than the kernel included; 16 channels are computed in blocks."""
    random = np.random.default_rng(0)
    for kernel, stride in ((1, 1), (2, 1), (2, 2), (3, 1), (3, 2), (3, 3), (4, 2), (4, 4), (5, 2), (5, 3), (7, 2)):
        weights = random.normal(size=(16, channels // groups, kernel, kernel)).astype(np.float32)
        by_rule, by_numbers = (
            convolution(weights, stride, groups, **padding) for padding in ({"auto_pad": "SAME_UPPER"}, {})
        )
        for height, width in zip(range(1, 13), [*range(8, 13), *range(1, 8)], strict=True):
            picture = random.normal(size=(2, channels, height, width)).astype(np.float32)
            widths = [same_padding(side, kernel, stride) for side in (height, width)]
            expected = by_numbers(np.pad(picture, [(0, 0), (0, 0), *widths]))
            np.testing.assert_allclose(by_rule(picture), expected, atol=1e-4)


def convolution(
    weights: NDArray[np.float32], stride: int, groups: int, **padding: str
) -> Callable[[NDArray[np.float32]], NDArray[np.float32]]:
    """A graph of one convolution, to be called with float32 [N, C, H, W]."""
    node = helper.make_node("Conv", ["x", "w"], ["y"], strides=[stride, stride], group=groups, **padding)
    graph = helper.make_graph(
        [node],
        "convolution",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", weights.shape[1] * groups, "H", "W"])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(weights, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    session = open_graph(model)
    return lambda picture: session.run(None, {"x": picture})[0]
