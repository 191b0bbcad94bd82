"""Kills at random moments under a mixed load; `make soak` does 100."""

from __future__ import annotations

from pathlib import Path

from tests.crash.mixed_load import run

KILLS = 4
SEED = 20_261_121
"""With this seed a server is also killed while it starts."""


def test_after_kills_under_load_exactly_the_acknowledged_items_exist_and_are_found(tmp_path: Path) -> None:
    report = run(KILLS, SEED, tmp_path / "data", longest_load=0.6)
    assert report.faults == []
    assert report.kills == KILLS
    assert report.kills_while_starting >= 1
    # Without a load the test would show nothing.
    assert min(report.writes, report.deletes, report.searches) > 0, report
