"""`askew compare`: many pairs of encoders in one matrix."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.console import Console
from rich.text import Text

from askew_client.cli.stopping import stopped_by_sigterm
from askew_client.cli.taken import Intake
from askew_training.cli.evaluation.describing import write_and_name
from askew_training.cli.evaluation.page import Embed, ReportFile, check_folders, check_page, files_of, write_page
from askew_training.cli.outputs import check_no_input
from askew_training.cli.terminal import Harmless, finish

if TYPE_CHECKING:
    from askew_client import Encoder
    from askew_training.evaluate.comparison.gathering import Observed
    from askew_training.evaluate.comparison.record import Comparison, Cost, Skipped
    from askew_training.evaluate.measurement import Measurement

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
    report: ReportFile = None,
    embed: Embed = False,
    photos: Annotated[
        list[Path] | None,
        typer.Option(help="For --report: a folder with the photos of --measurements; repeatable."),
    ] = None,
    cache: Annotated[Path | None, typer.Option(help="The folder for vectors; default: ~/.cache/askew.")] = None,
) -> None:
    """Compare query encoders with gallery encoders: quality with intervals, cost, and who is worth it."""
    from askew_training.cli.evaluation.comparing import measure, plan
    from askew_training.evaluate.comparison.assembly import Resampling, assemble
    from askew_training.evaluate.comparison.earlier import read_measurements
    from askew_training.evaluate.comparison.matrix import matrix_of, rows_of
    from askew_training.evaluate.measurement_files import check_target
    from askew_training.evaluate.targets import check_file

    if not 0 < confidence < 1:
        raise typer.BadParameter("expected a number between 0 and 1, such as 0.95", param_hint="--confidence")
    _check_sources(queries, gallery, manifest, benchmark, measurements)
    # Before hours of describing, not after them.
    if write_measurements is not None:
        check_target(write_measurements)
    if json is not None:
        check_file(json)
    if photos and report is None:
        raise typer.BadParameter("it says where the photos of --report are: give --report, too", param_hint="--photos")
    check_page(report, embed)
    for option, output in (("--json", json), ("--report", report)):
        check_no_input(option, output, (*(queries or []), *(gallery or []), *(manifest or []), *(measurements or [])))
    check_folders(photos or [])
    intake = Intake()
    read = read_measurements(measurements or [])
    planned = plan(queries or [], gallery or [], manifest or [], benchmark, allow_foreign_space, cache, intake)
    if read:
        matrix_of(read)
    if baseline is not None:
        rows_of([*planned.announced, *read]).row_of(baseline)
    observed = measure(planned, intake)
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
        comparison, observed, _rows_of(observed, matrix.row_of_each), planned.skipped, bool(costs and time_rounds)
    )
    _print(comparison)
    if json is not None:
        comparison.write(json)
    files = {name: files_of(chosen)[name] for chosen, name in planned.benchmarks}
    write_page(report, embed, everything, files, photos or [], comparison)
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

    console = Console(emoji=False)
    if not console.is_terminal:
        console = Console(width=UNLIMITED_WIDTH, emoji=False)
    for table in tables_of(comparison):
        console.print(Harmless(table))
    for note in notes_of(comparison):
        console.print(Harmless(Text(note)))
