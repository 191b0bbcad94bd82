"""Simplifying a graph: what can be computed at export is not computed, or even read, when a device opens the file."""

from __future__ import annotations

import onnx
import onnxslim

from askew_client.encoding.runtime import load_onnxruntime
from askew_training.errors import GateError

LEFT_OUT = ["subexpression_elimination"]
"""onnxslim 0.1.98 merges nodes that differ only in which optional input they leave out: it takes Clip(x, min=2) for
Clip(x, max=2), which both occur in R-MAC. Engines merge common subexpressions themselves when they load a file.

Its shape inference is left out, too: it rounds the quotient of two float32 sizes down before it takes its ceiling, so
that convolutions of a fixed shape get too little padding."""


def simplify(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a graph that computes the same with fewer nodes: constants are folded, and nodes that do nothing are removed.

    Inputs, outputs, opset, IR version and the tensor `pixels`, if the model has one, are kept. No Identity and no
    Constant node is left. Weights must be float32 initialisers, as they are before `store_half` or `store_bytes`:
    otherwise they would be folded back to single precision. The same model gives the same graph on every run. Raises
    GateError if onnxslim fails, or changes what must stay, and EngineMissing.
    """
    plain = _without_identities(model)
    # onnxslim computes constants with it, and would load it itself, telemetry included.
    load_onnxruntime()
    try:
        simple: onnx.ModelProto = onnxslim.slim(plain, skip_optimizations=LEFT_OUT, no_shape_infer=True)
    # onnxslim's exceptions have no common base class below Exception.
    except Exception as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0][:200].rstrip(".")
        raise GateError(f"onnxslim cannot simplify the graph: {reason}. Nothing was written.") from error
    # Inferred shapes: half as many bytes again as the nodes, and no engine needs them.
    del simple.graph.value_info[:]
    for mine, theirs in ((simple.graph.input, model.graph.input), (simple.graph.output, model.graph.output)):
        if [value.name for value in mine] != [value.name for value in theirs]:
            raise GateError("onnxslim changed the graph's inputs or outputs. Nothing was written.")
        # It names free dimensions anew.
        del mine[:]
        mine.extend(theirs)
    simple.ir_version = model.ir_version
    simple.producer_name, simple.graph.name = model.producer_name, model.graph.name
    _check(simple, model)
    return simple


def _without_identities(model: onnx.ModelProto) -> onnx.ModelProto:
    """The exporter writes weights that several scales share once, with an Identity for each use. onnxslim would copy
    the weights of each."""
    plain = onnx.ModelProto()
    plain.CopyFrom(model)
    outputs = {output.name for output in plain.graph.output}
    renamed: dict[str, str] = {}
    nodes = []
    for node in plain.graph.node:
        node.input[:] = [renamed.get(name, name) for name in node.input]
        if node.op_type == "Identity" and node.output[0] not in outputs:
            renamed[node.output[0]] = node.input[0]
        else:
            nodes.append(node)
    del plain.graph.node[:]
    plain.graph.node.extend(nodes)
    return plain


def _check(simple: onnx.ModelProto, model: onnx.ModelProto) -> None:
    onnx.checker.check_model(simple)
    kept = {output for node in simple.graph.node for output in node.output}
    if any("pixels" in node.output for node in model.graph.node) and "pixels" not in kept:
        raise GateError("onnxslim removed the tensor `pixels`. Nothing was written.")
    if [(each.domain, each.version) for each in simple.opset_import] != [
        (each.domain, each.version) for each in model.opset_import
    ]:
        raise GateError("onnxslim changed the graph's operator set. Nothing was written.")
    left = {node.op_type for node in simple.graph.node} & {"Identity", "Constant"}
    if left:
        raise GateError(f"onnxslim left {' and '.join(sorted(left))} nodes in the graph. Nothing was written.")
