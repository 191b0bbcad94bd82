"""The graphs for mobile accelerators: a network for each of three fixed shapes, and the preprocessing that leads to one.

CoreML and NNAPI compile a network for one shape, take no uint8, and have no antialiased Resize. So an encoder file is cut
at `pixels`: the part before runs on the CPU, the part behind on the accelerator.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from askew_client.encoding.runtime import open_session
from askew_training.errors import GateError
from askew_training.export.padding import padded_inputs, with_fixed_padding
from askew_training.export.preprocessing import IR_VERSION, OPSET
from askew_training.export.simplification import simplify

FILL = 128
"""The grey around a photo that does not fill its shape."""


def mobile_sizes(photo_size: int) -> dict[str, tuple[int, int]]:
    """Height and width of the three shapes: what the size rule makes of large photos of these aspects."""
    short = (2 * 3 * photo_size + 4) // 8
    return {
        "4x3": (short, photo_size),
        "3x4": (photo_size, short),
        "1x1": (photo_size, photo_size),
    }


def mobile_preprocessing(photo_size: int) -> onnx.ModelProto:
    """Build the graph `image` uint8 [1, H, W, 3] → `pixels` float32 [1, h, w, 3], whole grey levels, of one of the shapes.

    The shape is the one of the nearest aspect, by ratio: W/H ≥ √(4/3) is 4x3, H/W ≥ √(4/3) is 3x4. The photo is resized
    to fit it, at its own aspect, by the Resize of the encoder file, and centred on mid-grey. A photo of exactly 4:3, 3:4
    or 1:1 whose longest side is at least `photo_size` gives the `pixels` of the encoder file. Smaller photos are
    enlarged, which the encoder file does not do.
    """
    short = mobile_sizes(photo_size)["4x3"][0]
    constants = {
        "pre/long": [photo_size],
        "pre/short": [short],
        "pre/one": [1],
        "pre/two": [2],
        "pre/three": [3],
        "pre/four": [4],
        "pre/nothing": [0],
        "pre/row_axis": [1],
        "pre/column_axis": [2],
    }
    make = helper.make_node
    nodes = [
        make("Shape", ["image"], ["pre/shape"]),
        make("Gather", ["pre/shape", "pre/row_axis"], ["pre/H"]),
        make("Gather", ["pre/shape", "pre/column_axis"], ["pre/W"]),
        # Which shape: 3 · W² ≥ 4 · H² or 3 · H² ≥ 4 · W².
        make("Mul", ["pre/H", "pre/H"], ["pre/HH"]),
        make("Mul", ["pre/W", "pre/W"], ["pre/WW"]),
        make("Mul", ["pre/HH", "pre/three"], ["pre/3HH"]),
        make("Mul", ["pre/WW", "pre/three"], ["pre/3WW"]),
        make("Mul", ["pre/HH", "pre/four"], ["pre/4HH"]),
        make("Mul", ["pre/WW", "pre/four"], ["pre/4WW"]),
        make("GreaterOrEqual", ["pre/3WW", "pre/4HH"], ["pre/is_wide"]),
        make("GreaterOrEqual", ["pre/3HH", "pre/4WW"], ["pre/is_tall"]),
        make("Where", ["pre/is_wide", "pre/short", "pre/long"], ["pre/h"]),
        make("Where", ["pre/is_tall", "pre/short", "pre/long"], ["pre/w"]),
        *_fitted("pre/rows", side="pre/H", other="pre/W", limit="pre/h", other_limit="pre/w"),
        *_fitted("pre/columns", side="pre/W", other="pre/H", limit="pre/w", other_limit="pre/h"),
        make("Concat", ["pre/one", "pre/rows", "pre/columns", "pre/three"], ["pre/sizes"], axis=0),
        make(
            "Resize",
            ["image", "", "", "pre/sizes"],
            ["pre/photo"],
            name="pre/resize",
            mode="linear",
            antialias=1,
            coordinate_transformation_mode="half_pixel",
        ),
        make("Sub", ["pre/h", "pre/rows"], ["pre/free_rows"]),
        make("Sub", ["pre/w", "pre/columns"], ["pre/free_columns"]),
        make("Div", ["pre/free_rows", "pre/two"], ["pre/top"]),
        make("Div", ["pre/free_columns", "pre/two"], ["pre/left"]),
        make("Sub", ["pre/free_rows", "pre/top"], ["pre/bottom"]),
        make("Sub", ["pre/free_columns", "pre/left"], ["pre/right"]),
        make(
            "Concat",
            [
                "pre/nothing",
                "pre/top",
                "pre/left",
                "pre/nothing",
                "pre/nothing",
                "pre/bottom",
                "pre/right",
                "pre/nothing",
            ],
            ["pre/margins"],
            axis=0,
        ),
        make("Cast", ["pre/photo"], ["pre/levels"], to=TensorProto.FLOAT),
        make("Pad", ["pre/levels", "pre/margins", "pre/fill"], ["pixels"], mode="constant"),
    ]
    graph = helper.make_graph(
        nodes,
        "preprocess",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, [1, "H", "W", 3])],
        [helper.make_tensor_value_info("pixels", TensorProto.FLOAT, [1, "h", "w", 3])],
        [
            *(helper.make_tensor(name, TensorProto.INT64, [len(value)], value) for name, value in constants.items()),
            numpy_helper.from_array(np.array(FILL, dtype=np.float32), "pre/fill"),
        ],
    )
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION, producer_name="askew"
    )
    onnx.checker.check_model(model)
    return model


def _fitted(name: str, *, side: str, other: str, limit: str, other_limit: str) -> list[onnx.NodeProto]:
    """A side of the photo that fits: max(1, min(limit, (2 · side · other_limit + other) // (2 · other)))."""
    make = helper.make_node
    return [
        make("Mul", [side, other_limit], [f"{name}/scaled"]),
        make("Mul", [f"{name}/scaled", "pre/two"], [f"{name}/scaled_twice"]),
        make("Add", [f"{name}/scaled_twice", other], [f"{name}/numerator"]),
        make("Mul", [other, "pre/two"], [f"{name}/denominator"]),
        make("Div", [f"{name}/numerator", f"{name}/denominator"], [f"{name}/rounded"]),
        make("Min", [f"{name}/rounded", limit], [f"{name}/fitting"]),
        make("Max", [f"{name}/fitting", "pre/one"], [name]),
    ]


def fixed_network(encoder: onnx.ModelProto, height: int, width: int) -> onnx.ModelProto:
    """Cut the network out of an encoder's graph with float32 weights, for one shape.

    `pixels` float32 [1, height, width, 3], whole grey levels → `descriptor` float32 [1, D]. Everything that depends on
    the shape alone is computed now: of the graph's arithmetic with sizes nothing is left. Raises GateError.
    """
    nodes, used = _behind_pixels(encoder)
    if "image" in used:
        raise GateError(
            "The part of the graph behind `pixels` reads `image`, too, so it cannot be cut there. Expected an encoder file of "
            "`askew export`. Nothing was written."
        )
    graph = helper.make_graph(
        nodes,
        "network",
        [helper.make_tensor_value_info("pixels", TensorProto.FLOAT, [1, height, width, 3])],
        [helper.make_tensor_value_info("descriptor", TensorProto.FLOAT, [1, _dim(encoder)])],
        [tensor for tensor in encoder.graph.initializer if tensor.name in used],
    )
    model = helper.make_model(
        graph, opset_imports=encoder.opset_import, ir_version=encoder.ir_version, producer_name="askew"
    )
    return _with_both_limits(simplify(_with_known_shapes(model, height, width)))


def _behind_pixels(encoder: onnx.ModelProto) -> tuple[list[onnx.NodeProto], set[str]]:
    """The nodes that compute `descriptor` from `pixels`, without the Cast from uint8, and the names that they read."""
    levels = {"pixels"}
    renamed: dict[str, str] = {}
    nodes = []
    for original in encoder.graph.node:
        if "pixels" in original.output:
            continue
        node = onnx.NodeProto()
        node.CopyFrom(original)
        node.input[:] = [renamed.get(name, name) for name in node.input]
        if node.input[:1] and node.input[0] in levels:
            if node.op_type == "Cast":
                renamed[node.output[0]] = node.input[0]
                continue
            if node.op_type == "Transpose":
                levels.add(node.output[0])
        nodes.append(node)
    needed, used = {"descriptor"}, []
    for node in reversed(nodes):
        if needed & set(node.output):
            used.append(node)
            needed |= set(node.input)
    return used[::-1], needed


def _with_known_shapes(model: onnx.ModelProto, height: int, width: int) -> onnx.ModelProto:
    """Replace each Shape node, and each rule of padding, by what ONNX Runtime finds in one run: all are constant for a
    fixed input."""
    shapes = [node.output[0] for node in model.graph.node if node.op_type == "Shape"]
    padded = {f"{name}/shape": name for name in padded_inputs(model.graph)}
    if not shapes and not padded:
        return model
    opened = onnx.ModelProto()
    opened.CopyFrom(model)
    opened.graph.node.extend(helper.make_node("Shape", [name], [shape]) for shape, name in padded.items())
    wanted = [*shapes, *padded]
    opened.graph.output.extend(helper.make_tensor_value_info(name, TensorProto.INT64, None) for name in wanted)
    session = open_session(opened.SerializeToString())
    values = session.run(wanted, {"pixels": np.zeros((1, height, width, 3), dtype=np.float32)})
    found = dict(zip(wanted, values, strict=True))
    known = with_fixed_padding(model, {name: tuple(map(int, found[shape])) for shape, name in padded.items()})
    nodes = [node for node in known.graph.node if node.op_type != "Shape"]
    del known.graph.node[:]
    known.graph.node.extend(nodes)
    known.graph.initializer.extend(numpy_helper.from_array(found[name], name) for name in shapes)
    return known


def _with_both_limits(model: onnx.ModelProto) -> onnx.ModelProto:
    """Give each Clip with one limit the other one, the most extreme float32: a Clip with an empty input is refused by
    ONNX Runtime's mobile check, and by older delegates."""
    extremes = {1: "clip/lowest", 2: "clip/highest"}
    values = {"clip/lowest": np.finfo(np.float32).min, "clip/highest": np.finfo(np.float32).max}
    added: set[str] = set()
    for node in model.graph.node:
        if node.op_type != "Clip":
            continue
        limits = [*node.input, "", ""][:3]
        node.input[:] = [name or extremes[place] for place, name in enumerate(limits)]
        added |= {extremes[place] for place, name in enumerate(limits) if not name}
    for name in sorted(added):
        model.graph.initializer.append(numpy_helper.from_array(np.array(values[name], dtype=np.float32), name))
    onnx.checker.check_model(model)
    return model


def _dim(encoder: onnx.ModelProto) -> int:
    return int(encoder.graph.output[0].type.tensor_type.shape.dim[1].dim_value)
