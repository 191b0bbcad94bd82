"""`askew import-checkpoint`: a published network becomes a checkpoint of ours."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from askew_client.cli.stopping import stopped_by_sigterm
from askew_training.cli.options import LARGEST_PHOTO_SIZE, parse_scales

if TYPE_CHECKING:
    from askew_training.export.thumbnails import ThumbnailDifference
    from askew_training.networks.checkpoint import Checkpoint
    from askew_training.networks.imported.importer import Imported


@stopped_by_sigterm()
def import_checkpoint(
    file: Annotated[
        Path,
        typer.Argument(
            help="A network of cirtorch, of the AML paper's code, torchvision or timm (.pth, .tar), or an encoder file (.onnx)."
        ),
    ],
    output: Annotated[Path, typer.Argument(help="The checkpoint to write.")],
    trunk: Annotated[
        str | None, typer.Option(help="timm's name of the network, for a file that does not state which it is.")
    ] = None,
    whitening: Annotated[
        str | None,
        typer.Option(help="One of the whitenings in the file, such as retrieval-SfM-120k/ms; default: none."),
    ] = None,
    space_of: Annotated[
        Path | None,
        typer.Option(
            help="The teacher's checkpoint, for a student: it gets its space and, if it has one, its whitening."
        ),
    ] = None,
    scales: Annotated[
        str | None,
        typer.Option(help="As for `askew whiten`; default: 3 with a whitening whose name ends in /ms, otherwise 1."),
    ] = None,
    photo_size: Annotated[
        int | None,
        typer.Option(
            min=96, max=LARGEST_PHOTO_SIZE, help="Longest side in pixels; default: 1024, or 448 for a trunk alone."
        ),
    ] = None,
    last_step: Annotated[
        bool, typer.Option("--last-step", help="Take the weights of the last step where a file has averaged ones too.")
    ] = False,
    check: Annotated[
        list[Path] | None,
        typer.Option(help="A photo to describe as cirtorch would, with PIL's thumbnails, and as here; repeatable."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Read a published network and write it as a checkpoint, to export, whiten, or train on. Nothing in FILE is executed.

    Known are releases of cirtorch and of the AML paper, features of cirtorch, checkpoints of timm's train.py, and ResNets,
    VGGs and MobileNetV2 of torchvision. An encoder file (.onnx) of which no checkpoint is left becomes one again, in its space.
    """
    from askew_training.export.encoder_file import check_output
    from askew_training.export.thumbnails import thumbnail_differences
    from askew_training.networks.checkpoint import save_checkpoint
    from askew_training.networks.imported.importer import import_network

    if whitening is not None and space_of is not None:
        raise typer.BadParameter(
            "a student has its teacher's whitening: leave --whitening out", param_hint="--space-of"
        )
    factors = None if scales is None else parse_scales(scales)
    check_output(output)
    if output.exists() and file.exists() and output.samefile(file):
        raise typer.BadParameter("it is the file to read: name another one", param_hint="OUTPUT")
    if file.suffix == ".onnx":
        _refuse_for_encoder(
            {"--trunk": trunk, "--whitening": whitening, "--space-of": space_of, "--last-step": last_step}
        )
        imported = _recovered(file)
    else:
        imported = import_network(file, trunk, averaged=not last_step)
    checkpoint = imported.checkpoint
    if whitening is not None:
        checkpoint = _whitened(checkpoint, file, whitening)
    if space_of is not None:
        checkpoint = _student_of(checkpoint, space_of)
    checkpoint = _with_choices(checkpoint, factors, photo_size)
    differences = thumbnail_differences(checkpoint.network, checkpoint.description.photo_size, check or [])
    save_checkpoint(output, checkpoint)
    facts = _facts(imported, checkpoint, differences)
    typer.echo(
        json.dumps(facts, indent=1, ensure_ascii=False) if as_json else _sentences(file, output, facts, whitening)
    )


def _refuse_for_encoder(given: dict[str, object]) -> None:
    if named := [option for option, value in given.items() if value]:
        raise typer.BadParameter(
            "an encoder file states its network and its space: leave it out", param_hint=", ".join(named)
        )


def _recovered(file: Path) -> Imported:
    from askew_client.contract.encoder_file import read_encoder_file
    from askew_training.export.recovery import recover_checkpoint
    from askew_training.networks.imported.importer import Imported

    checkpoint = recover_checkpoint(file)
    manifest = read_encoder_file(file).manifest
    words = f"the encoder file {manifest.name}@{manifest.version}, with its weights as {manifest.precision} stores them"
    return Imported(checkpoint, words, (), {})


def _whitened(checkpoint: Checkpoint, file: Path, name: str) -> Checkpoint:
    """Put one of the file's whitenings on the network, which then defines a space of its own."""
    from askew_training.errors import WeightsError
    from askew_training.heads.published import read_published_whitening
    from askew_training.networks.checkpoint import Checkpoint
    from askew_training.networks.network import THREE_SCALES, Network

    if checkpoint.network.linear is not None:
        raise WeightsError(f"{file} has a whitening that was trained with the network. Leave --whitening out.")
    layer = read_published_whitening(file, name).whitening.as_layer()
    scales = THREE_SCALES if name.endswith("/ms") else (1.0,)
    network = Network(checkpoint.network.branches, layer, scales).eval()
    description = checkpoint.description.model_copy(
        update={
            "dim": network.dim,
            "scales": scales,
            "recipe": f"{checkpoint.description.recipe}; its whitening {name}",
            "derived_from": checkpoint.space_id,
        }
    )
    return Checkpoint(network, description)


def _student_of(checkpoint: Checkpoint, teacher: Path) -> Checkpoint:
    from askew_training.heads.teacher_space import in_space_of
    from askew_training.networks.checkpoint import load_checkpoint

    return in_space_of(checkpoint, load_checkpoint(teacher), teacher.name)


def _with_choices(checkpoint: Checkpoint, scales: tuple[float, ...] | None, photo_size: int | None) -> Checkpoint:
    from askew_training.networks.checkpoint import Checkpoint

    checkpoint.network.scales = scales or checkpoint.description.scales
    update = {
        "scales": checkpoint.network.scales,
        "photo_size": photo_size or checkpoint.description.photo_size,
    }
    return Checkpoint(checkpoint.network, checkpoint.description.model_copy(update=update))


def _facts(imported: Imported, checkpoint: Checkpoint, differences: Sequence[ThumbnailDifference]) -> dict[str, Any]:
    from askew_training.heads.published import whitenings_in

    description = checkpoint.description
    return {
        "layout": imported.layout,
        "trunk": description.trunk,
        "dim": checkpoint.network.dim,
        "photo_size": description.photo_size,
        "scales": list(description.scales),
        "space_id": checkpoint.space_id,
        "recipe": description.recipe,
        "left_out": list(imported.left_out),
        "whitenings": list(whitenings_in({"meta": imported.meta})),
        "thumbnails": [
            {"photo": str(each.photo), "width": each.width, "height": each.height, "cosine": each.cosine}
            for each in differences
        ],
    }


def _sentences(file: Path, output: Path, facts: dict[str, Any], whitening: str | None) -> str:
    scales = ", ".join(f"{scale:.4g}" for scale in facts["scales"])
    lines = [
        f"{output}: {facts['trunk']}, {facts['dim']} dimensions at {facts['photo_size']} px, scales {scales}; space "
        f"{facts['space_id']}",
        f"{file.name} is {facts['layout']}"
        + (f"; {facts['recipe'].partition(', ')[2]}" if facts["recipe"].startswith("imported from") else ""),
    ]
    if left_out := facts["left_out"]:
        lines.append(f"left out: {len(left_out)} tensors behind its features, such as {left_out[0]}")
    if facts["whitenings"] and whitening is None:
        lines.append(f"not applied: the whitenings {', '.join(facts['whitenings'])}; --whitening NAME applies one")
    for each in facts["thumbnails"]:
        size = f"{each['photo']}, {each['width']} × {each['height']} px"
        if max(each["width"], each["height"]) <= facts["photo_size"]:
            lines.append(f"{size}: not shrunk at {facts['photo_size']} px, so it says nothing of the filters")
        else:
            lines.append(
                f"{size}: cosine {each['cosine']:.6f} between its vectors by PIL's thumbnail and by our own filter"
            )
    cosines = [
        each["cosine"] for each in facts["thumbnails"] if max(each["width"], each["height"]) > facts["photo_size"]
    ]
    if len(cosines) > 1:
        mean = sum(cosines) / len(cosines)
        lines.append(f"{len(cosines)} photos that were shrunk: mean cosine {mean:.4f}, smallest {min(cosines):.4f}")
    return "\n".join(lines)
