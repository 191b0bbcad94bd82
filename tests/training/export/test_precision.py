"""Weights in fewer bytes."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import numpy_helper

from askew_client.encoding.runtime import open_session
from askew_training.errors import GateError
from askew_training.export.gate import check_graph
from askew_training.export.graph import encoder_graph
from askew_training.export.precision import store_bytes, store_half
from askew_training.export.simplification import simplify
from askew_training.networks.network import Network
from tests.support.training_helpers import picture, tiny_network


@pytest.fixture(scope="module")
def network() -> Network:
    """With so many dimensions that most of its weights are stored in fewer bytes."""
    return tiny_network(dim=1024)


@pytest.fixture(scope="module")
def graph(network: Network) -> onnx.ModelProto:
    return simplify(encoder_graph(network, 128))


def vector_of(model: onnx.ModelProto) -> NDArray[np.float32]:
    session = open_session(model.SerializeToString())
    vector: NDArray[np.float32] = session.run(["descriptor"], {"image": picture(200, 150)[None]})[0][0]
    return vector


def test_half_precision_halves_the_weights_and_hardly_moves_the_vectors(
    network: Network, graph: onnx.ModelProto
) -> None:
    halved = store_half(graph)
    weights = sum(numpy_helper.to_array(tensor).nbytes for tensor in graph.graph.initializer)
    stored = sum(numpy_helper.to_array(tensor).nbytes for tensor in halved.graph.initializer)
    assert stored < 0.56 * weights
    exact, rounded = vector_of(graph), vector_of(halved)
    assert 1 - float(exact @ rounded) < 1e-5
    assert not np.array_equal(exact, rounded)
    check_graph(halved, network, 128)


def test_weights_in_bytes_quarter_the_file_and_move_the_vectors_little(
    network: Network, graph: onnx.ModelProto
) -> None:
    stored = store_bytes(graph)
    assert len(stored.SerializeToString()) < 0.4 * len(graph.SerializeToString())
    onnx.checker.check_model(stored)
    report = check_graph(stored, network, 128, 0.02)
    # A distance of 0 would mean that nothing was rounded.
    assert 1e-7 < report.cosine_distance < 0.02
    for initialiser in stored.graph.initializer:
        if initialiser.name.endswith("/codes"):
            codes = numpy_helper.to_array(initialiser)
            assert codes.dtype == np.int8 and np.abs(codes.astype(int)).max() == 127


def test_weights_beyond_half_precision_are_refused(graph: onnx.ModelProto) -> None:
    broken = onnx.ModelProto()
    broken.CopyFrom(graph)
    large = next(t for t in broken.graph.initializer if numpy_helper.to_array(t).size >= 1024)
    large.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(large) * np.float32(1e8), large.name))
    with pytest.raises(GateError, match="beyond half precision"):
        store_half(broken)
