"""Writing an encoder file: graph, gate, golden vectors, manifest, digest, and only then the file."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import onnx
from pydantic import ValidationError

from askew_client.contract.encoder_file import UNSEALED, seal
from askew_client.contract.manifest import DIGEST_KEY, Manifest, Precision, golden_text
from askew_client.encoding.golden import golden_pictures
from askew_client.encoding.runtime import open_session
from askew_client.files import write_atomically
from askew_training.errors import CheckpointError, DataError
from askew_training.export.gate import COSINE_DISTANCE, GateReport, check_graph
from askew_training.export.graph import encoder_graph
from askew_training.export.integer_graph import integer_graph
from askew_training.export.padding import pad_in_convolutions
from askew_training.export.precision import store
from askew_training.export.quantised_network import is_quantised
from askew_training.export.simplification import simplify
from askew_training.networks.checkpoint import Checkpoint

TOLERANCE = {"fp32": 1e-4, "fp16": 1e-4, "int8": 1e-4, "int8-compute": 3e-3}
"""The largest cosine distance to the golden vectors that a machine may have, by precision. Engines differ by some 1e-7; where
they multiply bytes, by up to 1.2e-3 if one of them does not use integers and so rounds some features to another level."""


@dataclass(frozen=True)
class EncoderCard:
    """The properties of an encoder file that are chosen at export and are not in its checkpoint."""

    name: str
    version: str
    role: Literal["teacher", "student"]
    photo_size: int
    scales: tuple[float, ...]
    precision: Precision
    licence: str
    metrics: dict[str, float | str]


def write_encoder(checkpoint: Checkpoint, card: EncoderCard, output: Path, *, simplified: bool = True) -> GateReport:
    """Export a checkpoint as one self-describing ONNX file. Returns what the gate measured.

    `simplified`: whether the graph is simplified and its SAME padding done by convolutions, which takes a minute for a
    teacher of two trunks and three scales.
    Raises GateError, and writes nothing, if the graph differs from the network; CheckpointError if the card is
    inconsistent, or asks for a teacher although the checkpoint is a student; DataError if `output` cannot be written.
    """
    check_output(output)
    if card.role == "teacher" and checkpoint.description.teacher_space is not None:
        raise CheckpointError(
            "This checkpoint was distilled from a teacher and defines no space. Export it with --role student."
        )
    _check_precision(checkpoint, card)
    # Refuses a card of wrong values before the work begins; the vectors are not known yet.
    first = np.eye(1, checkpoint.network.dim, dtype=np.float32)[0]
    _manifest(checkpoint, card, {"first": golden_text(first)})
    network = copy.deepcopy(checkpoint.network).eval()
    network.scales = card.scales
    if card.precision == "int8-compute":
        graph, report = integer_graph(network, card.photo_size), None
    else:
        graph = encoder_graph(network, card.photo_size)
        if simplified:
            graph = pad_in_convolutions(simplify(graph))
        report = check_graph(graph, network, card.photo_size, COSINE_DISTANCE["fp32"])
    if report is None or card.precision != "fp32":
        graph = store(graph, card.precision)
        report = check_graph(graph, network, card.photo_size, COSINE_DISTANCE[card.precision])
    manifest = _manifest(checkpoint, card, golden_vectors(graph))
    write_output(output, sealed(graph, manifest, checkpoint.description.recipe_texts))
    return report


def _check_precision(checkpoint: Checkpoint, card: EncoderCard) -> None:
    if is_quantised(checkpoint.network) and card.precision != "int8-compute":
        raise CheckpointError(
            f"The convolutions of this checkpoint compute with bytes, so it cannot be exported with --precision {card.precision}. "
            "Expected int8-compute, or the checkpoint that `askew quantise` read."
        )
    if card.precision == "int8-compute" and not is_quantised(checkpoint.network):
        raise CheckpointError(
            "The convolutions of this checkpoint compute in single precision, and rounding them afterwards moves its vectors "
            "too far. Let it learn with rounding first: `askew quantise`."
        )


def check_output(output: Path) -> None:
    """Raise DataError for a path that cannot become a file, before minutes of work are lost."""
    if output.is_dir():
        raise DataError(f"{output} cannot be written: it is a folder. Name a file in it.")
    if not output.parent.is_dir():
        raise DataError(f"{output} cannot be written: {output.parent} is not a folder. Create it first.")


def write_output(output: Path, content: bytes) -> None:
    """Write an encoder file atomically. Raises DataError, which names `output` and not the temporary file beside it."""
    try:
        write_atomically(output, content)
    except OSError as error:
        raise DataError(f"{output} cannot be written: {error.strerror or error}. Nothing was written.") from None


def sealed(graph: onnx.ModelProto, manifest: Manifest, recipe_texts: Sequence[str] = ()) -> bytes:
    """A graph with its manifest, its recipes and its digest, as the bytes of an encoder file.

    The recipes stand beside the manifest, as `recipe-1.toml` and so on: readers of the manifest's format refuse keys that
    they do not know.
    """
    complete = onnx.ModelProto()
    complete.CopyFrom(graph)
    recipes = {f"recipe-{number}.toml": text for number, text in enumerate(recipe_texts, start=1)}
    onnx.helper.set_model_props(complete, {**recipes, **manifest.to_metadata(), DIGEST_KEY: UNSEALED})
    return seal(complete.SerializeToString(deterministic=True))


def recipe_texts_of(model: onnx.ModelProto) -> list[str]:
    """The recipes that the network of an encoder file was trained by, the first one first."""
    found = {each.key: each.value for each in model.metadata_props}
    return [found[key] for key in (f"recipe-{number}.toml" for number in range(1, len(found) + 1)) if key in found]


def golden_vectors(graph: onnx.ModelProto) -> dict[str, str]:
    """The vectors of the golden pictures as a manifest stores them, by picture."""
    session = open_session(graph.SerializeToString())
    return {
        name: golden_text(session.run(["descriptor"], {"image": picture[None]})[0][0])
        for name, picture in golden_pictures().items()
    }


def _manifest(checkpoint: Checkpoint, card: EncoderCard, golden: dict[str, str]) -> Manifest:
    description = checkpoint.description
    try:
        return Manifest(
            name=card.name,
            version=card.version,
            role=card.role,
            space_id=checkpoint.space_id,
            derived_from=description.derived_from,
            dim=checkpoint.network.dim,
            photo_size=card.photo_size,
            scales=list(card.scales),
            precision=card.precision,
            trunk=description.trunk,
            recipe=description.recipe,
            data=[dict(source.model_dump()) for source in description.data],
            metrics=card.metrics,
            licence=card.licence,
            golden=golden,
            tolerance=TOLERANCE[card.precision],
        )
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise CheckpointError(
            f"The manifest would be inconsistent: {where}: {first['msg']}. Correct this value."
        ) from None
