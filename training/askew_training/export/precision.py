"""Weights in half precision, computed in single precision: half the bytes, and the same arithmetic."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from askew_training.errors import GateError

SMALLEST_STORED_HALF = 1024
"""Smaller tensors (biases, an epsilon of 1e-6) stay float32: nothing to gain, much to lose."""


def store_half(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the model with its large float32 initialisers stored as float16, each cast back where it is
    used.

    An engine folds the casts when it loads the file, so speed and arithmetic are those of float32.
    (Half-precision arithmetic would overflow in GeM's power.) Raises GateError for a weight beyond
    float16's range.
    """
    halved = onnx.ModelProto()
    halved.CopyFrom(model)
    casts = []
    for initialiser in halved.graph.initializer:
        weights = numpy_helper.to_array(initialiser)
        if weights.dtype != np.float32 or weights.size < SMALLEST_STORED_HALF:
            continue
        if float(np.abs(weights).max()) > float(np.finfo(np.float16).max):
            raise GateError(f"{initialiser.name} holds values beyond half precision; export with --precision fp32.")
        name = initialiser.name
        initialiser.CopyFrom(numpy_helper.from_array(weights.astype(np.float16), f"{name}/half"))
        casts.append(helper.make_node("Cast", [f"{name}/half"], [name], to=TensorProto.FLOAT))
    nodes = [*casts, *halved.graph.node]
    del halved.graph.node[:]
    halved.graph.node.extend(nodes)
    return halved
