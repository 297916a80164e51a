"""Headers about time, whatever a server writes there."""

from __future__ import annotations

import math
from datetime import datetime, timedelta

from hypothesis import example, given
from hypothesis import strategies as st

from intu_fhir.deliver.answers import Answer
from intu_fhir.deliver.auth import clock_difference
from intu_fhir.deliver.waits import http_date, wait_asked_for
from tests.support.clock import START, FakeClock

HEADERS = ("retry-after", "x-ratelimit-reset", "ratelimit-reset", "ratelimit")
HUGE = "Mon, 1 Jan 99999999999999999999 00:00:00 GMT"

numbers = st.integers(0, 10**30).map(str) | st.sampled_from(["-1", "0", "1e9", "nan", "٣"])
zones = st.sampled_from(["GMT", "", "-0000", "EST"]) | st.integers().map(lambda n: f"{n:+05d}")
almost_dates = st.builds(
    "{}, {} {} {} {}:{}:{} {}".format,
    st.sampled_from(["Mon", "Fri", "x"]),
    numbers,
    st.sampled_from(["Jan", "Feb", "Dec", "0"]),
    numbers,
    numbers,
    numbers,
    numbers,
    zones,
)
plausible_dates = st.builds(
    "Mon, {} Jan {} {}:00:00 {}".format,
    st.integers(0, 40),
    st.integers(0, 12_000),
    st.integers(0, 30),
    zones,
)
values = st.text(max_size=60) | numbers | almost_dates | plausible_dates


@given(st.dictionaries(st.sampled_from(HEADERS), values))
@example({"retry-after": HUGE})
@example({"retry-after": "Mon, 1 Jan 0001 00:00:00 +2359"})
def test_every_wait_is_a_number_or_nothing(headers: dict[str, str]) -> None:
    """A server cannot make us fail, or wait a negative or an endless time, by what it writes."""
    wait = wait_asked_for(429, headers, START)
    assert wait is None or (math.isfinite(wait) and wait >= 0)


@given(values)
@example(HUGE)
def test_every_date_is_a_time_or_nothing(value: str) -> None:
    """A Date header of whatever kind says how far clocks differ, or nothing."""
    found = http_date(value)
    assert found is None or (isinstance(found, datetime) and found.tzinfo is not None)
    difference = clock_difference(Answer(200, {"date": value}, b""), FakeClock())
    assert difference == (found - START if found else timedelta())
