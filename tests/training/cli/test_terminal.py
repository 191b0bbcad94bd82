"""What commands print on a terminal."""

from __future__ import annotations

import pytest
from rich.table import Table

from askew_training.cli.terminal import print_table


def test_names_in_a_table_are_printed_as_they_are_and_steer_no_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    name = 'a,"b" [red]ü[/x] :smile: 山'
    lines = []
    for text in (name, f"{name}\x1b[2J\x07\x9b1m\u202e"):
        table = Table(title=text)
        table.add_column(text)
        table.add_row(text)
        print_table(table)
        out = capsys.readouterr().out
        assert out.count(name) == 3 and all(sign.isprintable() or sign == "\n" for sign in out)
        lines.append(len(out.splitlines()))
    assert lines[0] == lines[1]
