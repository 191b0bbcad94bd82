"""`askew distil`: a student in closed form, without training."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from askew_client.cli.stopping import stopped_by_sigterm
from askew_client.cli.taken import Intake
from askew_training.cli.options import LARGEST_PHOTO_SIZE, descriptor_folder, parse_scales
from askew_training.cli.outputs import check_checkpoint, check_no_input
from askew_training.cli.terminal import AsJson, finish, progress

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from askew_training.data.licences import PhotoSource
    from askew_training.data.photo_sets import Photo
    from askew_training.networks.checkpoint import Checkpoint
    from askew_training.networks.network import Network

LARGEST_RIDGE = 1e6
"""Far above this, nothing is learned but the rounding."""


@stopped_by_sigterm()
def distil(
    teacher: Annotated[Path, typer.Argument(help="The teacher's checkpoint.")],
    output: Annotated[Path, typer.Argument(help="The student's checkpoint to write.")],
    licences: Annotated[Path, typer.Option(help="TOML file: the licence of each set of photos.")],
    learn_size: Annotated[
        int,
        typer.Option(min=96, max=LARGEST_PHOTO_SIZE, help="Longest side of photos while the student learns."),
    ],
    manifest: Annotated[Path | None, typer.Option(help="A photo manifest; its role `train` is used.")] = None,
    photos: Annotated[list[Path] | None, typer.Option(help="A folder of unlabelled photos; repeatable.")] = None,
    photo_size: Annotated[
        int, typer.Option(min=96, max=LARGEST_PHOTO_SIZE, help="Longest side of photos that it will describe.")
    ] = 224,
    teacher_scales: Annotated[
        str | None,
        typer.Option(
            help="Scales at which the teacher sees these photos, such as 1.4142,1,0.7071 for small ones; default: its own."
        ),
    ] = None,
    branch: Annotated[
        int | None,
        typer.Option(
            min=1, help="Of a teacher of several trunks, the number of the one that the student takes; default: all."
        ),
    ] = None,
    positives: Annotated[
        float,
        typer.Option(
            min=0, max=1, help="How far the targets of photos of one instance move towards their mean; 0: not at all."
        ),
    ] = 0.0,
    ridge: Annotated[float, typer.Option(help="How strongly the teacher's own layer is preserved.")] = 1e-3,
    cache: Annotated[Path | None, typer.Option(help="The folder for vectors; default: ~/.cache/askew.")] = None,
    as_json: AsJson = False,
) -> None:
    """Make a student from the teacher's trunk at one scale, with its linear layer refitted to the teacher's vectors.

    A teacher of several trunks gives its student all of them, or one: --branch.

    Choose --learn-size at about half the size at which the teacher sees these photos, so that the student learns to
    bridge the same gap as in use: a teacher of 448 px sees photos of 256 px at 256, so its student learns at 128.
    """
    from askew_training.data.licences import read_licences, sources_of
    from askew_training.data.photo_sets import training_photos
    from askew_training.heads.branches import one_branch
    from askew_training.networks.checkpoint import save_checkpoint

    if not 0 < ridge <= LARGEST_RIDGE:
        raise typer.BadParameter(
            f"expected a number above 0 and up to {LARGEST_RIDGE:g}, got {ridge:g}", param_hint="--ridge"
        )
    factors = None if teacher_scales is None else parse_scales(teacher_scales, "--teacher-scales")
    check_checkpoint(output, (teacher, licences, manifest))
    source = _load_teacher(teacher, factors)
    student = one_branch(source.network, branch)
    intake = Intake()
    chosen = training_photos(manifest, photos or [], intake=intake)
    check_no_input("OUTPUT", output, (photo.path for photo in chosen))
    stated_licences = read_licences(licences)
    # Both refuse before the work begins.
    _check_pairs(chosen, positives)
    sources_of(chosen, stated_licences)
    used, pooled, targets = _describe(source, factors, student, learn_size, chosen, descriptor_folder(cache), intake)
    _check_pairs(used, positives)
    _refit(student, pooled, targets, used, positives, ridge)
    at_scales = "" if factors is None else f", the teacher's at scales {teacher_scales}"
    taken = "" if branch is None else f"branch {branch} of {len(source.network.branches)}, "
    moved = f", positives {positives:g}" if positives else ""
    recipe = (
        f"{source.description.recipe}; {taken}linear layer refitted to the teacher's vectors at {learn_size} px "
        f"with ridge {ridge:g}{moved}{at_scales}"
    )
    save_checkpoint(output, _checkpoint(source, student, photo_size, recipe, sources_of(used, stated_licences)))
    intake.taken = len(used)
    facts = {"photos": len(used), "space_id": source.space_id}
    finish(intake, f"{output}: {len(used)} photos, space {source.space_id}", facts, as_json)


def _load_teacher(file: Path, factors: tuple[float, ...] | None) -> Checkpoint:
    """Raises CheckpointError for a teacher whose vectors are no linear map of what it pools at the scales `factors`."""
    from askew_training.errors import CheckpointError
    from askew_training.networks.checkpoint import load_checkpoint

    source = load_checkpoint(file)
    if source.network.linear is None:
        raise CheckpointError(
            f"{file} has no linear layer to start from. Expected a checkpoint made by `askew whiten`."
        )
    if source.network.scale_mean.behind_linear and len(factors or source.network.scales) > 1:
        raise CheckpointError(
            f"{file} averages its scales behind its linear layer, so its vectors are no linear map of what it pools. Train a "
            "student with `askew train`, or let the teacher see one scale: --teacher-scales 1."
        )
    return source


def _check_pairs(photos: Sequence[Photo], positives: float) -> None:
    from askew_training.errors import DataError
    from askew_training.heads.ridge import rows_of_instances

    if positives and not rows_of_instances([photo.instance_id for photo in photos]):
        raise DataError(
            "No two photos show the same, so --positives would move nothing. Expected a manifest with two photos of role train for "
            "some instance_id, which can be described; otherwise leave --positives out."
        )


def _describe(
    source: Checkpoint,
    factors: tuple[float, ...] | None,
    student: Network,
    learn_size: int,
    photos: Sequence[Photo],
    cache: Path,
    intake: Intake,
) -> tuple[list[Photo], NDArray[np.float32], NDArray[np.float32]]:
    """The photos that both can describe, what the student pools of each, float32 [n, C], and the teacher's vectors, float32 [n, D].

    Raises DataError if there is none.
    """
    import numpy as np

    from askew_training.errors import DataError
    from askew_training.heads import apply_linear
    from askew_training.heads.pooled import describe_pooled
    from askew_training.networks.network import Network

    teacher = source.network
    assert teacher.linear is not None
    paths = [photo.path for photo in photos]
    with progress("describing", 2 * len(paths)) as advance:
        seen = Network(teacher.branches, None, factors or teacher.scales, teacher.scale_mean).eval()
        by_teacher = describe_pooled(seen, source.description.photo_size, paths, cache, advance)
        by_student = describe_pooled(student, learn_size, paths, cache, advance)
    unreadable = {**by_student.unreadable, **by_teacher.unreadable}
    for photo in photos:
        if photo.path in unreadable:
            intake.skip(photo.id, "cannot be described", unreadable[photo.path])
    used = [photo for photo in photos if photo.path in by_teacher.vectors and photo.path in by_student.vectors]
    if not used:
        raise DataError(
            "No photo can be described by both, the teacher and the student. Expected larger, or whole, photos."
        )
    targets = apply_linear(teacher.linear, np.stack([by_teacher.vectors[photo.path] for photo in used]))
    return used, np.stack([by_student.vectors[photo.path] for photo in used]), targets


def _refit(
    student: Network,
    pooled: NDArray[np.float32],
    targets: NDArray[np.float32],
    photos: Sequence[Photo],
    positives: float,
    ridge: float,
) -> None:
    from askew_training.heads.ridge import refit_linear, towards_instances

    assert student.linear is not None
    moved = towards_instances(targets, [photo.instance_id for photo in photos], positives)
    student.linear = refit_linear(student.linear, pooled, moved, ridge)


def _checkpoint(
    source: Checkpoint, student: Network, photo_size: int, recipe: str, learned_from: Sequence[PhotoSource]
) -> Checkpoint:
    from askew_training.data.licences import merged_sources
    from askew_training.networks.checkpoint import Checkpoint, Description, branches_of

    description = Description(
        branches=branches_of(student),
        dim=student.dim,
        photo_size=photo_size,
        scales=student.scales,
        recipe=recipe,
        recipe_texts=source.description.recipe_texts,
        # Its trunk has learned from its teacher's photos, too.
        data=merged_sources(learned_from, source.description.data),
        teacher_space=source.space_id,
    )
    return Checkpoint(student, description)
