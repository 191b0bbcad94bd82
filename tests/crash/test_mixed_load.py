"""10 kills at seeded random moments under a mixed load; `make soak` does 100."""

from __future__ import annotations

from pathlib import Path

from tests.crash.mixed_load import run


def test_after_ten_kills_exactly_what_was_acknowledged_is_there_and_found(tmp_path: Path) -> None:
    report = run(kills=10, seed=20_261_123, data=tmp_path / "data")
    assert report.faults == []
    assert report.kills == 10
    # The load was one: else the test has shown nothing.
    assert min(report.writes, report.deletes, report.searches) > 20, report
