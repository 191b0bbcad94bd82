"""`askew quantise`: a student whose convolutions multiply bytes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from askew_client.cli.stopping import stopped_by_sigterm
from askew_client.cli.taken import Intake
from askew_training.cli.options import LARGEST_PHOTO_SIZE
from askew_training.cli.outputs import check_checkpoint, check_no_input
from askew_training.cli.terminal import AsJson, finish, progress

LARGEST_BATCH = 4096
KEPT_ASIDE = 64
"""Photos that nothing is learned from, or a tenth of fewer: the reported cosine is theirs."""


@stopped_by_sigterm()
def quantise(
    student: Annotated[Path, typer.Argument(help="The student's checkpoint.")],
    output: Annotated[Path, typer.Argument(help="The checkpoint to write, for `askew export`.")],
    licences: Annotated[Path, typer.Option(help="TOML file: the licence of each set of photos.")],
    manifest: Annotated[Path | None, typer.Option(help="A photo manifest; its role `train` is used.")] = None,
    photos: Annotated[list[Path] | None, typer.Option(help="A folder of unlabelled photos; repeatable.")] = None,
    steps: Annotated[int, typer.Option(min=1, help="Steps to learn; each sees a batch of photos.")] = 300,
    batch: Annotated[int, typer.Option(min=1, max=LARGEST_BATCH, help="Photos in a batch.")] = 16,
    learn_size: Annotated[
        int | None,
        typer.Option(
            min=96,
            max=LARGEST_PHOTO_SIZE,
            help="Longest side of what it learns from; default: the student's photo size.",
        ),
    ] = None,
    most: Annotated[
        int, typer.Option(min=10, help="Photos that are read, drawn at random; they stay in memory.")
    ] = 2000,
    rate: Annotated[float, typer.Option(min=0, max=1, help="The highest learning rate.")] = 1e-4,
    seed: Annotated[int, typer.Option(min=0, help="Of the photos and their crops.")] = 0,
    device: Annotated[str, typer.Option(help="Where it learns, such as cpu or cuda.")] = "cpu",
    as_json: AsJson = False,
) -> None:
    """Let a student learn to compute its convolutions with bytes, and still give its own vectors.

    It needs neither labels nor the teacher: for the same pixels, the vector of the student as it was is the target. The result
    is exported with --precision int8-compute.
    """
    import numpy as np

    from askew_training.data.licences import merged_sources, read_licences, sources_of
    from askew_training.data.photo_sets import training_photos
    from askew_training.errors import DataError
    from askew_training.networks.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
    from askew_training.networks.quantised.conversion import quantised
    from askew_training.quantise.learning import Learning, cosine_of, learn_rounded
    from askew_training.quantise.views import random_views, read_photos

    check_checkpoint(output, (student, licences, manifest))
    source = load_checkpoint(student)
    quantised(source.network)  # Refuses an unsuited trunk before the work begins.
    network = source.network.to(_checked(device))
    intake = Intake()
    chosen = training_photos(manifest, photos or [], intake=intake)
    check_no_input("OUTPUT", output, (photo.path for photo in chosen))
    stated_licences = read_licences(licences)
    drawn = np.random.default_rng(seed).permutation(len(chosen))[:most]
    chosen = [chosen[place] for place in drawn.tolist()]
    sources_of(chosen, stated_licences)  # Refuses a missing licence before the work begins.
    by_path = {photo.path: photo for photo in chosen}
    unread: set[Path] = set()
    size = learn_size or source.description.photo_size
    with progress("reading", len(chosen)) as advance:

        def note(path: Path, sentence: str | None) -> None:
            if sentence is not None:
                unread.add(path)
                intake.skip(by_path[path].id, "cannot be read", sentence)
            advance()

        pixels = read_photos([photo.path for photo in chosen], size, note)
    aside = min(KEPT_ASIDE, len(pixels) // 10)
    if aside == 0:
        raise DataError(
            f"Expected 10 photos or more to learn from, got {len(pixels)}. Give another folder with --photos."
        )
    with progress("learning", steps * batch) as advance:

        def count(step: int, _cosine: float) -> None:
            for _ in range(batch):
                advance()

        views = random_views(pixels[aside:], size, batch, seed)
        learned = learn_rounded(network, views, Learning(steps, rate=rate), count)
        cosine = cosine_of(network, learned, random_views(pixels[:aside], size, batch, seed), -(-aside // batch))
    sources = sources_of([photo for photo in chosen if photo.path not in unread], stated_licences)
    description = source.description.model_copy(
        update={
            "arithmetic": "int8",
            "teacher_space": source.space_id,
            "recipe": f"{source.description.recipe}; askew quantise, {steps} steps of {batch} photos at {size} px",
            "data": merged_sources(source.description.data, sources),
        }
    )
    save_checkpoint(output, Checkpoint(learned.cpu(), description))
    intake.taken = len(pixels)
    facts = {"photos": len(pixels), "space_id": source.space_id, "cosine": cosine}
    sentence = f"{output}: {steps} steps, mean cosine {cosine:.4f} to {student} on {aside} photos kept aside"
    finish(intake, sentence, facts, as_json)


def _checked(device: str) -> str:
    """The name of a device that torch can use. Raises typer.BadParameter."""
    import torch

    try:
        # A device without memory of its own fails only when a value is read.
        torch.zeros(1, device=device).item()
    # Which exception torch raises depends on what the device lacks.
    except (AssertionError, NotImplementedError, RuntimeError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0][:120].rstrip(".")
        raise typer.BadParameter(f"expected a device of this machine, such as cpu, got {device}: {reason}.") from None
    return device
