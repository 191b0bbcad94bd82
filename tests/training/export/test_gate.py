"""The gate of an export."""

from __future__ import annotations

import onnx
import pytest
import torch

from askew_training.errors import GateError
from askew_training.export.gate import check_graph
from askew_training.export.graph import encoder_graph
from askew_training.export.simplification import simplify
from askew_training.networks.network import THREE_SCALES, Network
from tests.support.training_helpers import tiny_network


@pytest.fixture(scope="module")
def graph(network: Network) -> onnx.ModelProto:
    return simplify(encoder_graph(network, 128))


def test_three_scales_pass_the_gate() -> None:
    network = tiny_network(dim=None, scales=THREE_SCALES)
    assert check_graph(simplify(encoder_graph(network, 160)), network, 160).cosine_distance <= 1e-5


def test_another_network_does_not_pass_the_gate(graph: onnx.ModelProto) -> None:
    other = tiny_network()
    assert other.linear is not None
    with torch.no_grad():
        other.linear.weight += 0.05 * torch.randn_like(other.linear.weight)
    with pytest.raises(GateError, match="differs from torch"):
        check_graph(graph, other, 128)


@pytest.mark.parametrize(
    ("attribute", "value", "message"),
    [
        ("antialias", 0, "resizes a photo"),
        ("coordinate_transformation_mode", b"align_corners", "resizes a photo|cannot"),
    ],
)
def test_another_resize_does_not_pass_the_gate(
    network: Network, graph: onnx.ModelProto, attribute: str, value: object, message: str
) -> None:
    broken = onnx.ModelProto()
    broken.CopyFrom(graph)
    resize = next(node for node in broken.graph.node if node.name == "pre/resize")
    for entry in resize.attribute:
        if entry.name == attribute:
            entry.CopyFrom(onnx.helper.make_attribute(attribute, value))
    with pytest.raises(GateError, match=message):
        check_graph(broken, network, 128)


def test_another_size_does_not_pass_the_gate(network: Network, graph: onnx.ModelProto) -> None:
    with pytest.raises(GateError, match="shrinks a photo"):
        check_graph(graph, network, 129)
