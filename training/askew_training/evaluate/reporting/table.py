"""A table before it is HTML, LaTeX or Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Value:
    """A figure. `interval`: beside it, smaller; `is_best`: in bold; `verdict`: a word below it."""

    text: str
    interval: str = ""
    is_best: bool = False
    verdict: str = ""


@dataclass(frozen=True)
class Heading:
    """A heading over the columns of one dataset. `span`: how many they are."""

    text: str
    span: int


@dataclass(frozen=True)
class Line:
    """A line. `labels`: as many as `Table.label_heads`. `values`: as many as `Table.heads`; None where nothing was measured.

    `is_theirs`: published by others, under their conditions.
    """

    labels: tuple[str, ...]
    values: tuple[Value | None, ...]
    is_theirs: bool = False


@dataclass(frozen=True)
class Table:
    """Lines under two levels of headings. `notes`: sentences below it. `name_at`: which of the labels names the line."""

    caption: str
    label_heads: tuple[str, ...]
    groups: tuple[Heading, ...]
    heads: tuple[str, ...]
    lines: tuple[Line, ...]
    notes: tuple[str, ...] = ()
    name_at: int = 1


def grouped(names: Sequence[str]) -> tuple[Heading, ...]:
    """One heading for each run of equal names."""
    headings: list[Heading] = []
    for name in names:
        if headings and headings[-1].text == name:
            headings[-1] = Heading(name, headings[-1].span + 1)
        else:
            headings.append(Heading(name, 1))
    return tuple(headings)
