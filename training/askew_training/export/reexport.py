"""Exporting an encoder file anew, as a later version: for encoders whose checkpoint is gone."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import onnx
from onnx import TensorProto
from pydantic import ValidationError

from askew_client.contract.encoder_file import HIGHEST_OPSET, EncoderFile, read_encoder_file
from askew_client.contract.manifest import Manifest
from askew_training.errors import CheckpointError
from askew_training.export.encoder_file import check_output, golden_vectors, recipe_texts_of, sealed, write_output
from askew_training.export.gate import check_same
from askew_training.export.padding import pad_in_convolutions
from askew_training.export.precision import restore, store
from askew_training.export.simplification import simplify


def rewrite_encoder(source: Path, version: str, output: Path) -> float:
    """Write the graph of an encoder file as `askew export` writes graphs now, as another version of the same encoder, in
    the same space.

    Everything else in the manifest stays, except for the golden vectors. Returns the largest cosine distance between the
    vectors of the two files. Raises NotAnEncoder, UnknownManifest, DamagedEncoder for the source; CheckpointError if
    `version` is that of the source or invalid, or its convolutions multiply bytes; GateError, and writes nothing, if a vector moves by more than 1e-6;
    DataError if `output` cannot be written.
    """
    check_output(output)
    file, old = read_graph(source)
    recipe_texts = recipe_texts_of(onnx.load_model_from_string(source.read_bytes()))
    if file.manifest.precision == "int8-compute":
        raise CheckpointError(f"{source} multiplies bytes and cannot be written again. Export it from its checkpoint.")
    if version == file.manifest.version:
        raise CheckpointError(
            f"{source} is already version {version} of {file.manifest.name}; two different files need two versions. "
            "Choose another one with --version."
        )
    try:
        # `model_copy` would not validate the version.
        manifest = Manifest(**{**dict(file.manifest), "version": version})
    except ValidationError as error:
        raise CheckpointError(
            f"Expected a version like 3 or 2026-07, got {version!r}: {error.errors()[0]['msg']}."
        ) from None
    graph = store(pad_in_convolutions(simplify(restore(old))), file.manifest.precision)
    distance = check_same(old, graph, file.manifest.photo_size)
    write_output(output, sealed(graph, manifest.model_copy(update={"golden": golden_vectors(graph)}), recipe_texts))
    return distance


def read_graph(source: Path) -> tuple[EncoderFile, onnx.ModelProto]:
    """Read and verify an encoder file, and its graph without the manifest.

    Raises NotAnEncoder, UnknownManifest, DamagedEncoder; CheckpointError for a file of a later opset, without the
    tensor `pixels`, or with an invalid graph, which `askew export` does not write: a digest that is right says only that
    a file is whole.
    """
    file = read_encoder_file(source)
    graph = onnx.load_model_from_string(source.read_bytes())
    del graph.metadata_props[:]
    if file.opset > HIGHEST_OPSET or not any("pixels" in node.output for node in graph.graph.node):
        raise CheckpointError(
            f"Expected {source} to have opset {HIGHEST_OPSET} at most and a tensor `pixels`, as files of `askew export` "
            "have. Export it from its checkpoint."
        )
    inputs, outputs = _ports(graph.graph.input), _ports(graph.graph.output)
    expected = [("image", TensorProto.UINT8, 4, 3)], [("descriptor", TensorProto.FLOAT, 2, file.manifest.dim)]
    try:
        onnx.checker.check_model(graph)
    except onnx.checker.ValidationError as error:
        raise CheckpointError(
            f"The graph of {source} is invalid: {str(error).splitlines()[0][:200].rstrip('.')}. Export it from its checkpoint."
        ) from None
    if (inputs, outputs) != expected:
        raise CheckpointError(
            f"Expected {source} to have the input `image`, uint8 [N, H, W, 3], and the output `descriptor`, float32 "
            f"[N, {file.manifest.dim}], got {', '.join(port[0] for port in [*inputs, *outputs])} of other types or shapes. "
            "Export it from its checkpoint."
        )
    return file, graph


def _ports(values: Iterable[onnx.ValueInfoProto]) -> list[tuple[str, int, int, int]]:
    """The name, the type, the rank, and the last dimension (0: free) of each input or output."""
    tensors = [(value.name, value.type.tensor_type) for value in values]
    return [
        (name, tensor.elem_type, len(tensor.shape.dim), tensor.shape.dim[-1].dim_value if tensor.shape.dim else 0)
        for name, tensor in tensors
    ]
