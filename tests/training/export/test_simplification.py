"""Simplified graphs."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections import Counter

import numpy as np
import onnx
import pytest

from askew_client.encoding.runtime import open_session
from askew_training.errors import GateError
from askew_training.export.gate import check_graph
from askew_training.export.graph import encoder_graph
from askew_training.export.precision import restore, store
from askew_training.export.simplification import simplify
from askew_training.networks.network import THREE_SCALES, Network
from tests.support.paths import ROOT
from tests.support.training_helpers import picture, tiny_network


@pytest.fixture(scope="module")
def three_scales() -> onnx.ModelProto:
    """A graph as the exporter writes it: shared weights with an Identity for each use."""
    return encoder_graph(tiny_network(dim=32, scales=THREE_SCALES), 128)


def operators(model: onnx.ModelProto) -> Counter[str]:
    return Counter(node.op_type for node in model.graph.node)


def weight_bytes(model: onnx.ModelProto) -> int:
    return sum(onnx.numpy_helper.to_array(tensor).nbytes for tensor in model.graph.initializer)


def test_no_identity_and_no_constant_is_left(three_scales: onnx.ModelProto) -> None:
    before, after = operators(three_scales), operators(simplify(three_scales))
    assert before["Identity"] > 0 and before["Constant"] > 0
    assert after["Identity"] == after["Constant"] == 0
    assert after.total() < 0.8 * before.total()


def test_weights_that_scales_share_are_stored_once(three_scales: onnx.ModelProto) -> None:
    simple = simplify(three_scales)
    assert weight_bytes(simple) < 1.05 * weight_bytes(three_scales)
    # In each scale the same three convolutions and two more.
    weights = [node.input[1] for node in simple.graph.node if node.op_type == "Conv"]
    assert len(weights) == 3 * len(set(weights))


def test_the_cut_the_interface_and_the_safe_tail_stay(three_scales: onnx.ModelProto) -> None:
    simple = simplify(three_scales)
    assert [value.name for value in simple.graph.input] == ["image"]
    assert simple.graph.input == three_scales.graph.input
    assert simple.graph.output == three_scales.graph.output
    assert (simple.ir_version, simple.producer_name) == (8, "askew")
    assert [(entry.domain, entry.version) for entry in simple.opset_import] == [("", 18)]
    resize = next(node for node in simple.graph.node if "pixels" in node.output)
    assert {entry.name: onnx.helper.get_attribute_value(entry) for entry in resize.attribute} == {
        "mode": b"linear",
        "antialias": 1,
        "coordinate_transformation_mode": b"half_pixel",
    }
    assert [node.op_type for node in simple.graph.node][-5:] == ["Mul", "ReduceSum", "Add", "Sqrt", "Div"]
    assert not {"ReduceL2", "Flatten", "LpNormalization"} & set(operators(simple))


def test_a_simplified_graph_computes_the_same_bits(three_scales: onnx.ModelProto) -> None:
    sessions = [open_session(model.SerializeToString()) for model in (three_scales, simplify(three_scales))]
    for height, width in ((200, 150), (64, 91), (33, 128)):
        photos = np.stack([picture(height, width, seed) for seed in range(2)])
        before, after = (session.run(None, {"image": photos})[0] for session in sessions)
        np.testing.assert_array_equal(before, after)


@pytest.mark.slow
def test_every_run_gives_the_same_bytes() -> None:
    """Also a run in another process, where Python orders sets differently."""
    code = (
        "import hashlib; from askew_training.export.graph import encoder_graph; "
        "from askew_training.export.simplification import simplify; "
        "from tests.support.training_helpers import tiny_network; "
        "graph = simplify(encoder_graph(tiny_network(scales=(1.0, 0.5)), 128)); "
        "print(hashlib.sha256(graph.SerializeToString(deterministic=True)).hexdigest())"
    )
    elsewhere = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONHASHSEED": "1", "OMP_NUM_THREADS": "1"},
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    here = simplify(encoder_graph(tiny_network(scales=(1.0, 0.5)), 128)).SerializeToString(deterministic=True)
    assert elsewhere == hashlib.sha256(here).hexdigest() + "\n"


@pytest.mark.slow
@pytest.mark.parametrize("pooling", ["rmac", "rgem", "gemmp"])
def test_no_exported_network_has_subgraphs(pooling: str) -> None:
    """So nothing is hidden in the branches of an If or the body of a Loop, which simplification does not enter."""
    from askew_training.networks.network import Branch

    branch = tiny_network().branches[0]
    network = Network([Branch(branch.trunk, pooling=pooling)], scales=(1.0, 0.5)).eval()  # type: ignore[arg-type]
    simple = simplify(encoder_graph(network, 128))
    kinds = {attribute.type for node in simple.graph.node for attribute in node.attribute}
    assert not kinds & {onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS}
    assert check_graph(simple, network, 128).cosine_distance <= 1e-5


@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_stored_weights_can_be_restored_and_stored_again(precision: str, three_scales: onnx.ModelProto) -> None:
    network = tiny_network(dim=1024)
    graph = simplify(encoder_graph(network, 128))
    stored = store(graph, precision)  # type: ignore[arg-type]
    whole = restore(stored)
    assert [node.op_type for node in whole.graph.node] == [node.op_type for node in graph.graph.node]
    assert {tensor.name for tensor in whole.graph.initializer} == {tensor.name for tensor in graph.graph.initializer}
    sessions = [
        open_session(model.SerializeToString())
        for model in (stored, whole, store(whole, precision))  # type: ignore[arg-type]
    ]
    vectors = [session.run(None, {"image": picture(200, 150)[None]})[0] for session in sessions]
    np.testing.assert_allclose(vectors[1], vectors[0], atol=1e-6)
    np.testing.assert_allclose(vectors[2], vectors[0], atol=1e-6)


def test_a_simplifier_that_damages_the_graph_is_not_believed(
    monkeypatch: pytest.MonkeyPatch, three_scales: onnx.ModelProto
) -> None:
    def rename_pixels(model: onnx.ModelProto, **_options: object) -> onnx.ModelProto:
        for node in model.graph.node:
            node.input[:] = ["other" if name == "pixels" else name for name in node.input]
            node.output[:] = ["other" if name == "pixels" else name for name in node.output]
        return model

    monkeypatch.setattr("onnxslim.slim", rename_pixels)
    with pytest.raises(GateError, match="removed the tensor `pixels`"):
        simplify(three_scales)

    def fail(model: onnx.ModelProto, **_options: object) -> onnx.ModelProto:
        raise KeyError("something inside")

    monkeypatch.setattr("onnxslim.slim", fail)
    with pytest.raises(GateError, match="cannot simplify the graph: 'something inside'"):
        simplify(three_scales)
