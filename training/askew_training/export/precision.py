"""Weights stored in fewer bytes and computed in single precision: a smaller file, and the same arithmetic."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from askew_client.contract.manifest import Precision
from askew_training.errors import GateError

SMALLEST_CONVERTED = 1024
"""Values of the smallest tensor that is converted. Smaller ones (biases, an epsilon of 1e-6) stay float32: they would
save nothing, and their rounding costs most."""


def store(model: onnx.ModelProto, precision: Precision) -> onnx.ModelProto:
    """Return a model of float32 weights with its weights stored in a precision. Raises GateError as store_half does."""
    match precision:
        case "fp32":
            return model
        case "fp16":
            return store_half(model)
        case "int8":
            return store_bytes(model)
        case "int8-compute":
            # Its convolutions hold bytes already, and their steps, vectors of channels, must stay constants.
            return store_bytes(model, smallest_rank=2)


def restore(model: onnx.ModelProto) -> onnx.ModelProto:
    """Undo `store`: each weight is a float32 initialiser again, with the values that the model computes with.

    Storing them once more in the same precision gives the same values.
    """
    whole = onnx.ModelProto()
    whole.CopyFrom(model)
    tensors = {tensor.name: tensor for tensor in whole.graph.initializer}
    weights: dict[str, NDArray[np.float32]] = {}
    nodes = []
    for node in whole.graph.node:
        name = node.output[0]
        if (node.op_type == "Cast" and list(node.input) == [f"{name}/half"]) or (
            node.op_type == "Cast"
            and name.endswith("/cast")
            and list(node.input) == [f"{name.removesuffix('/cast')}/codes"]
        ):
            weights[name] = numpy_helper.to_array(tensors.pop(node.input[0])).astype(np.float32)
        elif node.op_type == "Mul" and list(node.input) == [f"{name}/cast", f"{name}/scale"]:
            weights[name] = weights.pop(node.input[0]) * numpy_helper.to_array(tensors.pop(node.input[1]))
        else:
            nodes.append(node)
    del whole.graph.node[:], whole.graph.initializer[:]
    whole.graph.node.extend(nodes)
    whole.graph.initializer.extend(tensors.values())
    whole.graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in weights.items())
    return whole


def store_half(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the model with its large float32 initialisers stored as float16, each cast back where it is used.

    Engines fold the casts when they load the file, so speed and arithmetic are those of float32. (Half-precision
    arithmetic would overflow in GeM's power.) Raises GateError for a weight beyond float16's range.
    """

    def to_half(name: str, weights: NDArray[np.float32]) -> Stored:
        if float(np.abs(weights).max()) > float(np.finfo(np.float16).max):
            raise GateError(f"{name} holds values beyond half precision. Export with --precision fp32.")
        half = numpy_helper.from_array(weights.astype(np.float16), f"{name}/half")
        return [half], [helper.make_node("Cast", [half.name], [name], to=TensorProto.FLOAT)]

    return _store(model, to_half)


def store_bytes(model: onnx.ModelProto, smallest_rank: int = 1) -> onnx.ModelProto:
    """Return the model with its large float32 initialisers stored as int8 and a float32 scale for each row of their
    first axis, a channel of a convolution; both are multiplied where the weight is used.

    Weights are rounded to 1/127 of the largest of their channel, so vectors change; the gate measures by how much.
    Nothing else is rounded. Written as Cast and Mul, which engines fold when they load the file; a DequantizeLinear
    would run for every photo. `smallest_rank`: the dimensions of the smallest tensor that is converted.
    """

    def to_bytes(name: str, weights: NDArray[np.float32]) -> Stored:
        scale = np.abs(weights).max(axis=tuple(range(1, weights.ndim)), keepdims=True) / 127
        scale[scale == 0] = 1
        codes = numpy_helper.from_array(np.round(weights / scale).astype(np.int8), f"{name}/codes")
        scales = numpy_helper.from_array(scale.astype(np.float32), f"{name}/scale")
        cast = helper.make_node("Cast", [codes.name], [f"{name}/cast"], to=TensorProto.FLOAT)
        return [codes, scales], [cast, helper.make_node("Mul", [f"{name}/cast", scales.name], [name])]

    return _store(model, to_bytes, smallest_rank)


Stored = tuple[list[TensorProto], list[onnx.NodeProto]]
"""The tensors that replace an initialiser in the file, and the nodes that compute it from them."""


def _store(
    model: onnx.ModelProto, store: Callable[[str, NDArray[np.float32]], Stored], smallest_rank: int = 1
) -> onnx.ModelProto:
    smaller = onnx.ModelProto()
    smaller.CopyFrom(model)
    kept: list[TensorProto] = []
    made: list[onnx.NodeProto] = []
    for initialiser in smaller.graph.initializer:
        weights = numpy_helper.to_array(initialiser)
        if weights.dtype != np.float32 or weights.size < SMALLEST_CONVERTED or weights.ndim < smallest_rank:
            kept.append(initialiser)
            continue
        tensors, nodes = store(initialiser.name, weights)
        kept += tensors
        made += nodes
    nodes = [*made, *smaller.graph.node]
    del smaller.graph.node[:], smaller.graph.initializer[:]
    smaller.graph.node.extend(nodes)
    smaller.graph.initializer.extend(kept)
    return smaller
