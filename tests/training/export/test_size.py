"""The expected size of encoder files."""

from __future__ import annotations

import pytest

from askew_training.export.graph import encoder_graph
from askew_training.export.precision import store_half
from askew_training.export.size import expected_bytes
from tests.support.training_helpers import tiny_network


@pytest.mark.slow
def test_a_file_has_the_expected_size() -> None:
    network = tiny_network(dim=512, trunk="mobilenetv3_small_050")
    graph = encoder_graph(network, 128)
    # The rest is the graph's nodes: nearly the same number of bytes in each precision.
    rest = graph.ByteSize() - expected_bytes(network, "fp32")
    assert 0 < rest < 150_000
    assert abs(store_half(graph).ByteSize() - expected_bytes(network, "fp16") - rest) < 30_000
