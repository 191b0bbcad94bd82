"""Writing a report: the page with its pictures, and its tables as LaTeX and Markdown."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from markupsafe import Markup

from askew_client.files import write_atomically
from askew_training.errors import DataError
from askew_training.evaluate.comparison.record import Comparison
from askew_training.evaluate.measurement import Measurement
from askew_training.evaluate.reporting.background import (
    alignment_table,
    encoders_table,
    left_out_of,
    settings_lines,
    summary_of,
)
from askew_training.evaluate.reporting.best import best_places
from askew_training.evaluate.reporting.case_views import TILES, view_groups
from askew_training.evaluate.reporting.cases import MOST_CASES, choose_cases, photos_of
from askew_training.evaluate.reporting.frontier_plot import Plot, frontier_plots
from askew_training.evaluate.reporting.latex import to_latex
from askew_training.evaluate.reporting.markdown import to_markdown
from askew_training.evaluate.reporting.page import Page, content_policy, footer_now, render, style_of_page
from askew_training.evaluate.reporting.photo_files import PhotoFiles
from askew_training.evaluate.reporting.placing import Placed, place
from askew_training.evaluate.reporting.published import Published
from askew_training.evaluate.reporting.results import (
    differences_table,
    precision_table,
    results_table,
    sets_table,
)
from askew_training.evaluate.reporting.score_plot import MOST_PLOTS, head_plot, score_plots
from askew_training.evaluate.reporting.table import Table
from askew_training.evaluate.reporting.thumbnails import ThumbnailFolder, Thumbnails, inside_the_page
from askew_training.evaluate.reporting.wording import counted

MOST_SET_COLUMNS = 12


@dataclass(frozen=True)
class Choices:
    """What a report shows. `photos`: folders with the photos. `files`: photos by dataset and id, taken first. `queries`: ids to show in any case. `cases`: best and worst
    queries of each measurement. `published`: figures of others."""

    title: str = "Retrieval report"
    photos: tuple[Path, ...] = ()
    queries: tuple[str, ...] = ()
    cases: int = 4
    published: tuple[Published, ...] = ()
    files: Mapping[str, Mapping[str, Path]] = field(default_factory=dict)


@dataclass(frozen=True)
class Written:
    """What was written: pictures of so many photos, and `missing` others that were not found."""

    pictures: int
    missing: int


class Report:
    """One comparison with its measurements, ready to be written in several forms."""

    def __init__(self, comparison: Comparison, measurements: Sequence[Measurement], choices: Choices) -> None:
        """`comparison`: of these measurements, or of more. Raises DataError for a measurement that it does not hold."""
        self.comparison, self.choices = comparison, choices
        self.placed: Placed = place(comparison, measurements)
        self._results = results_table(comparison, best_places(comparison, self.placed), choices.published)
        self._groups, self._cases_left = choose_cases(comparison, self.placed, choices.cases, choices.queries)

    @property
    def pictures(self) -> int:
        """How many photos the page shows."""
        return len(photos_of(self.comparison, self._groups, TILES))

    @property
    def tables(self) -> list[Table]:
        """The tables for a paper: results, differences, precision."""
        optional = (differences_table(self.comparison), precision_table(self.comparison))
        return [self._results, *(table for table in optional if table is not None)]

    def write_latex(self, path: Path) -> None:
        """Write the tables as LaTeX."""
        _write(path, to_latex(self.tables))

    def write_markdown(self, path: Path) -> None:
        """Write the tables as Markdown."""
        _write(path, to_markdown(self.tables))

    def write_html(self, path: Path, *, is_embedded: bool, advance: Callable[[], None] = lambda: None) -> Written:
        """Write the page; its pictures into it, or into the folder `PATH.photos` beside it. Raises DataError."""
        folder = ThumbnailFolder(path)
        thumbnails = Thumbnails(
            PhotoFiles(self.choices.photos, self.choices.files),
            inside_the_page if is_embedded else folder.place,
            advance,
        )
        _write(path, render(self._page(thumbnails, is_embedded)))
        # The new page stands; what it does not show is no longer needed.
        folder.drop_others()
        return Written(thumbnails.shown, thumbnails.missing)

    def _page(self, thumbnails: Thumbnails, is_embedded: bool) -> Page:
        comparison = self.comparison
        views = view_groups(comparison, self._groups, thumbnails)
        frontiers, frontiers_left = frontier_plots(comparison)
        scores, scores_left = score_plots(comparison)
        if not scores:
            scores, scores_left = self._head_plots()
        datasets = dict.fromkeys(column.dataset for column in comparison.columns)
        details = [precision_table(comparison), *(sets_table(comparison, name, MOST_SET_COLUMNS) for name in datasets)]
        style = style_of_page()
        return Page(
            title=self.choices.title,
            summary=summary_of(comparison, self.placed),
            results=self._results,
            encoders=encoders_table(comparison),
            details=[table for table in details if table is not None],
            differences=differences_table(comparison),
            row_labels=[row.label for row in comparison.rows],
            frontiers=frontiers,
            frontiers_left_out=_left("plot", frontiers_left),
            alignment=alignment_table(comparison),
            scores=scores,
            scores_left_out=_left("plot", scores_left),
            groups=views,
            cases_left_out=_left("case", self._cases_left, f" A report shows {MOST_CASES}."),
            pictures_note=self._pictures_note(thumbnails),
            left_out=left_out_of(comparison, self.placed),
            settings=settings_lines(comparison),
            style=Markup(style),
            policy=content_policy(style, is_embedded),
            footer=footer_now(),
        )

    def _head_plots(self) -> tuple[list[Plot], int]:
        places = sorted(self.placed)
        plots = []
        for row, column in places:
            described = self.comparison.columns[column]
            title = f"{row + 1}: {self.comparison.rows[row].label}, {described.dataset} {described.protocol}"
            plots.append(head_plot(title, self.placed[row, column]))
        found = [plot for plot in plots if plot is not None]
        return found[:MOST_PLOTS], max(0, len(found) - MOST_PLOTS)

    def _pictures_note(self, thumbnails: Thumbnails) -> str:
        if not (self.choices.photos or self.choices.files):
            return "No folder of photos was named (--photos), so that grey tiles stand for them."
        if thumbnails.missing:
            return (
                f"{counted(thumbnails.missing, 'photo was', 'photos were')} not found or could not be read: grey tiles."
            )
        return ""


def _left(noun: str, number: int, why: str = "") -> str:
    return f"Left out: {counted(number, f'more {noun}')}.{why}" if number else ""


def _write(path: Path, text: str) -> None:
    try:
        write_atomically(path, text.encode())
    except OSError as error:
        raise DataError(
            f"{path} cannot be written: {error.strerror}. Expected a file in a folder that exists."
        ) from None
