"""The first part of every encoder's graph: from a photo of any size to `pixels`, what the trunk sees of it."""

from __future__ import annotations

import onnx
from onnx import TensorProto, helper

OPSET = 18
IR_VERSION = 8
"""The IR version introduced with opset 18: every runtime that supports one supports the other."""


def preprocessing_graph(photo_size: int) -> onnx.ModelProto:
    """Build the graph `image` uint8 [N, H, W, 3] → `pixels` uint8 [N, h, w, 3].

    The size rule in integers: with m = max(H, W) and S' = min(S, m), each side becomes
    max(1, (2 · side · S' + m) // (2 · m)), which is floor(side · S'/m + ½) without rounding errors, and leaves a photo
    that is small enough unchanged. Then a linear, antialiased, half-pixel Resize on the bytes.
    """
    constants = {
        "pre/photo_size": [photo_size],
        "pre/two": [2],
        "pre/one": [1],
        "pre/three": [3],
        "pre/first": [0],
        "pre/sides": [1, 2],
    }
    nodes = [
        helper.make_node("Shape", ["image"], ["pre/shape"]),
        helper.make_node("Gather", ["pre/shape", "pre/sides"], ["pre/height_width"]),
        helper.make_node("Gather", ["pre/shape", "pre/first"], ["pre/count"]),
        helper.make_node("ReduceMax", ["pre/height_width"], ["pre/longest"], keepdims=1),
        helper.make_node("Min", ["pre/longest", "pre/photo_size"], ["pre/target"]),
        helper.make_node("Mul", ["pre/height_width", "pre/target"], ["pre/scaled"]),
        helper.make_node("Mul", ["pre/scaled", "pre/two"], ["pre/scaled_twice"]),
        helper.make_node("Add", ["pre/scaled_twice", "pre/longest"], ["pre/numerator"]),
        helper.make_node("Mul", ["pre/longest", "pre/two"], ["pre/denominator"]),
        helper.make_node("Div", ["pre/numerator", "pre/denominator"], ["pre/rounded"]),
        helper.make_node("Max", ["pre/rounded", "pre/one"], ["pre/shrunk"]),
        helper.make_node("Concat", ["pre/count", "pre/shrunk", "pre/three"], ["pre/sizes"], axis=0),
        helper.make_node(
            "Resize",
            ["image", "", "", "pre/sizes"],
            ["pixels"],
            name="pre/resize",
            mode="linear",
            antialias=1,
            coordinate_transformation_mode="half_pixel",
        ),
    ]
    graph = helper.make_graph(
        nodes,
        "preprocess",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, ["N", "H", "W", 3])],
        [helper.make_tensor_value_info("pixels", TensorProto.UINT8, ["N", "h", "w", 3])],
        [helper.make_tensor(name, TensorProto.INT64, [len(value)], value) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
