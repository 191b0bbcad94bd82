"""Weights in fewer bytes, computed in single precision: a smaller file, and the same arithmetic."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from askew_training.errors import GateError

SMALLEST_STORED_SMALL = 1024
"""Smaller tensors (biases, an epsilon of 1e-6) stay float32: nothing to gain, much to lose."""


def store_half(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the model with its large float32 initialisers stored as float16, each cast back where it is
    used.

    An engine folds the casts when it loads the file, so speed and arithmetic are those of float32.
    (Half-precision arithmetic would overflow in GeM's power.) Raises GateError for a weight beyond
    float16's range.
    """

    def halved(name: str, weights: NDArray[np.float32]) -> Stored:
        if float(np.abs(weights).max()) > float(np.finfo(np.float16).max):
            raise GateError(f"{name} holds values beyond half precision; export with --precision fp32.")
        half = numpy_helper.from_array(weights.astype(np.float16), f"{name}/half")
        return [half], [helper.make_node("Cast", [half.name], [name], to=TensorProto.FLOAT)]

    return _stored(model, halved)


def store_bytes(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the model with its large float32 initialisers stored as int8 and a float32 scale for each row of their
    first axis, which is a channel of a convolution; they are multiplied where they are used.

    Weights are rounded to 1/127 of the largest of their channel, so vectors change: the gate measures by how much.
    Nothing else is rounded. Written as Cast and Mul, which engines fold when they load the file; DequantizeLinear they
    would run for every photo.
    """

    def in_bytes(name: str, weights: NDArray[np.float32]) -> Stored:
        scale = np.abs(weights).max(axis=tuple(range(1, weights.ndim)), keepdims=True) / 127
        scale[scale == 0] = 1
        codes = numpy_helper.from_array(np.round(weights / scale).astype(np.int8), f"{name}/codes")
        scales = numpy_helper.from_array(scale.astype(np.float32), f"{name}/scale")
        cast = helper.make_node("Cast", [codes.name], [f"{name}/cast"], to=TensorProto.FLOAT)
        return [codes, scales], [cast, helper.make_node("Mul", [f"{name}/cast", scales.name], [name])]

    return _stored(model, in_bytes)


Stored = tuple[list[TensorProto], list[onnx.NodeProto]]
"""What stands in the file for an initialiser, and the nodes that make it again."""


def _stored(model: onnx.ModelProto, store: Callable[[str, NDArray[np.float32]], Stored]) -> onnx.ModelProto:
    smaller = onnx.ModelProto()
    smaller.CopyFrom(model)
    kept: list[TensorProto] = []
    made: list[onnx.NodeProto] = []
    for initialiser in smaller.graph.initializer:
        weights = numpy_helper.to_array(initialiser)
        if weights.dtype != np.float32 or weights.size < SMALLEST_STORED_SMALL:
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
