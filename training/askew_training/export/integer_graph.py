"""From a graph with rounded features to one whose convolutions engines compute with integers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from askew_training.errors import GateError
from askew_training.export.graph import encoder_graph
from askew_training.export.padding import pad_in_convolutions
from askew_training.export.quantised_network import ByteWeights, exportable
from askew_training.export.simplification import simplify
from askew_training.networks.network import Network
from askew_training.networks.quantised.layers import LARGEST_BIAS


def integer_graph(network: Network, photo_size: int) -> onnx.ModelProto:
    """Build the graph `image` uint8 [N, H, W, 3] → `descriptor` float32 [N, D] of a quantised network in eval mode.

    Its convolutions take and give bytes; all else is computed in float32. Raises GateError.
    """
    plain, weights = exportable(network)
    return with_integer_convolutions(pad_in_convolutions(simplify(encoder_graph(plain, photo_size))), weights)


def with_integer_convolutions(model: onnx.ModelProto, weights: Mapping[str, ByteWeights]) -> onnx.ModelProto:
    """Return a graph in which each convolution of `weights` takes bytes, and gives what is rounded to bytes next.

    Written as DequantizeLinear → Conv → QuantizeLinear, which ONNX Runtime and mobile engines replace by one integer
    operator each, and which engines that know none still compute, slowly. For this, an activation that cuts
    off nothing but what rounding cuts off is removed, and pixels, bytes already, are used as they are where their
    normalisation is the same for all three colours. SAME padding must be done by convolutions (`pad_in_convolutions`). Raises GateError if a convolution is not between roundings.
    """
    graph = _Graph(model)
    _drop_activations(graph)
    _use_pixels(graph)
    for node in [node for node in graph.nodes if node.op_type == "Conv"]:
        if node.input[1] in weights:
            _use_bytes(graph, node, weights[node.input[1]])
    return graph.finished(weights)


class _Graph:
    """A copy of a model's graph, to be rewritten."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.model = onnx.ModelProto()
        self.model.CopyFrom(model)
        self.nodes = list(self.model.graph.node)
        self.tensors = {tensor.name: tensor for tensor in self.model.graph.initializer}

    def value(self, name: str) -> NDArray[np.generic] | None:
        return numpy_helper.to_array(self.tensors[name]) if name in self.tensors else None

    def maker(self, name: str) -> onnx.NodeProto | None:
        return next((node for node in self.nodes if name in node.output), None)

    def readers(self, name: str) -> list[onnx.NodeProto]:
        return [node for node in self.nodes if name in node.input]

    def add(self, name: str, value: NDArray[np.generic]) -> str:
        self.tensors[name] = numpy_helper.from_array(value, name)
        return name

    def insert(self, node: onnx.NodeProto, before: onnx.NodeProto) -> None:
        self.nodes.insert(next(place for place, each in enumerate(self.nodes) if each is before), node)

    def remove(self, node: onnx.NodeProto) -> None:
        self.nodes = [each for each in self.nodes if each is not node]

    def finished(self, weights: Mapping[str, ByteWeights]) -> onnx.ModelProto:
        left = sorted(set(weights) & {name for node in self.nodes for name in node.input})
        if left:
            raise GateError(f"The convolution of {left[0]} is not computed with bytes. Nothing was written.")
        self._drop_unread()
        graph = self.model.graph
        del graph.node[:], graph.initializer[:]
        graph.node.extend(self.nodes)
        graph.initializer.extend(self.tensors.values())
        onnx.checker.check_model(self.model)
        return self.model

    def _drop_unread(self) -> None:
        """Drop nodes and tensors whose results nobody reads any more."""
        kept = {output.name for output in self.model.graph.output} | {"pixels"}
        while True:
            read = kept | {name for node in self.nodes for name in node.input}
            nodes = [node for node in self.nodes if read & set(node.output)]
            if len(nodes) == len(self.nodes):
                break
            self.nodes = nodes
        self.tensors = {name: tensor for name, tensor in self.tensors.items() if name in read}


def _drop_activations(graph: _Graph) -> None:
    """Drop a ReLU or Clip before a QuantizeLinear whose range lies within it."""
    for quantise in [node for node in graph.nodes if node.op_type == "QuantizeLinear"]:
        activation = graph.maker(quantise.input[0])
        if (
            activation is None
            or activation.op_type not in ("Clip", "Relu")
            or len(graph.readers(activation.output[0])) != 1
        ):
            continue
        step, zero = _scalar(graph, quantise.input[1]), _scalar(graph, quantise.input[2])
        low, high = _ends(graph, activation)
        # Half a step, because what is cut off there is rounded to the same level.
        if low <= -zero * step and (255 - zero) * step <= high + step / 2:
            quantise.input[0] = activation.input[0]
            graph.remove(activation)


def _ends(graph: _Graph, activation: onnx.NodeProto) -> tuple[float, float]:
    if activation.op_type == "Relu":
        return 0.0, float("inf")
    given = [*activation.input[1:], "", ""][:2]
    low, high = (_scalar(graph, name) if name else None for name in given)
    return -float("inf") if low is None else low, float("inf") if high is None else high


def _scalar(graph: _Graph, name: str) -> float:
    value = graph.value(name)
    if value is None:
        raise GateError(f"Expected the constant {name} in the graph, but it is computed. Nothing was written.")
    return float(np.asarray(value).reshape(-1)[0])


def _use_pixels(graph: _Graph) -> None:
    """Leave out pixels → Cast → Sub → Div → QuantizeLinear where the levels are those of the pixels."""
    for quantise in [node for node in graph.nodes if node.op_type == "QuantizeLinear"]:
        chain = [quantise]
        for expected in ("Div", "Sub", "Cast"):
            before = graph.maker(chain[-1].input[0])
            if before is None or before.op_type != expected:
                break
            chain.append(before)
        if len(chain) < 4:
            continue
        std, mean = graph.value(chain[1].input[1]), graph.value(chain[2].input[1])
        step, zero = _scalar(graph, quantise.input[1]), _scalar(graph, quantise.input[2])
        transpose = graph.maker(chain[3].input[0])
        if std is None or mean is None or transpose is None or transpose.input[0] != "pixels":
            continue
        if np.all(mean == zero) and np.allclose(np.asarray(std, np.float64) * step, 1, atol=1e-6):
            for reader in graph.readers(quantise.output[0]):
                reader.input[:] = [chain[3].input[0] if name == quantise.output[0] else name for name in reader.input]
            graph.remove(quantise)


def _use_bytes(graph: _Graph, node: onnx.NodeProto, weights: ByteWeights) -> None:
    name, dequantise = node.input[1], graph.maker(node.input[0])
    rounded = Counter(reader.op_type for reader in graph.readers(node.output[0]))
    if dequantise is None or dequantise.op_type != "DequantizeLinear" or set(rounded) != {"QuantizeLinear"}:
        raise GateError(f"The convolution of {name} is not between features rounded to bytes. Nothing was written.")
    codes = graph.add(f"{name}/bytes", weights.codes)
    steps = graph.add(f"{name}/steps", weights.steps)
    graph.insert(helper.make_node("DequantizeLinear", [codes, steps], [f"{name}/rounded"], axis=0), node)
    bias = graph.value(node.input[2])
    assert bias is not None
    # Engines add the bias before they round, in the units of the products.
    unit = (np.float32(_scalar(graph, dequantise.input[1])) * weights.steps).astype(np.float32)
    whole = np.round(bias.astype(np.float64) / unit).clip(-LARGEST_BIAS, LARGEST_BIAS).astype(np.int32)
    bias_codes, units = graph.add(f"{name}/bias", whole), graph.add(f"{name}/bias_steps", unit)
    graph.insert(helper.make_node("DequantizeLinear", [bias_codes, units], [f"{name}/bias_rounded"], axis=0), node)
    node.input[:] = [node.input[0], f"{name}/rounded", f"{name}/bias_rounded"]
