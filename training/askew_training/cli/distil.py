"""`askew distil`: a student in closed form, without training."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from askew_client.cli.stopping import stopped_by_sigterm
from askew_client.cli.taken import Intake
from askew_training.cli.options import LARGEST_PHOTO_SIZE, descriptor_folder, parse_scales
from askew_training.cli.outputs import check_checkpoint, check_no_input
from askew_training.cli.terminal import AsJson, finish, progress

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
    import numpy as np

    from askew_training.data.licences import merged_sources, read_licences, sources_of
    from askew_training.data.photo_sets import training_photos
    from askew_training.errors import CheckpointError, DataError
    from askew_training.heads import apply_linear
    from askew_training.heads.branches import one_branch
    from askew_training.heads.pooled import describe_pooled
    from askew_training.heads.ridge import refit_linear, rows_of_instances, towards_instances
    from askew_training.networks.checkpoint import (
        Checkpoint,
        Description,
        branches_of,
        load_checkpoint,
        save_checkpoint,
    )
    from askew_training.networks.network import Network

    if not 0 < ridge <= LARGEST_RIDGE:
        raise typer.BadParameter(
            f"expected a number above 0 and up to {LARGEST_RIDGE:g}, got {ridge:g}", param_hint="--ridge"
        )
    factors = None if teacher_scales is None else parse_scales(teacher_scales, "--teacher-scales")
    check_checkpoint(output, (teacher, licences, manifest))
    source = load_checkpoint(teacher)
    if source.network.linear is None:
        raise CheckpointError(
            f"{teacher} has no linear layer to start from. Expected a checkpoint made by `askew whiten`."
        )
    if source.network.scale_mean.behind_linear and len(factors or source.network.scales) > 1:
        raise CheckpointError(
            f"{teacher} averages its scales behind its linear layer, so its vectors are no linear map of what it pools. Train a "
            "student with `askew train`, or let the teacher see one scale: --teacher-scales 1."
        )
    student = one_branch(source.network, branch)
    intake = Intake()
    chosen = training_photos(manifest, photos or [], intake=intake)
    check_no_input("OUTPUT", output, (photo.path for photo in chosen))
    if positives and not rows_of_instances([photo.instance_id for photo in chosen]):
        raise DataError(
            "No two photos show the same, so --positives would move nothing. Expected a manifest with two photos of role train for "
            "some instance_id; otherwise leave --positives out."
        )
    stated_licences = read_licences(licences)
    sources_of(chosen, stated_licences)  # Refuses a missing licence before the work begins.
    paths = [photo.path for photo in chosen]
    with progress("describing", 2 * len(paths)) as advance:
        size = source.description.photo_size
        seen = Network(
            source.network.branches, None, factors or source.network.scales, source.network.scale_mean
        ).eval()
        by_teacher = describe_pooled(seen, size, paths, descriptor_folder(cache), advance)
        by_student = describe_pooled(student, learn_size, paths, descriptor_folder(cache), advance)
    unreadable = {**by_student.unreadable, **by_teacher.unreadable}
    for photo in chosen:
        if photo.path in unreadable:
            intake.skip(photo.id, "cannot be described", unreadable[photo.path])
    used = [p for p in chosen if p.path in by_teacher.vectors and p.path in by_student.vectors]
    targets = apply_linear(source.network.linear, np.stack([by_teacher.vectors[photo.path] for photo in used]))
    pooled = np.stack([by_student.vectors[photo.path] for photo in used])
    targets = towards_instances(targets, [photo.instance_id for photo in used], positives)
    assert student.linear is not None
    student.linear = refit_linear(student.linear, pooled, targets, ridge)
    at_scales = "" if factors is None else f", the teacher's at scales {teacher_scales}"
    taken = "" if branch is None else f"branch {branch} of {len(source.network.branches)}, "
    moved = f", positives {positives:g}" if positives else ""
    description = Description(
        branches=branches_of(student),
        dim=student.dim,
        photo_size=photo_size,
        scales=student.scales,
        recipe=f"{source.description.recipe}; {taken}linear layer refitted to the teacher's vectors at {learn_size} px "
        f"with ridge {ridge:g}{moved}{at_scales}",
        recipe_texts=source.description.recipe_texts,
        # Its trunk has learned from its teacher's photos, too.
        data=merged_sources(sources_of(used, stated_licences), source.description.data),
        teacher_space=source.space_id,
    )
    save_checkpoint(output, Checkpoint(student, description))
    intake.taken = len(used)
    facts = {"photos": len(used), "space_id": source.space_id}
    finish(intake, f"{output}: {len(used)} photos, space {source.space_id}", facts, as_json)
