"""`askew compare`: many pairs of encoders in one matrix."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.console import Console

from askew_client.cli.stopping import stopped_by_sigterm
from askew_client.cli.taken import Intake
from askew_training.cli.evaluation.describing import describe_views, write_and_name
from askew_training.cli.options import descriptor_folder
from askew_training.cli.terminal import finish, progress
from askew_training.errors import DataError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from askew_client import Encoder
    from askew_training.data.photo_sets import Photo
    from askew_training.evaluate.benchmark import View
    from askew_training.evaluate.comparison.gathering import Describe, Observed
    from askew_training.evaluate.comparison.record import Comparison, Cost, Skipped
    from askew_training.evaluate.measurement import Measurement, Side
    from askew_training.vectors.descriptor_cache import DescriptorCache

UNLIMITED_WIDTH = 200
"""Characters of a line where no terminal limits it."""


@stopped_by_sigterm()
def compare(
    queries: Annotated[list[Path] | None, typer.Option(help="An encoder that describes queries; repeatable.")] = None,
    gallery: Annotated[list[Path] | None, typer.Option(help="An encoder that describes galleries; repeatable.")] = None,
    manifest: Annotated[
        list[Path] | None, typer.Option(help="A photo manifest with queries and galleries; repeatable.")
    ] = None,
    benchmark: Annotated[
        list[str] | None, typer.Option(help="A benchmark of the manifests; repeatable; default: all.")
    ] = None,
    measurements: Annotated[
        list[Path] | None,
        typer.Option(help="A measurement file of another evaluation, or a folder of them; repeatable."),
    ] = None,
    baseline: Annotated[
        str | None,
        typer.Option(help="The pair, or its query encoder, that others are compared with; default: the first."),
    ] = None,
    frontier_by: Annotated[
        Literal["gigaflops", "milliseconds", "file_bytes", "query_bytes"] | None,
        typer.Option(help="The cost that the tables mark the frontier by; default: the first that is known."),
    ] = None,
    allow_foreign_space: Annotated[
        bool, typer.Option("--allow-foreign-space", help="Measure pairs of two spaces too, for science; marked.")
    ] = False,
    time_rounds: Annotated[
        int, typer.Option(min=0, max=1000, help="How often each encoder is timed; 0: not at all.")
    ] = 7,
    count_operations: Annotated[
        bool, typer.Option("--operations/--no-operations", help="Count floating-point operations.")
    ] = True,
    confidence: Annotated[float, typer.Option(help="The confidence of intervals.")] = 0.95,
    resamples: Annotated[
        int, typer.Option(min=100, max=1_000_000, help="How often instances are drawn anew.")
    ] = 10_000,
    seed: Annotated[int, typer.Option(min=0, help="The seed of the resampling.")] = 0,
    json: Annotated[Path | None, typer.Option(help="Also write the comparison to this file.")] = None,
    write_measurements: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Also write a measurement file for each pair and benchmark.")
    ] = None,
    cache: Annotated[Path | None, typer.Option(help="The folder for vectors; default: ~/.cache/askew.")] = None,
) -> None:
    """Compare query encoders with gallery encoders: quality with intervals, cost, and who is worth it."""
    from askew_training.evaluate.comparison.assembly import Resampling, assemble
    from askew_training.evaluate.comparison.earlier import read_measurements
    from askew_training.evaluate.measurement_files import check_target

    if not 0 < confidence < 1:
        raise typer.BadParameter("expected a number between 0 and 1, such as 0.95", param_hint="--confidence")
    _check_sources(queries, gallery, manifest, benchmark, measurements)
    if json is not None and json.is_dir():
        raise typer.BadParameter(f"expected a file, but {json} is a folder", param_hint="--json")
    # Before hours of describing, not after them.
    for target in filter(None, (write_measurements, json)):
        check_target(target)
    intake = Intake()
    read = read_measurements(measurements or [])
    observed, skipped = _measure(
        queries or [], gallery or [], manifest or [], benchmark, allow_foreign_space, cache, intake
    )
    made = [measurement for each in observed for measurement in each.measurements]
    write_and_name(write_measurements, made)
    everything = [*made, *read]
    costs = _costs([*(queries or []), *(gallery or [])], everything, count_operations, time_rounds)
    comparison, matrix = assemble(
        everything,
        costs,
        baseline=baseline,
        frontier_cost=frontier_by,
        resampling=Resampling(confidence, resamples, seed),
    )
    comparison = _completed(
        comparison, observed, _rows_of(observed, matrix.row_of_each), skipped, bool(costs and time_rounds)
    )
    _print(comparison)
    if json is not None:
        comparison.write(json)
    if manifest:
        finish(intake, "", {}, False)


def _check_sources(
    queries: list[Path] | None,
    gallery: list[Path] | None,
    manifest: list[Path] | None,
    benchmark: list[str] | None,
    measurements: list[Path] | None,
) -> None:
    if manifest and not (queries and gallery):
        raise typer.BadParameter("--manifest needs encoders: give --queries and --gallery, too")
    if not manifest and not measurements:
        raise typer.BadParameter("nothing to compare: give --queries, --gallery and --manifest, or --measurements")
    if benchmark and not manifest:
        raise typer.BadParameter("--benchmark names a benchmark of a manifest: give --manifest, too")


def _measure(
    queries: Sequence[Path],
    galleries: Sequence[Path],
    manifests: Sequence[Path],
    benchmarks: Sequence[str] | None,
    allow_foreign_space: bool,
    cache: Path | None,
    intake: Intake,
) -> tuple[list[Observed], list[Skipped]]:
    """Measure every pair on every chosen benchmark; pairs of two spaces are skipped."""
    from askew_training.evaluate.comparison.gathering import ALONE, Benchmark, observe
    from askew_training.evaluate.comparison.pairs import pairs_of
    from askew_training.evaluate.sides import side_of
    from askew_training.vectors.descriptor_cache import DescriptorCache

    if not manifests:
        return [], []
    folder = descriptor_folder(cache)
    opened = {path: DescriptorCache(folder, path) for path in dict.fromkeys((*queries, *galleries))}
    caches = {each.encoder.file.sha256: each for each in opened.values()}
    # The same file under two names is one encoder.
    sides = [
        list({side.sha256: side for side in (side_of(opened[path].encoder) for path in paths)}.values())
        for paths in (queries, galleries)
    ]
    pairs, skipped = pairs_of(sides[0], sides[1], allow_foreign_space)
    for each in skipped:
        typer.echo(f"askew: not compared: {each.queries} → {each.gallery}: {each.reason}.", err=True)
    observed: list[Observed] = []
    for photos, name in _benchmarks(manifests, benchmarks, intake):
        found = observe(Benchmark(photos, name, _make_describe(caches, intake)), pairs)
        for alone in {alone: None for each in found[0].measurements for alone in each.excluded.get(ALONE, ())}:
            intake.not_matched(alone, "queries that show what no other photo of their gallery does")
        observed += found
    return observed, skipped


def _benchmarks(
    manifests: Sequence[Path], wanted: Sequence[str] | None, intake: Intake
) -> list[tuple[Sequence[Photo], str]]:
    """The photos and the name of each benchmark that is to be measured."""
    from askew_training.data.photo_sets import read_manifest
    from askew_training.evaluate.benchmark import benchmarks_in

    found: dict[str, tuple[Path, Sequence[Photo]]] = {}
    for manifest in manifests:
        photos = read_manifest(manifest, intake)
        for name in benchmarks_in(photos):
            if name in found and (wanted is None or name in wanted):
                raise DataError(
                    f"{found[name][0]} and {manifest} both have a benchmark {name!r}. Expected another name in each."
                )
            found[name] = manifest, photos
    known = ", ".join(found) or "none"
    for name in wanted or []:
        if name not in found:
            raise DataError(f"The benchmark {name!r} has no query photo. The manifests have these benchmarks: {known}.")
    if not found:
        raise DataError(f"{manifests[0]} has no query. Expected photos with the roles query and gallery.")
    return [(found[name][1], name) for name in (wanted or found)]


def _make_describe(caches: dict[str, DescriptorCache], intake: Intake) -> Describe:
    counted: set[View] = set()

    def describe(side: Side, role: str, views: Sequence[View]) -> dict[View, NDArray[np.float32]]:
        with progress(f"{side.encoder}, {role}", len(views)) as advance:
            vectors, unreadable = describe_views(caches[side.sha256], views, advance)
        for view, sentence in unreadable.items():
            path = view if isinstance(view, Path) else view.path
            intake.skip(f"{path}, {side.encoder}", "cannot be described", sentence)
        intake.taken += len(vectors.keys() - counted)
        counted.update(vectors)
        return vectors

    return describe


def _costs(files: Sequence[Path], measurements: Sequence[Measurement], count: bool, rounds: int) -> dict[str, Cost]:
    """The cost of the query encoders whose files were given, by SHA-256."""
    from askew_training.evaluate.comparison.record import Cost
    from askew_training.evaluate.comparison.timing import time_in_turns
    from askew_training.export.operations import PAPER_SIDE, operations_of

    used = {each.queries.sha256 for each in measurements}
    known = used | {each.gallery.sha256 for each in measurements}
    opened = _open_once(files)
    for each in opened:
        if each.file.sha256 not in known:
            typer.echo(f"askew: {each.path} is in no measurement, and left out.", err=True)
    encoders = [each for each in opened if each.file.sha256 in used]
    times = time_in_turns(encoders, rounds) if rounds and encoders else [None] * len(encoders)
    costs = {}
    for encoder, milliseconds in zip(encoders, times, strict=True):
        side, dim = encoder.manifest.photo_size, encoder.manifest.dim
        own = operations_of(encoder.path, side) if count else None
        paper = operations_of(encoder.path, PAPER_SIDE) if count and side >= PAPER_SIDE else None
        costs[encoder.file.sha256] = Cost(
            query_bytes=2 * dim,
            photo_side=side,
            gigaflops=None if own is None else own / 1e9,
            paper_gigaflops=None if paper is None else paper / 1e9,
            file_bytes=encoder.path.stat().st_size,
            milliseconds=milliseconds,
        )
    return costs


def _open_once(paths: Sequence[Path]) -> list[Encoder]:
    """Open encoder files on all cores, in their order; of several that are the same, one."""
    from askew_client import Encoder

    opened: dict[str, Encoder] = {}
    for encoder in map(Encoder, dict.fromkeys(paths)):
        opened.setdefault(encoder.file.sha256, encoder)
    return list(opened.values())


def _rows_of(observed: Sequence[Observed], row_of_each: Sequence[int]) -> list[int]:
    """The row of what was observed, whose measurements come before all others."""
    rows, start = [], 0
    for each in observed:
        rows.append(row_of_each[start])
        start += len(each.measurements)
    return rows


def _completed(
    comparison: Comparison, observed: Sequence[Observed], rows: Sequence[int], skipped: Sequence[Skipped], timed: bool
) -> Comparison:
    """Add what was seen of the vectors, by their `rows`, and where times were measured."""
    from askew_training.evaluate.comparison.observations import alignment_records, distribution_record
    from askew_training.evaluate.comparison.timing import PHOTO, machine

    return comparison.model_copy(
        update={
            "distributions": tuple(distribution_record(row, each) for row, each in zip(rows, observed, strict=True)),
            "alignments": alignment_records(rows, observed),
            "skipped": tuple(skipped),
            "timed_photo": PHOTO if timed else None,
            "machine": machine() if timed else "",
        }
    )


def _print(comparison: Comparison) -> None:
    from askew_training.evaluate.comparison.tables import notes_of, tables_of

    console = Console()
    if not console.is_terminal:
        console = Console(width=UNLIMITED_WIDTH)
    for table in tables_of(comparison):
        console.print(table)
    for note in notes_of(comparison):
        console.print(note, markup=False, highlight=False)
