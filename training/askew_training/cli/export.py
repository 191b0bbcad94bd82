"""`askew export`: from a checkpoint to an encoder file, and from an encoder file to another form of it."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from askew_client.cli.stopping import stopped_by_sigterm
from askew_training.cli.options import LARGEST_PHOTO_SIZE, parse_scales
from askew_training.cli.outputs import check_no_input


class Precision(Enum):
    """How weights are stored; the arithmetic is float32, except for int8-compute, whose convolutions multiply bytes."""

    fp32 = "fp32"
    fp16 = "fp16"
    int8 = "int8"
    int8_compute = "int8-compute"


class Role(Enum):
    """What an encoder describes: a teacher galleries and queries, a student only queries."""

    teacher = "teacher"
    student = "student"


class Target(Enum):
    """What is written: one encoder file, or a folder of parts for mobile accelerators."""

    file = "file"
    mobile = "mobile"


@stopped_by_sigterm()
def export(
    source: Annotated[
        Path, typer.Argument(metavar="CHECKPOINT|ENCODER", help="A network's checkpoint, or an encoder file (.onnx).")
    ],
    output: Annotated[Path, typer.Argument(help="The encoder file (.onnx) to write; for mobile, a new folder.")],
    target: Annotated[
        Target, typer.Option(help="One file, or (from an encoder file) a folder of parts for CoreML and NNAPI.")
    ] = Target.file,
    role: Annotated[
        Role | None, typer.Option(help="What it will describe: a teacher galleries, a student queries.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="The encoder's name, such as lite0-teacher.")] = None,
    version: Annotated[str | None, typer.Option(help="Its version, such as 1.")] = None,
    licence: Annotated[str | None, typer.Option(help="The licence of the encoder.")] = None,
    photo_size: Annotated[
        int | None,
        typer.Option(min=96, max=LARGEST_PHOTO_SIZE, help="Longest side in pixels; default: the checkpoint's."),
    ] = None,
    scales: Annotated[str | None, typer.Option(help="As for `askew whiten`; default: the checkpoint's.")] = None,
    scale_exponent_of: Annotated[
        Path | None,
        typer.Option(
            help="Average scales with GeM's exponent of this checkpoint: the AML paper's code uses the student's for both."
        ),
    ] = None,
    precision: Annotated[
        Precision | None,
        typer.Option(help="How weights are stored; default: fp32, or int8-compute after `askew quantise`."),
    ] = None,
    metrics: Annotated[list[Path] | None, typer.Option(help="A report of `askew evaluate --json`.")] = None,
) -> None:
    """Export a checkpoint as one self-describing encoder file. Nothing is written if it differs from the network.

    --role, --name, --version and --licence are needed. From an encoder file: with --version alone, its graph is written
    anew, as exports are now, as another version; with --target mobile, it is cut into parts. All else stays as it is.
    """
    check_no_input("OUTPUT", output, (source, scale_exponent_of, *(metrics or [])))
    given = {
        "--role": role,
        "--name": name,
        "--version": version,
        "--licence": licence,
        "--photo-size": photo_size,
        "--scales": scales,
        "--scale-exponent-of": scale_exponent_of,
        "--precision": precision,
        "--metrics": metrics,
    }
    if source.suffix == ".onnx":
        _export_encoder(
            source, output, target, version, {option for option, value in given.items() if value not in (None, [])}
        )
    elif target is Target.mobile:
        raise typer.BadParameter(
            f"expected an encoder file (.onnx), got {source}. Export it first: the parts name the SHA-256 of the encoder "
            "file that your gallery admits.",
            param_hint="--target mobile",
        )
    elif role is None or name is None or version is None or licence is None:
        missing = [option for option in ("--role", "--name", "--version", "--licence") if not given[option]]
        raise typer.BadParameter(f"the export of a checkpoint needs {' and '.join(missing)}.")
    else:
        from askew_training.evaluate.report import manifest_metrics
        from askew_training.export.encoder_file import EncoderCard, write_encoder
        from askew_training.heads.scale_exponent import with_scale_exponent
        from askew_training.networks.checkpoint import load_checkpoint

        loaded = load_checkpoint(source, quantised_too=True)
        own = "fp32" if loaded.description.arithmetic == "float32" else "int8-compute"
        card = EncoderCard(
            name=name,
            version=version,
            role=role.value,
            photo_size=photo_size or loaded.description.photo_size,
            scales=parse_scales(scales) if scales else loaded.description.scales,
            precision=(precision or Precision(own)).value,
            licence=licence,
            metrics=manifest_metrics(metrics or []),
        )
        if scale_exponent_of is not None and len(card.scales) == 1:
            raise typer.BadParameter("one scale needs no mean: give --scales too", param_hint="--scale-exponent-of")
        if scale_exponent_of is not None:
            loaded = with_scale_exponent(loaded, load_checkpoint(scale_exponent_of), scale_exponent_of.name)
        report = write_encoder(loaded, card, output)
        Console(markup=False, emoji=False).print(
            f"{output}: {output.stat().st_size / 1e6:.1f} MB, space {loaded.space_id}; on {report.photos} photos "
            f"at most {report.cosine_distance:.1e} in cosine distance from torch and {report.grey_levels:.2f} "
            "grey levels from Pillow"
        )


def _export_encoder(source: Path, output: Path, target: Target, version: str | None, given: set[str]) -> None:
    """Another form of an encoder file. `given`: the options that were given."""
    from askew_training.export.mobile import write_mobile
    from askew_training.export.reexport import rewrite_encoder

    taken = {"--version"} if target is Target.file else set()
    if given - taken:
        raise typer.BadParameter(
            f"{', '.join(sorted(given - taken))}: an encoder file keeps these properties. Leave the options out, or "
            "export its checkpoint."
        )
    if target is Target.mobile:
        report = write_mobile(source, output)
        Console(markup=False, emoji=False).print(
            f"{output}: {report.bytes / 1e6:.1f} MB, the parts of {report.encoder.manifest.encoder_id}; at most "
            f"{report.cosine_distance:.1e} in cosine distance from it for photos of 4:3, 3:4 and 1:1"
        )
        return
    if version is None:
        raise typer.BadParameter("another version of an encoder file needs --version.")
    distance = rewrite_encoder(source, version, output)
    Console(markup=False, emoji=False).print(
        f"{output}: {output.stat().st_size / 1e6:.1f} MB, version {version} of {source}; at most {distance:.1e} in cosine "
        "distance from it"
    )
