"""Names come from files: none can change the page, the LaTeX or the Markdown."""

from __future__ import annotations

import base64
import hashlib
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

from askew_training.evaluate.measurement import Found, Measurement, QueryResult
from askew_training.evaluate.reporting.latex import escape as escape_latex
from askew_training.evaluate.reporting.placing import compare
from askew_training.evaluate.reporting.writing import Choices, Report
from tests.training.evaluate.measurements import side

HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "'+alert(1)+'",
    "javascript:alert(1)",
    "</style><style>*{display:none}",
    "</title></svg><script>",
    "{{ 7 * 7 }}{% raw %}",
    "a|b`c`*d*_e_[f](http://g) <h>",
    "- 1. # https://evil.example www.evil.example @all &amp;",
    "\\input{/etc/passwd}$^~%#&",
    "twice--three---`'\"",
    "../../etc/passwd",
    "photo\u202egpj.exe",
    "two\nlines\tand\x07bell",
    "Größe → 写真 🎈",
)
ALLOWED_ADDRESSES = re.compile(r"#[a-z-]+|page\.html\.photos/[0-9a-f]{24}\.jpg|data:image/jpeg;base64,[A-Za-z0-9+/=]+")


class Elements(HTMLParser):
    """The elements of a page with their attributes, and its text."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def hostile_measurement(name: str) -> Measurement:
    found = tuple(Found(id=name, score=0.5, relevance=relevance) for relevance in ("right", "wrong", "junk"))
    results = [
        QueryResult(
            id=f"{name}{place}",
            instance=name,
            set_name=f"{name}{place % 2}",
            positives=1,
            average_precision=place / 4,
            first=found,
        )
        for place in range(4)
    ]
    queries = side("student").model_copy(update={"encoder": name, "recipe": name})
    return Measurement(
        dataset=name, protocol=name, metric=name, queries=queries, gallery=side("teacher"), gallery_photos=3,
        settings={name: name}, results=tuple(results), excluded={name: (name,)},
    )  # fmt: skip


def report_of(name: str) -> Report:
    measurement = hostile_measurement(name)
    return Report(compare([measurement]), [measurement], Choices(title=name, photos=(Path("/nowhere"),)))


@pytest.mark.parametrize("name", HOSTILE)
def test_a_name_is_only_text_on_the_page(name: str, tmp_path: Path) -> None:
    report_of(name).write_html(tmp_path / "page.html", is_embedded=False)
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    elements = Elements()
    elements.feed(page)
    assert not {tag for tag, _ in elements.found} & {"script", "iframe", "object", "embed", "link", "base", "form"}
    assert sum(tag == "style" for tag, _ in elements.found) == 1
    for tag, attributes in elements.found:
        assert not [each for each in attributes if each.startswith("on")]
        for each in ("src", "href"):
            if each in attributes:
                assert ALLOWED_ADDRESSES.fullmatch(attributes[each] or ""), (tag, attributes)
    # Nothing is lost either: the name stands there as it was, its unseen signs made visible.
    seen = (
        name.replace("\u202e", "\\u202e").replace("\n", "\\u000a").replace("\t", "\\u0009").replace("\x07", "\\u0007")
    )
    assert seen in "".join(elements.texts)
    assert "\u202e" not in page


def test_the_policy_allows_the_page_its_style_and_pictures_alone(tmp_path: Path) -> None:
    report_of("walls").write_html(tmp_path / "page.html", is_embedded=True)
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    style = re.search(r"<style>(.*?)</style>", page, re.DOTALL)
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', page)
    assert style and policy
    digest = base64.b64encode(hashlib.sha256(style[1].encode()).digest()).decode()
    allowed = policy[1].replace("&#39;", "'").split("; ")
    assert allowed[:3] == ["default-src 'none'", f"style-src 'sha256-{digest}'", "img-src data:"]
    assert "http" not in re.sub(r"http-equiv", "", page.replace(policy[1], ""))


@pytest.mark.parametrize("name", HOSTILE)
def test_a_name_stays_in_its_cell_of_markdown(name: str, tmp_path: Path) -> None:
    report_of(name).write_markdown(tmp_path / "table.md")
    renderer = MarkdownIt("commonmark").enable("table")
    page = Elements()
    page.feed(renderer.render((tmp_path / "table.md").read_text(encoding="utf-8")))
    tags = [tag for tag, _ in page.found]
    assert set(tags) <= {"p", "strong", "em", "table", "thead", "tbody", "tr", "th", "td", "ul", "li"}
    # Results: row, pair, kind, quality, bytes. Precision is not measured here.
    assert tags.count("td") == 5
    seen = (
        name.replace("\u202e", "\\u202e").replace("\n", "\\u000a").replace("\t", "\\u0009").replace("\x07", "\\u0007")
    )
    assert seen in "".join(page.texts)


@pytest.mark.parametrize("name", HOSTILE)
def test_a_name_is_no_command_of_latex(name: str) -> None:
    escaped = escape_latex(name)
    commands = set(re.findall(r"\\[a-zA-Z]+", escaped))
    assert commands <= {
        r"\textbackslash", r"\textasciicircum", r"\textasciitilde", r"\textless", r"\textgreater", r"\textbar",
        r"\textquotedbl", r"\textquotesingle", r"\textasciigrave", r"\textrightarrow",
    }  # fmt: skip
    bare = re.sub(r"\\[a-zA-Z]+\{\}|\\[{}$&#%_]", "", escaped)
    assert not re.search(r"[\\$&#%_^~]", bare)
    assert bare.count("{") == bare.count("}") == bare.count("{}")
    assert "\n" not in escaped
