"""The page about a kind of problem, to which the `type` of a problem leads: HTML for browsers, text for programs."""

from __future__ import annotations

import html
import re
from importlib.resources import files

from askew_client.contract.problems import ProblemKind
from askew_server.http.pages.problem_words import words_of

STYLE = "style.css"
"""The address of the style, beside those of the pages."""
POLICY = "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"


def problem_text(kind: ProblemKind) -> str:
    """The page as plain text."""
    words = words_of(kind)
    return (
        f"{kind.title}\n{kind.slug}, HTTP {kind.status}\n\nWhat it means: {words.meaning}\n\nAn example: {words.example}\n\n"
        f"What to do: {words.remedy}\n\nThe `detail` of the problem says what was expected, what came, and what to do.\n"
    )


def problem_html(kind: ProblemKind) -> str:
    """The page as HTML, with a style at a relative address and nothing else to fetch."""
    words = words_of(kind)
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{html.escape(kind.title)} – Askew</title>
<link rel="stylesheet" href="{STYLE}">
</head>
<body>
<main>
<h1>{html.escape(kind.title)}</h1>
<p class="hint"><code>{kind.slug}</code>, HTTP {kind.status}</p>
<h2>What it means</h2>
<p>{_marked_up(words.meaning)}</p>
<h2>An example</h2>
<p>{_marked_up(words.example)}</p>
<h2>What to do</h2>
<p>{_marked_up(words.remedy)}</p>
<p class="hint">The <code>detail</code> of the problem says what was expected, what came, and what to do in this case. <a href="../docs">All
calls of the API</a></p>
</main>
</body>
</html>
"""


def problem_style() -> bytes:
    """The style of the pages."""
    return (files("askew_server.http.pages") / "problem_page.css").read_bytes()


def wants_html(accept: str) -> bool:
    """Whether a header Accept prefers HTML to plain text, as browsers' do. `*/*` alone does not."""
    weights = {"text/html": 0.0, "text/plain": 0.0}
    for part in accept.lower().split(","):
        media_type, *parameters = (each.strip() for each in part.split(";"))
        if media_type in weights:
            quality = next((each[2:] for each in parameters if each.startswith("q=")), "1")
            weights[media_type] = _quality(quality)
    return weights["text/html"] > 0 and weights["text/html"] >= weights["text/plain"]


def _quality(text: str) -> float:
    return float(text) if re.fullmatch(r"[01](\.\d{0,3})?", text) else 0.0


def _marked_up(text: str) -> str:
    """A text as HTML; what stands between backticks becomes code."""
    return re.sub("`([^`]+)`", r"<code>\1</code>", html.escape(text))
