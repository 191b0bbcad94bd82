"""Tables as LaTeX with the package booktabs."""

from __future__ import annotations

from collections.abc import Sequence

from askew_training.evaluate.reporting.table import Line, Table, Value
from askew_training.evaluate.reporting.wording import readable

_SIGNS = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "%": r"\%",
    "_": r"\_",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    "'": r"\textquotesingle{}",
    "`": r"\textasciigrave{}",
    "–": "--",
    "−": r"\textminus{}",
    "→": r"\textrightarrow{}",
    "×": r"\texttimes{}",
    "≈": r"$\approx$",
    "α": r"$\alpha$",
    "⁺": r"\textsuperscript{+}",
}
"""Signs that mean something to LaTeX, and those of our own words that pdflatex does not have."""
_HEAD = """% Needs \\usepackage{booktabs}, and before 2020 \\usepackage{textcomp}. Figures in per cent; written by `askew report`.
% Names outside Latin letters need lualatex or xelatex.
"""


def to_latex(tables: Sequence[Table]) -> str:
    """The tables as `table*` floats, each with its caption and its notes."""
    return _HEAD + "\n".join(_table(table) for table in tables)


def _table(table: Table) -> str:
    lines = [
        r"\begin{table*}",
        r"\centering",
        rf"\caption{{{escape(table.caption)}}}",
        rf"\begin{{tabular}}{{{'l' * len(table.label_heads)}{'r' * len(table.heads)}}}",
        r"\toprule",
        *_group_lines(table),
        _row([*map(escape, table.label_heads), *map(escape, table.heads)]),
        r"\midrule",
    ]
    for before, line in zip((None, *table.lines), table.lines, strict=False):
        if before is not None and line.is_theirs and not before.is_theirs:
            lines.append(r"\midrule")
        lines.append(_row([*(_label(line, label) for label in line.labels), *map(_value, line.values)]))
    lines += [r"\bottomrule", r"\end{tabular}"]
    if table.notes:
        lines += [r"\par\smallskip\footnotesize", *(f"{escape(note)}\\par" for note in table.notes)]
    return "\n".join([*lines, r"\end{table*}"]) + "\n"


def _group_lines(table: Table) -> list[str]:
    if not any(group.text for group in table.groups):
        return []
    place = len(table.label_heads) + 1
    names, rules = [""] * len(table.label_heads), []
    for group in table.groups:
        names.append(rf"\multicolumn{{{group.span}}}{{c}}{{{escape(group.text)}}}")
        if group.text:
            rules.append(rf"\cmidrule(lr){{{place}-{place + group.span - 1}}}")
        place += group.span
    return [_row(names), " ".join(rules)]


def _row(cells: Sequence[str]) -> str:
    # An empty group first, so that a row whose first cell begins with a bracket is no argument of the \\ before it.
    return "{}" + " & ".join(cells) + r" \\"


def _label(line: Line, label: str) -> str:
    return rf"\textit{{{escape(label)}}}" if line.is_theirs and label else escape(label)


def _value(value: Value | None) -> str:
    if value is None:
        return "--"
    figure = rf"\textbf{{{escape(value.text)}}}" if value.is_best else escape(value.text)
    beside = " ".join(part for part in (value.interval, value.verdict) if part)
    return figure + (rf" {{\scriptsize {escape(beside)}}}" if beside else "")


def escape(text: str) -> str:
    """A text that LaTeX prints as it is."""
    plain = readable(text)
    # Two hyphens would become one dash.
    return "".join(
        "{}-" if sign == "-" and before == "-" else _SIGNS.get(sign, sign)
        for before, sign in zip(" " + plain, plain, strict=False)
    )
