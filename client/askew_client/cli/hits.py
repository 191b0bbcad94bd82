"""What `askew search` prints: the hits, and what a reader should know about their scores."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from pydantic import JsonValue

    from askew_client.calls.search import SearchParams
    from askew_client.contract.search import Hit, SearchAnswer


def filter_of(text: str) -> dict[str, JsonValue]:
    """The condition in --filter. Raises BadParameter if it is no JSON object; the server checks what it says."""
    example = """--filter '{"field": "kind", "eq": "landmark"}'"""
    try:
        condition = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise typer.BadParameter(
            f"expected a condition as JSON, such as {example}, got {text[:80]!r} ({error})"
        ) from None
    if not isinstance(condition, dict):
        raise typer.BadParameter(f"expected a condition as a JSON object, such as {example}, got {text[:80]!r}")
    return condition


def print_hits(answer: SearchAnswer) -> None:
    """A table of the hits, best first; with the group of each, if they are grouped."""
    from rich.console import Console
    from rich.table import Table

    if not answer.hits:
        return
    is_grouped = any(hit.group is not None for hit in answer.hits)
    table = Table("rank", "id", "score", *(["group"] if is_grouped else []), "title", box=None)
    for rank, hit in enumerate(answer.hits, start=1):
        group = [_plain(_text(hit.group))] if is_grouped else []
        table.add_row(str(rank), _plain(hit.id), f"{hit.score:.4f}", *group, _plain(_title(hit)))
    Console().print(table)


def print_notes(answer: SearchAnswer, options: SearchParams) -> None:
    """What the scores do not say: that nothing is near enough, or that nothing was asked to be."""
    gallery = f"gallery {answer.gallery!r}"
    chosen = " that the filter and the grouping leave" if options.get("filter") or options.get("group_by") else ""
    threshold = _threshold(options)
    if not answer.hits:
        if threshold is None:
            typer.echo(f"No hits: {gallery} has no items{chosen}.")
        else:
            typer.echo(
                f"No hits: no item of {gallery}{chosen} passes {threshold}. Without it, the nearest items are shown, however "
                "low their scores."
            )
    elif threshold is None:
        typer.echo(
            "These are the nearest items, however low their scores; --max-false-match 0.01 leaves out what is probably wrong."
        )


def _threshold(options: SearchParams) -> str | None:
    share, score = options.get("max_false_match"), options.get("score_threshold")
    if share is not None:
        return f"--max-false-match {share:g}"
    return None if score is None else f"--score-threshold {score:g}"


def _title(hit: Hit) -> str:
    return _text(hit.payload.get("title", ""))


def _text(value: JsonValue) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _plain(text: str) -> str:
    """Text from a server, safe for a terminal: without control characters and markup."""
    from rich.markup import escape

    return escape("".join(character for character in text if character.isprintable()))
