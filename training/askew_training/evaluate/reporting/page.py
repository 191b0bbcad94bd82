"""The page: what its template is given, and its policy."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from askew_training.evaluate.reporting.background import LeftOut
from askew_training.evaluate.reporting.case_views import GroupView
from askew_training.evaluate.reporting.frontier_plot import Plot
from askew_training.evaluate.reporting.table import Table
from askew_training.evaluate.reporting.wording import readable


@dataclass(frozen=True)
class Section:
    """A part of the page that exists, for the list of sections."""

    anchor: str
    title: str


@dataclass(frozen=True)
class Page:
    """Everything on the page. Parts that are empty or None are left out."""

    title: str
    summary: str
    results: Table
    encoders: Table
    details: Sequence[Table] = ()
    differences: Table | None = None
    row_labels: Sequence[str] = ()
    frontiers: Sequence[Plot] = ()
    frontiers_left_out: str = ""
    alignment: Table | None = None
    scores: Sequence[Plot] = ()
    scores_left_out: str = ""
    groups: Sequence[GroupView] = ()
    cases_left_out: str = ""
    pictures_note: str = ""
    left_out: Sequence[LeftOut] = ()
    settings: Sequence[str] = ()
    style: Markup = field(default_factory=lambda: Markup())
    policy: str = ""
    footer: str = ""

    @property
    def sections(self) -> list[Section]:
        """The parts that exist, in their order."""
        parts = (
            ("results", "Results", True),
            ("differences", "Differences", self.differences),
            ("frontier", "Quality and cost", self.frontiers),
            ("alignment", "Alignment", self.alignment),
            ("scores", "Scores", self.scores),
            ("queries", "Queries", self.groups),
            ("left-out", "Left out", self.left_out),
            ("measured", "How it was measured", True),
        )
        return [Section(anchor, title) for anchor, title, part in parts if part]


def content_policy(style: str, is_embedded: bool) -> str:
    """A Content-Security-Policy that lets the page show its style and its pictures, and nothing else.

    `is_embedded`: the pictures lie in the page. Beside it, they are of its own origin, which is `file:` on a disk.
    """
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    pictures = "data:" if is_embedded else "'self' file:"
    return f"default-src 'none'; style-src 'sha256-{digest}'; img-src {pictures}; base-uri 'none'; form-action 'none'"


def style_of_page() -> str:
    """The text of the page's style sheet."""
    environment = _environment()
    assert environment.loader is not None
    return environment.loader.get_source(environment, "style.css")[0]


def footer_now() -> str:
    """By what and when the page was made."""
    return f"Made by askew report {version('askew-training')} on {datetime.now(UTC):%Y-%m-%d}."


def render(page: Page) -> str:
    """The page as HTML. All that comes from files is escaped."""
    return _environment().get_template("report.html.j2").render(page=page)


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("askew_training.evaluate.reporting"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["readable"] = _visible
    return environment


def _visible(text: str) -> str:
    # What a macro or a drawing wrote is markup already.
    return text if isinstance(text, Markup) else readable(text)
