"""Work in a child process: what it returns, and what is known of it when it fails."""

from __future__ import annotations

import traceback

import pytest

from askew_server.processes import Limits, Say, run_in_child


def _fail_deep_inside(say: Say, number: int) -> None:
    say(number)
    _fail()


def _fail() -> None:
    raise ValueError("expected another number")


@pytest.mark.slow
def test_the_log_of_the_parent_can_show_where_a_child_failed() -> None:
    heard: list[int] = []
    with pytest.raises(ValueError, match="another number") as failed:
        run_in_child(_fail_deep_inside, heard.append, lambda: False, Limits(), 7)
    assert (heard, str(failed.value)) == ([7], "expected another number")
    assert "in _fail\n" in "".join(traceback.format_exception(failed.value))
