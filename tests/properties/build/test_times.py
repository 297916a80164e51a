"""Dates, times and zones against the rules of DICOM and FHIR."""

from __future__ import annotations

import re
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

from hypothesis import given
from hypothesis import strategies as st

from intu_fhir.build.times import (
    TimeRules,
    date_of,
    date_time,
    offset_of,
    split_date_time,
    time_of,
)

# FHIR R4 datatypes, dateTime.
FHIR = re.compile(
    r"([0-9]([0-9]([0-9][1-9]|[1-9]0)|[1-9]00)|[1-9]000)(-(0[1-9]|1[0-2])(-(0[1-9]|[1-2][0-9]|3[0-1])"
    r"(T([01][0-9]|2[0-3]):[0-5][0-9]:([0-5][0-9]|60)(\.[0-9]+)?"
    r"(Z|(\+|-)((0[0-9]|1[0-3]):[0-5][0-9]|14:00)))?)?)?"
)
ZONES = st.sampled_from(
    ["Europe/Berlin", "America/St_Johns", "Asia/Kathmandu", "Pacific/Kiritimati", "Asia/Tokyo"]
)
RAW = st.text(alphabet="0123456789.:+-& \\TZ\0Ｏ１x", max_size=20)


@given(RAW, RAW, RAW, ZONES | st.none(), st.booleans())
def test_any_text_makes_a_dateTime_or_none(  # noqa: N802
    day: str, time: str, zone: str, configured: str | None, partial: bool
) -> None:
    """Whatever a header says, what comes out is a FHIR dateTime or nothing."""
    how = TimeRules(ZoneInfo(configured) if configured else None, partial_dates=partial)
    value = date_time(day, time, zone, how).value
    assert not value or FHIR.fullmatch(value)


@given(st.dates(min_value=date(1, 1, 1), max_value=date(9999, 12, 30)), st.booleans())
def test_every_day_comes_through(day: date, dotted: bool) -> None:
    """Every day of the calendar comes out as itself, in both forms of DICOM."""
    raw = day.strftime("%Y").zfill(4) + day.strftime(".%m.%d" if dotted else "%m%d")
    assert date_of(raw).value == day.isoformat()


@given(st.integers(0, 99_999_999))
def test_only_days_of_the_calendar_are_dates(number: int) -> None:
    """Eight digits are a date exactly where the calendar has that day."""
    raw = f"{number:08}"
    try:
        datetime.strptime(raw, "%Y%m%d")
    except ValueError:
        exists = False
    else:
        exists = raw != "99991231"
    assert bool(date_of(raw).value) is exists


@given(st.times(), st.integers(0, 12))
def test_every_time_keeps_its_digits(moment: datetime, digits: int) -> None:
    """A time keeps its fraction digits, up to six."""
    whole = moment.strftime("%H%M%S")
    fraction = (moment.strftime("%f") * 2)[:digits]
    value = time_of(whole + (f".{fraction}" if fraction else "")).value
    assert value.replace(":", "") == whole + (f".{fraction[:6]}" if fraction else "")


@given(st.integers(-99, 99), st.integers(0, 99))
def test_only_offsets_of_the_world_count(hours: int, minutes: int) -> None:
    """Offsets reach from -12:00 to +14:00, with 59 minutes at most (PS3.3 C.12.1.1.8)."""
    sign = "-" if hours < 0 else "+"
    found = offset_of(f"{sign}{abs(hours):02}{minutes:02}").value
    total = abs(hours) * 60 + minutes
    valid = minutes < 60 and total <= (720 if sign == "-" else 840)
    assert found == (f"{sign}{abs(hours):02}:{minutes:02}" if valid else "")


@given(
    st.datetimes(min_value=datetime(1950, 1, 1), max_value=datetime(2037, 1, 1)),
    ZONES,
    st.sampled_from(["", "+0100", "-0330"]),
)
def test_the_moment_is_right(local: datetime, zone: str, offset: str) -> None:
    """What comes out is the moment that the header means: its own offset, else the zone's."""
    local = local.replace(microsecond=0)
    made = date_time(
        local.strftime("%Y%m%d"), local.strftime("%H%M%S"), offset, TimeRules(ZoneInfo(zone))
    )
    moment = datetime.fromisoformat(made.value)
    assert moment.replace(tzinfo=None) == local
    if offset:
        assert made.value.endswith(f"{offset[:3]}:{offset[3:]}")
    elif "skipped_local_time" not in made.problems:
        assert moment.astimezone(ZoneInfo(zone)).replace(tzinfo=None) == local


@given(st.datetimes(min_value=datetime(1900, 1, 1)), st.sampled_from(["", "+0200", "-0500"]))
def test_date_times_come_apart(moment: datetime, offset: str) -> None:
    """A DT value gives its date, time and offset."""
    raw = moment.strftime("%Y%m%d%H%M%S.%f") + offset
    day, time, zone = split_date_time(raw)
    assert (day, time, zone) == (raw[:8], raw[8:21], offset)


@given(st.integers(0, 86_399))
def test_leap_seconds_are_kept_or_lowered(seconds: int) -> None:
    """Second 60 stays as it is, or becomes 59 where the mapping asks."""
    time = (datetime(2016, 12, 31) + timedelta(seconds=seconds)).strftime("%H%M") + "60"
    kept = date_time("20161231", time, "+0000", TimeRules()).value
    lowered = date_time("20161231", time, "+0000", TimeRules(leap_second="lower")).value
    assert kept[17:19] == "60"
    assert lowered == f"{kept[:17]}59{kept[19:]}"
