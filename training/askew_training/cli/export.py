"""`askew export`: from a checkpoint to an encoder file."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from askew_training.cli.options import parse_scales


class Precision(Enum):
    """How weights are stored; the arithmetic is float32 either way."""

    fp32 = "fp32"
    fp16 = "fp16"
    int8 = "int8"


class Role(Enum):
    """What an encoder describes: a teacher galleries and queries, a student only queries."""

    teacher = "teacher"
    student = "student"


def export(
    checkpoint: Annotated[Path, typer.Argument(help="A network's checkpoint.")],
    output: Annotated[Path, typer.Argument(help="The encoder file (.onnx) to write.")],
    role: Annotated[Role, typer.Option(help="What it will describe: a teacher galleries, a student queries.")],
    name: Annotated[str, typer.Option(help="The encoder's name, such as lite0-teacher.")],
    version: Annotated[str, typer.Option(help="Its version, such as 1.")],
    licence: Annotated[str, typer.Option(help="The licence of the encoder.")],
    photo_size: Annotated[
        int | None, typer.Option(min=96, help="Longest side in pixels; default: the checkpoint's.")
    ] = None,
    scales: Annotated[str | None, typer.Option(help="As for `askew whiten`; default: the checkpoint's.")] = None,
    precision: Annotated[Precision, typer.Option(help="How weights are stored.")] = Precision.fp32,
    metrics: Annotated[list[Path] | None, typer.Option(help="A report of `askew evaluate --json`.")] = None,
) -> None:
    """Export a checkpoint as one self-describing encoder file. Nothing is written if it differs from the network."""
    from askew_training.evaluate.report import manifest_metrics
    from askew_training.export.encoder_file import EncoderCard, write_encoder
    from askew_training.networks.checkpoint import load_checkpoint

    loaded = load_checkpoint(checkpoint)
    card = EncoderCard(
        name=name,
        version=version,
        role=role.value,
        photo_size=photo_size or loaded.description.photo_size,
        scales=parse_scales(scales) if scales else loaded.description.scales,
        precision=precision.value,
        licence=licence,
        metrics=manifest_metrics(metrics or []),
    )
    report = write_encoder(loaded, card, output)
    Console().print(
        f"{output}: {output.stat().st_size / 1e6:.1f} MB, space {loaded.space_id}; on {report.photos} photos "
        f"at most {report.cosine_distance:.1e} in cosine distance from torch and {report.grey_levels:.2f} "
        "grey levels from Pillow"
    )
