"""`askew evaluate`: measure a pair of encoders."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from askew_client.cli.stopping import stopped_by_sigterm
from askew_client.cli.taken import Intake
from askew_training.cli.options import descriptor_folder
from askew_training.cli.terminal import finish, progress

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from askew_training.data.photo_sets import Photo
    from askew_training.vectors.descriptor_cache import DescriptorCache


@stopped_by_sigterm()
def evaluate(
    queries: Annotated[Path, typer.Option(help="The encoder that describes the queries.")],
    gallery: Annotated[Path, typer.Option(help="The encoder that describes the gallery.")],
    manifest: Annotated[Path, typer.Option(help="A photo manifest with queries and galleries.")],
    benchmark: Annotated[
        list[str] | None, typer.Option(help="One of its benchmarks; repeatable; default: all.")
    ] = None,
    json: Annotated[Path | None, typer.Option(help="Also write the report to this file.")] = None,
    cache: Annotated[Path | None, typer.Option(help="The folder for vectors; default: ~/.cache/askew.")] = None,
) -> None:
    """Measure the mAP of one encoder's queries on a gallery described by another encoder, or the same."""
    from askew_client.files import write_atomically
    from askew_training.data.photo_sets import read_manifest
    from askew_training.errors import DataError
    from askew_training.evaluate.benchmark import benchmarks_in, measure, photos_of
    from askew_training.evaluate.report import Report
    from askew_training.vectors.descriptor_cache import DescriptorCache

    intake = Intake()
    photos = read_manifest(manifest, intake)
    query_cache, gallery_cache = (DescriptorCache(descriptor_folder(cache), file) for file in (queries, gallery))
    query_encoder, gallery_encoder = query_cache.encoder, gallery_cache.encoder
    if query_encoder.space_id != gallery_encoder.space_id:
        raise DataError(
            f"{queries} describes in space {query_encoder.space_id}, and {gallery} in space "
            f"{gallery_encoder.space_id}. Expected two encoders of one space."
        )
    chosen = benchmark or benchmarks_in(photos)
    if not chosen:
        raise DataError(f"{manifest} has no query. Expected photos with the roles query and gallery.")
    unreadable: dict[Path, str] = {}
    sides = [photos_of(photos, name, role) for name in chosen for role in ("query", "gallery")]
    with progress("describing", sum(map(len, sides))) as advance:
        measured = tuple(
            measure(
                photos,
                name,
                _make_describe(query_cache, advance, unreadable),
                _make_describe(gallery_cache, advance, unreadable),
            )
            for name in chosen
        )
    _count(intake, sides, unreadable)
    report = Report(
        query_encoder.manifest.encoder_id,
        gallery_encoder.manifest.encoder_id,
        gallery_encoder.space_id,
        measured,
        intake.as_json(),
    )
    Console().print(report.to_table())
    if json is not None:
        write_atomically(json, report.to_json().encode())
    finish(intake, "", {}, False)


def _count(intake: Intake, sides: Sequence[Sequence[Photo]], unreadable: dict[Path, str]) -> None:
    """Count the photos of each benchmark's queries and gallery, which alternate in `sides`."""
    for queries, gallery in zip(sides[::2], sides[1::2], strict=True):
        shown: dict[str, set[Path]] = {}
        for photo in gallery:
            shown.setdefault(photo.instance_id, set()).add(photo.path)
        for photo in (*queries, *gallery):
            if photo.path in unreadable:
                intake.skip(photo.id, "cannot be described", unreadable[photo.path])
            elif photo.role == "query" and not (
                photo.instance_id and shown.get(photo.instance_id, set()) - {photo.path}
            ):
                intake.not_matched(photo.id, "queries that show what no other photo of their gallery does")
            else:
                intake.taken += 1


def _make_describe(
    cache: DescriptorCache, advance: Callable[[], None], unreadable: dict[Path, str]
) -> Callable[[Sequence[Path]], dict[Path, NDArray[np.float32]]]:
    def describe(paths: Sequence[Path]) -> dict[Path, NDArray[np.float32]]:
        described = cache.describe(paths, advance)
        unreadable.update(described.unreadable)
        return described.vectors

    return describe
