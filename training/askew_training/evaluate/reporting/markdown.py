"""Tables as GitHub-flavoured Markdown."""

from __future__ import annotations

import re
from collections.abc import Sequence

from askew_training.evaluate.reporting.table import Line, Table, Value
from askew_training.evaluate.reporting.wording import readable

_SPECIAL = re.compile(r"([\\`*_{}\[\]<>|~&$#@]|(?<=:)/(?=/)|(?<=www)\.)")
"""What begins markup, a mention, an entity or a link."""
_LISTED = re.compile(r"^(\d*)([-+.)=])")


def to_markdown(tables: Sequence[Table]) -> str:
    """The tables below one another, each with its caption and its notes."""
    return "\n".join(_table(table) for table in tables)


def _table(table: Table) -> str:
    of_column = [group.text for group in table.groups for _ in range(group.span)]
    heads = [
        escape(group if group == head else f"{group} {head}".strip())
        for group, head in zip(of_column, table.heads, strict=True)
    ]
    rows = [
        [*(escape(head) for head in table.label_heads), *heads],
        [*("---" for _ in table.label_heads), *("---:" for _ in table.heads)],
        *([*(_label(line, label) for label in line.labels), *map(_value, line.values)] for line in table.lines),
    ]
    lines = [f"**{escape(table.caption)}**", "", *(f"| {' | '.join(row)} |" for row in rows)]
    if table.notes:
        lines += ["", *(f"- {_point(note)}" for note in table.notes)]
    return "\n".join(lines) + "\n"


def _label(line: Line, label: str) -> str:
    return f"*{escape(label)}*" if line.is_theirs and label else escape(label)


def _value(value: Value | None) -> str:
    if value is None:
        return "–"
    figure = f"**{escape(value.text)}**" if value.is_best else escape(value.text)
    return " ".join(part for part in (figure, escape(value.interval), escape(value.verdict)) if part)


def escape(text: str) -> str:
    """A text that a renderer of Markdown shows as it is, within one cell of a table."""
    return _SPECIAL.sub(r"\\\1", readable(text))


def _point(note: str) -> str:
    """A point of a list, which begins no list of its own."""
    return _LISTED.sub(r"\1\\\2", escape(note))
