"""Exporting an encoder file anew, as a later version: for encoders whose checkpoint is gone."""

from __future__ import annotations

from pathlib import Path

import onnx
from pydantic import ValidationError

from askew_client.contract.encoder_file import HIGHEST_OPSET, EncoderFile, read_encoder_file
from askew_client.contract.manifest import Manifest
from askew_client.files import write_atomically
from askew_training.errors import CheckpointError
from askew_training.export.encoder_file import golden_vectors, sealed
from askew_training.export.gate import check_same
from askew_training.export.precision import restore, store
from askew_training.export.simplification import simplify


def rewrite_encoder(source: Path, version: str, output: Path) -> float:
    """Simplify the graph of an encoder file and write it as another version of the same encoder, in the same space.

    Everything else in the manifest stays, except for the golden vectors. Returns the largest cosine distance between the
    vectors of the two files. Raises NotAnEncoder, UnknownManifest, DamagedEncoder for the source; CheckpointError if
    `version` is that of the source or invalid; GateError, and writes nothing, if a vector moves by more than 1e-6.
    """
    file, old = read_graph(source)
    if version == file.manifest.version:
        raise CheckpointError(
            f"{source} is already version {version} of {file.manifest.name}; two different files need two versions. "
            "Choose another one with --version."
        )
    graph = store(simplify(restore(old)), file.manifest.precision)
    distance = check_same(old, graph, file.manifest.photo_size)
    try:
        # `model_copy` would not validate the version.
        manifest = Manifest(**{**dict(file.manifest), "version": version, "golden": golden_vectors(graph)})
    except ValidationError as error:
        raise CheckpointError(
            f"Expected a version like 3 or 2026-07, got {version!r}: {error.errors()[0]['msg']}."
        ) from None
    write_atomically(output, sealed(graph, manifest))
    return distance


def read_graph(source: Path) -> tuple[EncoderFile, onnx.ModelProto]:
    """Read and verify an encoder file, and its graph without the manifest.

    Raises NotAnEncoder, UnknownManifest, DamagedEncoder; CheckpointError for a file of a later opset or without the
    tensor `pixels`, which `askew export` does not write.
    """
    file = read_encoder_file(source)
    graph = onnx.load_model_from_string(source.read_bytes())
    del graph.metadata_props[:]
    if file.opset > HIGHEST_OPSET or not any("pixels" in node.output for node in graph.graph.node):
        raise CheckpointError(
            f"Expected {source} to have opset {HIGHEST_OPSET} at most and a tensor `pixels`, as files of `askew export` "
            "have. Export it from its checkpoint."
        )
    return file, graph
