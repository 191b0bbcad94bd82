"""The records of a CSV, one after the other, whatever is wrong with one of them."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass

UNCLOSED = "a quote that is not closed"


@dataclass(frozen=True)
class Record:
    """The fields of one record, and the number of its first line from 1. `problem`: why they cannot be used, or ""."""

    line: int
    fields: list[str]
    problem: str = ""


def read_records(lines: list[str]) -> Iterator[Record]:
    """The records of a CSV; the first one is the header, which says how many fields the others have.

    A quote that is not closed makes the lines behind it part of its field, to the next quote or the end of the file. A
    record of several lines that does not fit the header is therefore taken as one bad line, and reading goes on behind it.
    """
    feed = _Feed(lines, 0)
    reader = csv.reader(feed)
    width = 0
    while feed.position < len(lines):
        start = feed.position
        fields, problem = _next(reader, feed)
        if not problem and width and not _fits(fields, width):
            problem = f"{len(fields)} fields where the header has {width}"
        if problem and feed.position - start > 1:
            problem = UNCLOSED
            fields = _first_line(lines[start])
            feed = _Feed(lines, start + 1)
            reader = csv.reader(feed)
        yield Record(start + 1, fields[:width] if width and not problem else fields, problem)
        width = width or len(fields)


class _Feed:
    """The lines for a csv.reader, which asks for one behind the last only if a quote is open."""

    def __init__(self, lines: list[str], position: int) -> None:
        self._lines = lines
        self.position = position
        self.has_ended = False

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        if self.position == len(self._lines):
            self.has_ended = True
            raise StopIteration
        self.position += 1
        return self._lines[self.position - 1]


def _next(reader: Iterator[list[str]], feed: _Feed) -> tuple[list[str], str]:
    try:
        fields = next(reader)
    except StopIteration:
        return [], UNCLOSED
    except csv.Error as error:
        return [], str(error)
    return fields, UNCLOSED if feed.has_ended else ""


def _first_line(line: str) -> list[str]:
    try:
        return next(csv.reader([line]), [])
    except csv.Error:
        return []


def _fits(fields: list[str], width: int) -> bool:
    """Whether a record has as many fields as the header, not counting empty ones at its end; an empty line fits."""
    return not fields or len(fields) == width or (len(fields) > width and not any(fields[width:]))
