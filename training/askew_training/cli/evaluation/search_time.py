"""`askew search-time`: what search-time methods gain and cost on a pair of encoders."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from askew_client.cli.stopping import stopped_by_sigterm
from askew_client.cli.taken import Intake
from askew_training.cli.evaluation.describing import describe_views, write_and_name
from askew_training.cli.options import descriptor_folder
from askew_training.cli.outputs import check_no_input
from askew_training.cli.terminal import finish, print_table, progress

if TYPE_CHECKING:
    from askew_training.data.photo_sets import Photo
    from askew_training.evaluate.measurement import Measurement
    from askew_training.evaluate.search_time.described import DescribedBenchmark
    from askew_training.evaluate.search_time.measuring import Measured
    from askew_training.evaluate.search_time.method import Method
    from askew_training.evaluate.search_time.table import Row
    from askew_training.vectors.descriptor_cache import DescriptorCache


@stopped_by_sigterm()
def search_time(
    queries: Annotated[Path, typer.Option(help="The encoder that describes the queries.")],
    gallery: Annotated[Path, typer.Option(help="The encoder that describes the gallery.")],
    manifest: Annotated[Path, typer.Option(help="A photo manifest with queries and galleries.")],
    benchmark: Annotated[
        list[str] | None, typer.Option(help="One of its benchmarks; repeatable; default: all.")
    ] = None,
    method: Annotated[
        list[str] | None,
        typer.Option(help="Such as alpha-qe or alpha-qe:neighbours=3,alpha=1; repeatable; default: all, as published."),
    ] = None,
    grid: Annotated[bool, typer.Option("--grid", help="Try each method at every value of its grid.")] = False,
    held_out: Annotated[
        float | None,
        typer.Option(help="Measure on this share of the instances of role train instead, to choose settings."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Which instances --held-out takes: the `seed` of a recipe.")] = 0,
    by_set: Annotated[bool, typer.Option("--by-set", help="Also show each set of queries.")] = False,
    measurements: Annotated[
        Path | None, typer.Option(help="Also write one measurement for each method to this folder.")
    ] = None,
    json: Annotated[Path | None, typer.Option(help="Also write the table to this file.")] = None,
    cache: Annotated[Path | None, typer.Option(help="The folder for vectors; default: ~/.cache/askew.")] = None,
) -> None:
    """Measure query expansion, re-ranking and compression on a pair of encoders, beside plain search."""
    from askew_client.files import write_atomically
    from askew_training.data.photo_sets import read_manifest
    from askew_training.errors import DataError
    from askew_training.evaluate.measurement_files import check_target
    from askew_training.evaluate.ranking import TOGETHER
    from askew_training.evaluate.search_time.table import rows_of, to_json, to_table
    from askew_training.evaluate.sides import check_one_space
    from askew_training.evaluate.targets import check_file
    from askew_training.vectors.descriptor_cache import DescriptorCache

    if held_out is not None and benchmark:
        raise typer.BadParameter("expected --held-out or --benchmark, got both", param_hint="--held-out")
    methods = _chosen(method or [], grid)
    if measurements is not None:
        check_target(measurements)
    if json is not None:
        check_file(json)
    check_no_input("--json", json, (queries, gallery, manifest))
    intake = Intake()
    photos = read_manifest(manifest, intake)
    check_no_input("--json", json, (photo.path for photo in photos))
    caches = (
        DescriptorCache(descriptor_folder(cache), queries),
        DescriptorCache(descriptor_folder(cache), gallery),
    )
    check_one_space(caches[0].encoder, caches[1].encoder, allow_foreign_space=False)
    rows: list[Row] = []
    results: list[Measurement] = []
    left_out: dict[str, str] = {}
    for described in _described(photos, benchmark, held_out, seed, caches, methods, intake):
        measured = _measured(methods, described, left_out, is_chosen=bool(method))
        if not measured[0].measurement.counted:
            raise DataError(f"Benchmark {described.name!r}: no query has a match in the gallery.")
        rows += rows_of(measured[0], measured)
        results += [each.measurement for each in measured]
    kind = "symmetric" if caches[0].encoder.file.sha256 == caches[1].encoder.file.sha256 else "asymmetric"
    names = [each.encoder.manifest.encoder_id for each in caches]
    shown = [row for row in rows if by_set or row.set_name == TOGETHER]
    print_table(to_table(shown, f"{kind}: queries {names[0]}, gallery {names[1]}"))
    for title, sentence in left_out.items():
        typer.echo(f"askew: left out: {title}: {sentence}", err=True)
    if json is not None:
        write_atomically(json, to_json(rows, left_out, kind, *names).encode())
    write_and_name(measurements, results)
    finish(intake, "", {}, False)


def _chosen(texts: Sequence[str], grid: bool) -> list[Method]:
    """The methods to measure; plain search comes first."""
    from askew_training.evaluate.search_time.plain import Plain
    from askew_training.evaluate.search_time.registry import METHODS, default_methods, grid_of, parse_method

    methods = [parse_method(text) for text in texts]
    if grid:
        kinds = [type(each) for each in methods] or list(METHODS.values())
        methods = [each for kind in dict.fromkeys(kinds) for each in grid_of(kind)]
    elif not methods:
        methods = default_methods()
    return list(dict.fromkeys([Plain(), *methods]))


def _described(
    photos: Sequence[Photo],
    benchmarks: Sequence[str] | None,
    held_out: float | None,
    seed: int,
    caches: tuple[DescriptorCache, DescriptorCache],
    methods: Sequence[Method],
    intake: Intake,
) -> list[DescribedBenchmark]:
    import numpy as np

    from askew_training.errors import DataError
    from askew_training.evaluate.benchmark import benchmarks_in, check_benchmark, photos_of, view_of
    from askew_training.evaluate.search_time.described import HELD_OUT, held_out_benchmark, join
    from askew_training.evaluate.sides import side_of

    others = [photo for photo in photos if photo.role == "train"]
    if held_out is not None:
        chosen, described_gallery, others = held_out_benchmark(photos, held_out, seed)
        parts = [(HELD_OUT, chosen, described_gallery)]
    else:
        names = list(dict.fromkeys(benchmarks or benchmarks_in(photos)))
        if not names:
            raise DataError("The manifest has no query. Expected photos with the roles query and gallery.")
        for name in names:
            check_benchmark(photos, name)
        parts = [(name, photos_of(photos, name, "query"), photos_of(photos, name, "gallery")) for name in names]
    if not any(each.learns_from_others for each in methods):
        others = []
    asked = list(dict.fromkeys(view_of(photo) for _, chosen, _ in parts for photo in chosen))
    searched = list(dict.fromkeys(photo.path for photo in (*others, *(each for part in parts for each in part[2]))))
    with progress("describing", len(asked) + len(searched)) as advance:
        by_query, not_asked = describe_views(caches[0], asked, advance)
        by_gallery, not_searched = describe_views(caches[1], searched, advance)
    meant = [(photo, view_of(photo), not_asked) for _, chosen, _ in parts for photo in chosen]
    meant += [(photo, photo.path, not_searched) for photo in (*others, *(each for part in parts for each in part[2]))]
    for photo, view, unreadable in meant:
        if view in unreadable:
            intake.skip(photo.id, "cannot be described", unreadable[view])
        else:
            intake.taken += 1
    known = [by_gallery[photo.path] for photo in others if photo.path in by_gallery]
    dim = caches[1].encoder.manifest.dim
    vectors = np.stack(known) if known else np.empty((0, dim), np.float32)
    sides = side_of(caches[0].encoder), side_of(caches[1].encoder)
    return [join(*part, (by_query, by_gallery), sides, vectors) for part in parts]


def _measured(
    methods: Sequence[Method], benchmark: DescribedBenchmark, left_out: dict[str, str], *, is_chosen: bool
) -> list[Measured]:
    """Measure each method. One that does not fit the benchmark is left out with the reason.

    Raises DataError instead if the user named it.
    """
    from askew_training.errors import DataError
    from askew_training.evaluate.search_time.measuring import measure_method

    measured = []
    for each in methods:
        try:
            measured.append(measure_method(each, benchmark))
        except DataError as error:
            if is_chosen:
                raise
            left_out[f"{benchmark.name}, {each.title}"] = str(error)
    return measured
