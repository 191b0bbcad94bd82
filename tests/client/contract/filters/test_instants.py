"""Which texts are dates, and which moments they are."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from askew_client.contract.filters.instants import instant_of

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@given(st.datetimes(timezones=st.timezones() | st.just(UTC)))
def test_the_moment_is_the_one_that_python_reads(moment: datetime) -> None:
    text = moment.isoformat()
    # Historical offsets have seconds, which ISO 8601 has not.
    if moment.utcoffset().total_seconds() % 60:  # type: ignore[union-attr]
        assert instant_of(text) is None
        return
    try:
        since = moment - EPOCH
    except OverflowError:
        return
    assert instant_of(text) == (86_400 * since.days + since.seconds, 1_000 * since.microseconds)


@pytest.mark.parametrize(
    ("text", "full"),
    [
        ("2011", "2011-01-01T00:00:00+00:00"),
        ("2011-05", "2011-05-01T00:00:00+00:00"),
        ("2011-05-01", "2011-05-01T00:00:00+00:00"),
        ("2011-05-01T12", "2011-05-01T12:00:00+00:00"),
        ("2011-05-01 12:30", "2011-05-01T12:30:00+00:00"),
        ("2011-05-01t12:30:00z", "2011-05-01T12:30:00+00:00"),
        ("2011-05-01T12:30:00,5-0330", "2011-05-01T16:00:00.500000+00:00"),
        ("2011-05-01T12:30+02", "2011-05-01T10:30:00+00:00"),
        ("2012-02-29", "2012-02-29T00:00:00+00:00"),
    ],
)
def test_a_shorter_text_is_its_first_moment_in_utc(text: str, full: str) -> None:
    since = datetime.fromisoformat(full) - EPOCH
    assert instant_of(text) == (86_400 * since.days + since.seconds, 1_000 * since.microseconds)


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            "11",
            "20110501",
            "2011-5-1",
            "2011-13",
            "2011-02-29",
            "0000-01-01",
            "02011",
            "-2011",
            "+2011",
            "2011-W05",
        ),
        *(
            "2011-05-01T24:00",
            "2011-05-01T12:60",
            "2011-05-01T12:30:60",
            "2011-05-01Z",
            "2011Z",
            "2011-05-01T12:30+24:00",
        ),
        *(
            " 2011",
            "2011\n",
            "2011-05-01T12:30:00.",
            "2011-05-01T12:30:00.1234567890",
            "٢٠١١",
            "2011-05-01T12:30 +02:00",
        ),
    ],
)
def test_other_texts_are_no_dates(text: str) -> None:
    assert instant_of(text) is None
