"""Padding inside of convolutions: what `tf_` trunks pad as TensorFlow's SAME becomes an attribute of the convolution.

How much SAME padding there is depends on a photo's size, so the exporter writes it as a Pad with some fifty nodes that
compute its widths for each photo. ONNX's own `auto_pad` SAME_UPPER is the same rule. It saves those nodes and the copy of
the whole tensor, and an engine no longer leaves its own layout of channels in blocks for the Pad.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from askew_client.encoding.runtime import load_onnxruntime, open_session

_SIDES = (*range(1, 73), *range(97, 449, 11), *range(480, 4097, 452))
"""Heights and widths, pixels, on which a Pad must be SAME padding. SAME depends on a side only through its remainder by
the stride, once the side is longer than the kernel."""
_RULE = "SAME_UPPER"


@dataclass(frozen=True)
class _PaddedConvolution:
    pad: onnx.NodeProto
    convolution: onnx.NodeProto
    kernel: tuple[int, ...]
    strides: tuple[int, ...]


def pad_in_convolutions(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a graph that computes the same, with SAME padding done by its convolutions instead of by Pad nodes.

    A Pad is replaced if it pads with zeros for one undilated, unpadded convolution of two axes, and if its widths, run
    for sides of many lengths, are those of TensorFlow's SAME. Any other Pad stays. Weights must be initialisers, as they
    are before `store`.
    """
    padded = onnx.ModelProto()
    padded.CopyFrom(model)
    replaced = [each for each in _candidates(padded.graph) if _is_same_padding(padded, each)]
    for each in replaced:
        each.convolution.input[0] = each.pad.input[0]
        kept = [attribute for attribute in each.convolution.attribute if attribute.name not in ("pads", "auto_pad")]
        del each.convolution.attribute[:]
        each.convolution.attribute.extend([*kept, helper.make_attribute("auto_pad", _RULE)])
    if replaced:
        _remove_unused(padded.graph)
        onnx.checker.check_model(padded)
    return padded


def same_padding(side: int, kernel: int, stride: int) -> tuple[int, int]:
    """The zeros before and behind a side that TensorFlow's SAME pads: as many as ⌈side / stride⌉ outputs need, the odd
    one behind."""
    total = max(0, (-(-side // stride) - 1) * stride + kernel - side)
    return total // 2, total - total // 2


def padded_inputs(graph: onnx.GraphProto) -> list[str]:
    """The tensors that convolutions of a graph pad by the rule of SAME, whose shapes `with_fixed_padding` needs."""
    return sorted({node.input[0] for node in graph.node if _follows_rule(node)})


def with_fixed_padding(model: onnx.ModelProto, shapes: dict[str, tuple[int, ...]]) -> onnx.ModelProto:
    """Return a graph whose convolutions state the zeros that they pad, for inputs of these shapes: accelerators know
    `pads` better than the rule. `shapes`: [N, C, H, W] of each tensor that `padded_inputs` names."""
    fixed = onnx.ModelProto()
    fixed.CopyFrom(model)
    tensors = {tensor.name: tensor for tensor in fixed.graph.initializer}
    for node in fixed.graph.node:
        if not _follows_rule(node):
            continue
        kernel, strides = tensors[node.input[1]].dims[2:], _strides(node)
        widths = [same_padding(*each) for each in zip(shapes[node.input[0]][2:], kernel, strides, strict=True)]
        kept = [attribute for attribute in node.attribute if attribute.name not in ("pads", "auto_pad")]
        pads = [before for before, _behind in widths] + [behind for _before, behind in widths]
        del node.attribute[:]
        node.attribute.extend([*kept, helper.make_attribute("pads", pads)])
    return fixed


def _follows_rule(node: onnx.NodeProto) -> bool:
    return node.op_type == "Conv" and _text(node, "auto_pad") == _RULE


def _candidates(graph: onnx.GraphProto) -> list[_PaddedConvolution]:
    """Each Pad with zeros that serves one convolution of two axes, neither dilated nor padded itself."""
    tensors = {tensor.name: tensor for tensor in graph.initializer}
    outputs = {output.name for output in graph.output}
    users: dict[str, list[onnx.NodeProto]] = {}
    for node in graph.node:
        for name in _read_by(node):
            users.setdefault(name, []).append(node)
    found = []
    for pad in graph.node:
        if pad.op_type != "Pad" or pad.output[0] in outputs or not _pads_with_zeros(pad, tensors):
            continue
        of_pad = users.get(pad.output[0], [])
        if len(of_pad) != 1 or of_pad[0].op_type != "Conv" or of_pad[0].input[1] not in tensors:
            continue
        convolution = of_pad[0]
        kernel, strides = tuple(tensors[convolution.input[1]].dims[2:]), _strides(convolution)
        # A kernel shorter than its stride skips pixels, and earlier versions of ONNX Runtime pad such a side by less
        # than nothing.
        if len(kernel) == 2 and all(k >= s for k, s in zip(kernel, strides, strict=True)) and _is_plain(convolution):
            found.append(_PaddedConvolution(pad, convolution, kernel, strides))
    return found


def _pads_with_zeros(pad: onnx.NodeProto, tensors: dict[str, TensorProto]) -> bool:
    """Whether a Pad is one of zeros on all axes; the widths are its second input."""
    value, axes = [*pad.input, "", ""][2:4]
    is_zero = not value or (value in tensors and not numpy_helper.to_array(tensors[value]).any())
    return _text(pad, "mode") in ("", "constant") and is_zero and not axes


def _is_plain(convolution: onnx.NodeProto) -> bool:
    numbers = {each.name: each.ints for each in convolution.attribute}
    undilated = all(each == 1 for each in numbers.get("dilations", ()))
    return undilated and not any(numbers.get("pads", ())) and _text(convolution, "auto_pad") in ("", "NOTSET")


def _is_same_padding(model: onnx.ModelProto, candidate: _PaddedConvolution) -> bool:
    """Whether the widths that the graph computes are those of SAME, for sides of many lengths."""
    widths = _widths(model, candidate.pad)
    if widths is None:
        return False
    (kernel_height, kernel_width), (down, across) = candidate.kernel, candidate.strides
    sizes = list(zip(_SIDES, _mixed(_SIDES), strict=True))
    expected = []
    for height, width in sizes:
        top, bottom = same_padding(height, kernel_height, down)
        left, right = same_padding(width, kernel_width, across)
        expected.append([0, 0, top, left, 0, 0, bottom, right])
    options = load_onnxruntime().SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    try:
        session = open_session(widths.SerializeToString(), options)
        actual = [session.run(None, {"shape": np.array([1, 3, *size], dtype=np.int64)})[0].tolist() for size in sizes]
    # Widths that cannot be computed alone are those of another exporter. onnxruntime's exceptions have no common base
    # class below Exception.
    except Exception:  # noqa: BLE001
        return False
    return actual == expected


def _mixed(sides: Sequence[int]) -> list[int]:
    """The same sides in another order, so that heights and widths differ."""
    return [*sides[len(sides) // 3 :], *sides[: len(sides) // 3]]


def _widths(model: onnx.ModelProto, pad: onnx.NodeProto) -> onnx.ModelProto | None:
    """The part of a graph that computes a Pad's widths, int64 [8], from the `shape` of what it pads, int64 [4]. None if
    they depend on anything else."""
    makers = {output: node for node in model.graph.node for output in node.output}
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    needed, wanted, shapes = set[str](), [pad.input[1]], set[str]()
    while wanted:
        name = wanted.pop()
        if name in needed or not name:
            continue
        needed.add(name)
        if name in tensors:
            continue
        if name not in makers:
            return None
        node = makers[name]
        if node.op_type == "Shape" and list(node.input) == [pad.input[0]] and not node.attribute:
            shapes.add(name)
        else:
            wanted.extend(node.input)
    used = [node for node in model.graph.node if needed & set(node.output)]
    nodes = [
        helper.make_node("Identity", ["shape"], node.output) if shapes & set(node.output) else node for node in used
    ]
    graph = helper.make_graph(
        nodes,
        "widths",
        [helper.make_tensor_value_info("shape", TensorProto.INT64, [4])],
        [helper.make_tensor_value_info(pad.input[1], TensorProto.INT64, [8])],
        [tensors[name] for name in sorted(needed & tensors.keys())],
    )
    return helper.make_model(graph, opset_imports=model.opset_import, ir_version=model.ir_version)


def _remove_unused(graph: onnx.GraphProto) -> None:
    """Remove the nodes and the initialisers on which no output depends."""
    needed = {output.name for output in graph.output}
    nodes = []
    for node in reversed(graph.node):
        if needed & set(node.output):
            nodes.append(node)
            needed |= _read_by(node)
    tensors = [tensor for tensor in graph.initializer if tensor.name in needed]
    del graph.node[:], graph.initializer[:]
    graph.node.extend(nodes[::-1])
    graph.initializer.extend(tensors)


def _read_by(node: onnx.NodeProto) -> set[str]:
    """The tensors that a node reads, those that only its subgraphs read included."""
    subgraphs = [graph for each in node.attribute for graph in (each.g, *each.graphs)]
    return {*node.input, *(name for graph in subgraphs for inner in graph.node for name in _read_by(inner))}


def _strides(convolution: onnx.NodeProto) -> tuple[int, ...]:
    stated = [tuple(each.ints) for each in convolution.attribute if each.name == "strides"]
    return stated[0] if stated else (1, 1)


def _text(node: onnx.NodeProto, name: str) -> str:
    """An attribute that is a string; empty where the node does not state it."""
    return next((each.s.decode() for each in node.attribute if each.name == name), "")
