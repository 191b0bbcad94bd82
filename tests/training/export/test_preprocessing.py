"""The size rule of the graph."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from askew_client.encoding.photos import shrunk_size
from askew_client.encoding.runtime import open_session
from askew_training.export.preprocessing import preprocessing_graph

if TYPE_CHECKING:
    from askew_client.encoding.runtime import Session


@pytest.fixture(scope="module")
def size_rule() -> Session:
    """Only the size rule: `sizes` of the preprocessing graph, without its Resize."""
    model = preprocessing_graph(224)
    del model.graph.node[-1]
    model.graph.output[0].CopyFrom(onnx.helper.make_tensor_value_info("pre/sizes", onnx.TensorProto.INT64, [4]))
    return open_session(model.SerializeToString())


@given(st.integers(1, 4000), st.integers(1, 4000))
def test_the_size_rule_of_the_graph_is_the_clients(size_rule: Session, height: int, width: int) -> None:
    (sizes,) = size_rule.run(None, {"image": np.zeros((1, height, width, 3), np.uint8)})
    assert (sizes[1], sizes[2]) == shrunk_size(height, width, 224)
    assert max(sizes[1:3]) <= 224
