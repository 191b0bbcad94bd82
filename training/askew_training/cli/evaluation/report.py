"""`askew report`: measurements as a page that people look at, and as tables."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from askew_training.cli.evaluation.page import check_folders
from askew_training.cli.outputs import check_no_input

MOST_CASES_OF_EACH = 20


def report(
    measurements: Annotated[list[Path], typer.Argument(help="Files that --measurements wrote.", show_default=False)],
    report: Annotated[Path | None, typer.Option(help="Write the page to this file, as HTML.")] = None,
    embed: Annotated[bool, typer.Option("--embed", help="Put the pictures into the page, not into a folder.")] = False,
    latex: Annotated[Path | None, typer.Option(help="Write the tables as LaTeX.")] = None,
    markdown: Annotated[Path | None, typer.Option(help="Write the tables as Markdown.")] = None,
    comparison: Annotated[
        Path | None, typer.Option(help="What `askew compare --json` wrote about these measurements; adds cost.")
    ] = None,
    photos: Annotated[list[Path] | None, typer.Option(help="A folder with the photos; repeatable.")] = None,
    query: Annotated[list[str] | None, typer.Option(help="Show this query in any case; repeatable.")] = None,
    cases: Annotated[
        int, typer.Option(min=0, max=MOST_CASES_OF_EACH, help="Best and worst queries of each measurement.")
    ] = 4,
    published: Annotated[
        list[str] | None, typer.Option(help="Add figures of others, such as aml or all; repeatable.")
    ] = None,
    title: Annotated[str, typer.Option(help="The page's title.")] = "Retrieval report",
) -> None:
    """Report measurements: tables with intervals, plots, and pictures of the best and worst queries."""
    from askew_training.cli.terminal import progress
    from askew_training.errors import DataError
    from askew_training.evaluate.comparison.record import read_comparison
    from askew_training.evaluate.measurement import read_measurement
    from askew_training.evaluate.reporting.placing import compare
    from askew_training.evaluate.reporting.published import choose_published
    from askew_training.evaluate.reporting.writing import Choices, Report

    if not (report or latex or markdown):
        raise DataError("There is nothing to write. Give --report OUT.html, --latex OUT.tex or --markdown OUT.md.")
    check_folders(photos or [])
    for option, output in (("--report", report), ("--latex", latex), ("--markdown", markdown)):
        check_no_input(option, output, (*measurements, comparison))
    read = [read_measurement(path) for path in measurements]
    compared = read_comparison(comparison) if comparison else compare(read)
    choices = Choices(title, tuple(photos or ()), tuple(query or ()), cases, choose_published(published or ()))
    made = Report(compared, read, choices)
    written = []
    if latex:
        made.write_latex(latex)
        written.append(str(latex))
    if markdown:
        made.write_markdown(markdown)
        written.append(str(markdown))
    if report:
        with progress("pictures", made.pictures) as advance:
            result = made.write_html(report, is_embedded=embed, advance=advance)
        written.append(
            f"{report} with {result.pictures} pictures" + (f" ({result.missing} missing)" if result.missing else "")
        )
    typer.echo(f"Wrote {', '.join(written)}.")
