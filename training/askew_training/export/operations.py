"""How many floating-point operations an encoder file spends on a photo, counted in its graph."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper

from askew_client.encoding.runtime import load_onnxruntime, open_session
from askew_training.errors import DataError

PAPER_SIDE = 362
"""Both sides, pixels, of the photo that the tables of the AML paper count operations for."""
_WEIGHT_INPUT = {"Conv": 1, "FusedConv": 1, "ConvInteger": 1, "QLinearConv": 3, "ConvTranspose": 1}
_PRODUCTS = frozenset({"MatMul", "FusedMatMul", "MatMulInteger", "QLinearMatMul", "Gemm", "FusedGemm"})
_HIDDEN = frozenset({"If", "Loop", "Scan", "Einsum", "LSTM", "GRU", "RNN", "Attention", "MultiHeadAttention"})


def operations_of(path: Path, side: int) -> int | None:
    """Count the operations of describing a photo of `side` × `side` px, which the file's graph shrinks where it is too large.

    Two for each multiply-accumulate of convolutions and matrix products, at all scales; biases, activations, pooling and
    resizing are not counted: the convention of the papers' tables, and of `networks.cost.cost_of`. The graph runs once, and
    only shapes are looked at, so that sizes that depend on the photo are those of the photo. None if the graph holds
    operators that hide products, such as loops. Raises DataError if it cannot be read or run.
    """
    try:
        model = onnx.load(path)
        if any(node.op_type in _HIDDEN for node in model.graph.node):
            return None
        counted = [node for node in model.graph.node if node.op_type in _WEIGHT_INPUT or node.op_type in _PRODUCTS]
        shapes = _run(model, sorted({name for node in counted for name in _looked_at(node)}), side)
    except OSError as error:
        raise DataError(f"Expected an encoder file, but {path} cannot be read: {error.strerror}.") from None
    # Neither protobuf's nor onnxruntime's exceptions have a common base class below Exception.
    except Exception as error:  # noqa: BLE001
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        raise DataError(
            f"The operations of {path} cannot be counted for a photo of {side} × {side} px: {reason.rstrip('.')}. "
            "Give --no-operations to leave them out."
        ) from None
    return 2 * sum(_multiplications(node, shapes) for node in counted)


def _looked_at(node: onnx.NodeProto) -> tuple[str, ...]:
    """The tensors whose shapes decide how much a node multiplies."""
    return (node.input[0], node.input[_WEIGHT_INPUT.get(node.op_type, 0)], node.output[0])


def _run(model: onnx.ModelProto, names: list[str], side: int) -> dict[str, tuple[int, ...]]:
    """The shapes of some tensors when a photo is described."""
    graph = model.graph
    del graph.output[:]
    for i, name in enumerate(names):
        graph.node.append(helper.make_node("Shape", [name], [f"askew_shape_{i}"]))
        graph.output.append(helper.make_tensor_value_info(f"askew_shape_{i}", TensorProto.INT64, [None]))
    onnxruntime = load_onnxruntime()
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    # Optimised, nodes would be fused and their tensors gone.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = open_session(model.SerializeToString(), options)
    values = session.run(None, {"image": np.full((1, side, side, 3), 127, dtype=np.uint8)})
    return {name: tuple(map(int, value)) for name, value in zip(names, values, strict=True)}


def _multiplications(node: onnx.NodeProto, shapes: dict[str, tuple[int, ...]]) -> int:
    first, weight, output = (shapes[name] for name in _looked_at(node))
    if node.op_type == "ConvTranspose":
        return math.prod(first) * math.prod(weight[1:])
    if node.op_type in _WEIGHT_INPUT:
        return math.prod(output) * math.prod(weight[1:])
    is_turned = any(attribute.name == "transA" and attribute.i for attribute in node.attribute)
    return math.prod(output) * (first[-2] if is_turned else first[-1])
