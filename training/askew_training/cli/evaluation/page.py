"""`--report` and `--embed`: the page of an evaluation, which several commands write beside their table."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from askew_training.cli.terminal import progress

if TYPE_CHECKING:
    from askew_training.data.photo_sets import Photo
    from askew_training.evaluate.comparison.record import Comparison
    from askew_training.evaluate.measurement import Measurement

ReportFile = Annotated[
    Path | None,
    typer.Option("--report", metavar="OUT.html", help="Also write a page with tables, plots and pictures, as HTML."),
]
Embed = Annotated[
    bool, typer.Option("--embed", help="Put the pictures into the page of --report, not into a folder beside it.")
]


def check_page(report: Path | None, embed: bool) -> None:
    """Make the folders that the page will be written to. Raises DataError if they cannot be: before hours of describing."""
    from askew_training.evaluate.reporting.thumbnails import ThumbnailFolder
    from askew_training.evaluate.targets import check_file

    if report is None:
        if embed:
            raise typer.BadParameter(
                "it puts pictures into the page of --report: give --report, too", param_hint="--embed"
            )
        return
    check_file(report)
    if not embed:
        ThumbnailFolder(report).check()


def check_folders(photos: Iterable[Path]) -> None:
    """Raises DataError for a folder of photos that is none."""
    from askew_training.errors import DataError

    for folder in photos:
        if not folder.is_dir():
            raise DataError(f"Expected a folder of photos, but {folder} is not a folder.")


def files_of(photos: Iterable[Photo]) -> dict[str, dict[str, Path]]:
    """The files of a manifest's queries and galleries, by benchmark and id."""
    files: dict[str, dict[str, Path]] = {}
    for photo in photos:
        if photo.role != "train":
            files.setdefault(photo.benchmark, {})[photo.id] = photo.path
    return files


def write_page(
    report: Path | None,
    embed: bool,
    measurements: Sequence[Measurement],
    files: Mapping[str, Mapping[str, Path]],
    folders: Sequence[Path] = (),
    comparison: Comparison | None = None,
) -> None:
    """Write the page, if it was asked for, and name it on standard error.

    `files`: those of photos, by dataset and id; others are looked for below `folders`. `comparison`: of the measurements, if
    there is one. Measurements without a query that counts have no place on it, and are named.
    """
    from askew_training.evaluate.reporting.placing import compare
    from askew_training.evaluate.reporting.writing import Choices, Report

    if report is None:
        return
    kept = []
    for each in measurements:
        if each.counted:
            kept.append(each)
        else:
            name = f"{each.dataset}, {each.protocol}"
            typer.echo(f"askew: not in the report: {name}: no query has a match in the gallery.", err=True)
    if not kept:
        typer.echo(f"askew: {report} was not written: there is nothing to show.", err=True)
        return
    page = Report(comparison or compare(kept), kept, Choices(photos=tuple(folders), files=files))
    with progress("pictures", page.pictures) as advance:
        written = page.write_html(report, is_embedded=embed, advance=advance)
    missing = f", {written.missing} missing" if written.missing else ""
    typer.echo(f"askew: wrote {report} with {written.pictures} pictures{missing}", err=True)
