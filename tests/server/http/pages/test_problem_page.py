"""The pages to which the `type` of a problem leads: words of its own for each kind, HTML for browsers, text for programs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from askew_client.contract.problems import ProblemKind
from askew_server.http.app import all_routes
from askew_server.http.pages.problem_page import problem_html, problem_text, wants_html
from askew_server.http.pages.problem_words import WORDS, words_of
from tests.support.problem_shape import assert_problem
from tests.support.running_server import RunningServer

BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"


def test_every_kind_has_words_of_its_own() -> None:
    missing = [kind.slug for kind in ProblemKind if kind not in WORDS]
    assert missing == [], "write their words in askew_server/http/pages/problem_words.py"
    for part in ("meaning", "example", "remedy"):
        texts = [getattr(words, part) for words in WORDS.values()]
        assert len(set(texts)) == len(texts), f"two kinds have the same {part}"
        assert all(len(text) > 20 and text.endswith(".") for text in texts)


def test_a_kind_without_words_still_has_a_page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("askew_server.http.pages.problem_words.WORDS", {})
    words = words_of(ProblemKind.WOULD_NOT_FIT)
    assert words.meaning == f"{ProblemKind.WOULD_NOT_FIT.title}."
    assert "would-not-fit" in words.example and "`detail`" in words.remedy


@pytest.mark.parametrize("kind", ProblemKind, ids=lambda kind: kind.slug)
def test_each_kind_is_explained_to_browsers_and_to_programs(server: RunningServer, kind: ProblemKind) -> None:
    words = WORDS[kind]
    page = server.http.get(f"/problems/{kind.slug}", headers={"Accept": BROWSER})
    assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert page.text.count(f"<h1>{kind.title}</h1>".replace("'", "&#x27;")) == 1
    for accept in ("*/*", "text/plain", "application/json", ""):
        text = server.http.get(f"/problems/{kind.slug}", headers={"Accept": accept})
        assert (text.status_code, text.headers["content-type"]) == (200, "text/plain; charset=utf-8")
        assert text.headers["vary"] == page.headers["vary"] == "Accept"
        for part in (kind.title, str(kind.status), words.meaning, words.example, words.remedy):
            assert part in text.text
    assert problem_text(kind) != problem_html(kind)
    assert "`" not in problem_html(kind)


def test_an_unknown_kind_is_no_page(server: RunningServer) -> None:
    for path in ("/problems/none", "/problems/", "/problems/<script>"):
        assert_problem(server.http.get(path, headers={"Accept": BROWSER}), 404, "unknown-path")


@pytest.mark.parametrize(
    ("accept", "is_html"),
    [
        (BROWSER, True), ("text/html", True), ("TEXT/HTML;q=0.5", True), ("*/*", False), ("", False), ("text/plain", False),
        ("text/plain, text/html;q=0.5", False), ("text/html;q=0", False), ("text/html;q=x", False), ("text/*", False),
    ],
)  # fmt: skip
def test_html_is_for_those_who_ask_for_it(accept: str, is_html: bool) -> None:
    assert wants_html(accept) is is_html


def test_the_calls_that_the_words_name_exist() -> None:
    paths = {route.path_format for route in all_routes()}
    for words in WORDS.values():
        for path in re.findall(
            r"(?:GET|PUT|POST|DELETE) (/[\w/{}.]+)", f"{words.meaning} {words.example} {words.remedy}"
        ):
            wanted = path.replace("/birds", "/{gallery}")
            assert wanted in paths, path


def test_every_html_answer_has_a_strict_policy(server: RunningServer) -> None:
    """Each route that answers GET without a key, asked as a browser does, with plain names in the place of parameters."""
    found = []
    page = Path(__file__).parents[4] / "server" / "askew_server" / "http" / "page"
    paths = {route.path_format for route in all_routes() if "GET" in (route.methods or ())}
    names = [path.name for path in page.iterdir()]
    asked = {path.replace("{slug}", kind.slug) for path in paths for kind in ProblemKind}
    asked = {path.replace("{path}", name) for path in asked for name in names}
    for path in [*sorted(path for path in asked if not path.startswith("/v1/")), "/nowhere", "/v1/galleries/none"]:
        answer = server.http.get(path, headers={"Accept": BROWSER})
        if not answer.headers.get("content-type", "").startswith("text/html"):
            continue
        found.append(path)
        policy = answer.headers["content-security-policy"].split("; ")
        assert policy[0] == "default-src 'none'", path
        assert {"base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'"} <= set(policy), path
        for part in policy:
            assert not re.search(r"unsafe-inline|'unsafe-eval'|https?:|\*", part), (path, part)
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "<style" not in answer.text and re.search(r"\s(style|on\w+)=", answer.text) is None, path
        assert re.findall(r"<script(?![^>]*\ssrc=)", answer.text) == [], path
        assert not re.search(r'(?:src|href)="(?:https?:)?//', answer.text), path
    assert {"/", "/admin", "/docs", "/problems/space-mismatch", "/page/docs.html"} <= set(found), (
        "build the pages: make web"
    )
