"""`askew evaluate`: measure a pair of encoders."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from askew_client.cli.stopping import stopped_by_sigterm
from askew_client.cli.taken import Intake
from askew_training.cli.evaluation.describing import describe_views, write_and_name
from askew_training.cli.evaluation.page import Embed, ReportFile, check_page, files_of, write_page
from askew_training.cli.options import descriptor_folder
from askew_training.cli.outputs import check_no_input
from askew_training.cli.terminal import finish, print_table, progress

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from askew_training.data.photo_sets import Photo
    from askew_training.evaluate.benchmark import BenchmarkOutcome, Describe, View
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
    measurements: Annotated[
        Path | None,
        typer.Option(help="Also write each benchmark, query by query, as a measurement: NAME.json or a folder."),
    ] = None,
    report: ReportFile = None,
    embed: Embed = False,
    allow_foreign_space: Annotated[
        bool, typer.Option("--allow-foreign-space", help="Measure encoders of two spaces; the result is marked.")
    ] = False,
    cache: Annotated[Path | None, typer.Option(help="The folder for vectors; default: ~/.cache/askew.")] = None,
) -> None:
    """Measure the mAP of one encoder's queries on a gallery described by another encoder, or the same."""
    from askew_client.files import write_atomically
    from askew_training.data.photo_sets import read_manifest
    from askew_training.errors import DataError
    from askew_training.evaluate.benchmark import benchmarks_in, check_benchmark, photos_of, rank_benchmark
    from askew_training.evaluate.measurement_files import check_target
    from askew_training.evaluate.report import Report
    from askew_training.evaluate.sides import check_one_space, side_of
    from askew_training.evaluate.targets import check_file
    from askew_training.vectors.descriptor_cache import DescriptorCache

    # Before hours of describing, not after them.
    if measurements is not None:
        check_target(measurements)
    if json is not None:
        check_file(json)
    check_page(report, embed)
    for option, output in (("--json", json), ("--report", report)):
        check_no_input(option, output, (queries, gallery, manifest))
    intake = Intake()
    photos = read_manifest(manifest, intake)
    for option, output in (("--json", json), ("--report", report)):
        check_no_input(option, output, (photo.path for photo in photos))
    query_cache, gallery_cache = (DescriptorCache(descriptor_folder(cache), file) for file in (queries, gallery))
    query_encoder, gallery_encoder = query_cache.encoder, gallery_cache.encoder
    is_foreign = check_one_space(query_encoder, gallery_encoder, allow_foreign_space)
    chosen = list(dict.fromkeys(benchmark or benchmarks_in(photos)))
    if not chosen:
        raise DataError(f"{manifest} has no query. Expected photos with the roles query and gallery.")
    for name in chosen:
        check_benchmark(photos, name)
    unreadable: dict[View, str] = {}
    sides = [photos_of(photos, name, role) for name in chosen for role in ("query", "gallery")]
    with progress("describing", sum(map(len, sides))) as advance:
        outcomes = [
            rank_benchmark(
                photos,
                name,
                _make_describe(query_cache, advance, unreadable),
                _make_describe(gallery_cache, advance, unreadable),
            )
            for name in chosen
        ]
    _count(intake, sides, unreadable)
    scores = Report(
        query_encoder.manifest.encoder_id,
        gallery_encoder.manifest.encoder_id,
        gallery_encoder.space_id,
        tuple(outcome.scores for outcome in outcomes),
        intake.as_json(),
        is_foreign,
    )
    print_table(scores.to_table())
    if json is not None:
        write_atomically(json, scores.to_json().encode())
    settings: dict[str, str | float | bool] = {"scores": "rounded to 1e-6"}
    if is_foreign:
        settings["foreign_space"] = True
    measured = [
        measurement
        for place, outcome in enumerate(outcomes)
        for measurement in outcome.measurements(
            side_of(query_encoder),
            side_of(gallery_encoder),
            settings,
            _not_described(sides[2 * place], sides[2 * place + 1], outcome, unreadable),
        )
    ]
    write_and_name(measurements, measured)
    write_page(report, embed, measured, files_of(photos))
    finish(intake, "", {}, False)


def _count(intake: Intake, sides: Sequence[Sequence[Photo]], unreadable: dict[View, str]) -> None:
    """Count the photos of each benchmark's queries and gallery, which alternate in `sides`."""
    from askew_training.evaluate.benchmark import view_of

    for queries, gallery in zip(sides[::2], sides[1::2], strict=True):
        shown: dict[str, set[Path]] = {}
        for photo in gallery:
            for instance in photo.instances:
                shown.setdefault(instance, set()).add(photo.path)
        for photo in (*queries, *gallery):
            if view_of(photo) in unreadable:
                intake.skip(photo.id, "cannot be described", unreadable[view_of(photo)])
            elif photo.role == "query" and not (
                photo.instance_id and shown.get(photo.instance_id, set()) - {photo.path}
            ):
                intake.not_matched(photo.id, "queries that show what no other photo of their gallery does")
            else:
                intake.taken += 1


def _not_described(
    queries: Sequence[Photo], gallery: Sequence[Photo], outcome: BenchmarkOutcome, unreadable: dict[View, str]
) -> dict[str, tuple[str, ...]]:
    """What a measurement says of photos that did not count as others do."""
    from askew_training.evaluate.benchmark import view_of

    return {
        "queries that cannot be described, counted as finding nothing": tuple(
            photo.id for photo in queries if view_of(photo) in unreadable
        ),
        "gallery photos that cannot be described, counted as never found": tuple(
            photo.id for photo in gallery if view_of(photo) in unreadable
        ),
        "queries without positives": tuple(each.result.id for each in outcome.queries if not each.result.positives),
    }


def _make_describe(cache: DescriptorCache, advance: Callable[[], None], unreadable: dict[View, str]) -> Describe:
    def describe(views: Sequence[View]) -> dict[View, NDArray[np.float32]]:
        vectors, failed = describe_views(cache, views, advance)
        unreadable.update(failed)
        return vectors

    return describe
