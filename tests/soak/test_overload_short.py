"""The overload test of `make soak`, which takes half an hour there, for twelve seconds."""

from __future__ import annotations

import pytest

from tests.soak import overload


@pytest.mark.alone
def test_at_twice_the_sustainable_load_every_answer_is_correct_or_a_429(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASKEW_LOG_LEVEL", "error")
    # A low limit, so that it is also reached on a machine that is busy with other tests.
    monkeypatch.setenv("ASKEW_MAX_WAITING", "64")
    report = overload.run(minutes=1 / 5, items=2_000, dim=256)
    assert report.problems == []
    assert report.statuses[429] > 0
    assert report.statuses[200] > 500
