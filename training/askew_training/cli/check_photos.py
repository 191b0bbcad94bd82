"""`askew check-photos`: find problems with photos before hours are spent on them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from askew_client.cli.stopping import stopped_by_sigterm
from askew_client.cli.taken import Intake
from askew_training.cli.terminal import AsJson, finish, progress


@stopped_by_sigterm()
def check_photos(
    manifest: Annotated[Path | None, typer.Option(help="A photo manifest; its role `train` is checked.")] = None,
    photos: Annotated[list[Path] | None, typer.Option(help="A folder of unlabelled photos; repeatable.")] = None,
    folders: Annotated[
        list[Path] | None, typer.Option(help="A folder with one folder for each instance; repeatable.")
    ] = None,
    sfm120k: Annotated[Path | None, typer.Option(help="retrieval-SfM-120k.pkl: its photos, train, then val.")] = None,
    landmarks: Annotated[Path | None, typer.Option(help="train_clean.csv or train.csv of Google Landmarks v2.")] = None,
    images: Annotated[Path | None, typer.Option(help="The folder of that set's images.")] = None,
    thorough: Annotated[
        bool, typer.Option("--thorough", help="Decode all photos, which also finds truncated JPEGs.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Look for photos that are missing, damaged, duplicate, too small or alone; exit code 1 if they cannot be used, 3 if some cannot."""
    from askew_training.data import findings
    from askew_training.data.photo_sets import training_photos
    from askew_training.data.published import published_photos

    intake = Intake()
    chosen = published_photos(sfm120k, landmarks, images, intake)
    if manifest or photos or folders or not chosen:
        chosen += training_photos(manifest, photos or [], folders or [], intake)
    labelled = any(photo.instance_id for photo in chosen)
    with progress("checking", len(chosen)) as advance:
        found = findings.check_photos(chosen, labelled=labelled, thorough=thorough, on_photo=advance, intake=intake)
    for warning in found.warnings:
        Console(stderr=True).print(f"warning: {warning}", highlight=False, markup=False, soft_wrap=True)
    facts = {
        "usable": len(found.usable),
        "instances": found.instances,
        "singles": found.singles,
        "unlabelled": found.unlabelled,
        "warnings": found.warnings,
    }
    finish(intake, found.summary(), facts, as_json)
