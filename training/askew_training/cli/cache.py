"""`askew cache`: compute a teacher's vectors once, or import vectors that were computed elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from askew_client.cli.stopping import stopped_by_sigterm
from askew_client.cli.taken import Intake
from askew_training.cli.terminal import AsJson, finish, progress
from askew_training.vectors.manifest import CacheManifest, Dtype

if TYPE_CHECKING:
    from askew_training.data.photo_sets import Photo


@stopped_by_sigterm()
def cache(
    source: Annotated[Path, typer.Argument(help="The teacher's encoder file (.onnx), or vectors [D, N] (.npy).")],
    output: Annotated[Path, typer.Argument(help="The folder for the vectors; an incomplete one is continued.")],
    manifest: Annotated[Path | None, typer.Option(help="A photo manifest; all its photos are described.")] = None,
    photos: Annotated[list[Path] | None, typer.Option(help="A folder of photos; repeatable.")] = None,
    sfm120k: Annotated[Path | None, typer.Option(help="retrieval-SfM-120k.pkl: its photos, train, then val.")] = None,
    landmarks: Annotated[Path | None, typer.Option(help="train_clean.csv or train.csv of Google Landmarks v2.")] = None,
    images: Annotated[Path | None, typer.Option(help="The folder of that set's images.")] = None,
    dtype: Annotated[Dtype, typer.Option(help="How components are stored.")] = Dtype.f16,
    ids: Annotated[Path | None, typer.Option(help="With .npy: the photos' ids, one on each line.")] = None,
    space: Annotated[str | None, typer.Option(help="With .npy: the space of the vectors.")] = None,
    photo_size: Annotated[
        int | None, typer.Option(min=1, help="With .npy: the photos' longest side, if known.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Store a teacher's vectors of photos in a folder, for students to learn from."""
    intake = Intake()
    if source.suffix == ".npy":
        if ids is None or space is None or manifest or photos or sfm120k or landmarks or images:
            raise typer.BadParameter("expected --ids and --space with a .npy file, and no photos", param_hint="SOURCE")
        from askew_training.vectors.npy_import import import_npy

        made = import_npy(source, ids, space, output, dtype, photo_size)
    else:
        if ids is not None or space is not None or photo_size is not None:
            raise typer.BadParameter("expected --ids, --space and --photo-size only with a .npy file")
        from askew_training.data.published import published_photos

        published = published_photos(sfm120k, landmarks, images, intake)
        made = _describe(source, output, published, manifest, photos or [], dtype, intake)
    intake.taken += made.count
    for item in made.unreadable:
        intake.skip(item.id, "cannot be described", item.reason)
    finish(
        intake,
        f"{output}: {made.count:,} vectors of {made.dim} {made.dtype.value} values, space {made.space_id}",
        {"count": made.count, "dim": made.dim, "dtype": made.dtype.value, "space_id": made.space_id},
        as_json,
    )


def _describe(
    source: Path,
    output: Path,
    published: list[Photo],
    manifest: Path | None,
    folders: list[Path],
    dtype: Dtype,
    intake: Intake,
) -> CacheManifest:
    from askew_training.data.photo_sets import photos_in, read_manifest
    from askew_training.vectors.cache_job import CacheJob

    photos = [*published, *(read_manifest(manifest, intake) if manifest else [])]
    for folder in folders:
        photos += photos_in(folder, intake)
    job = CacheJob(source, photos, output, dtype)
    with progress("describing", job.total, job.handled) as advance:
        return job.run(advance)
