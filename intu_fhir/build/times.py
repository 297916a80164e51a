"""Dates and times of a header as FHIR dateTime (PS3.5 6.2: DA, TM, DT; FHIR R4 datatypes).

A FHIR time needs a zone: where none is known the date alone is published, never a guess.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime, timedelta, tzinfo
from typing import Literal, TypeAlias

_DATE = re.compile(r"(\d{4})(\.?)(\d\d)\2(\d\d)", re.ASCII)
_PARTIAL = re.compile(r"(\d{4})(\d\d)?", re.ASCII)
_TIME = re.compile(
    r"(\d\d)(?:(:?)(\d\d)(?:\2(\d\d)(?:\.(\d{0,20}))?)?)?",
    re.ASCII,
)
_ZONE = re.compile(r"([+-])(\d\d)(\d\d)", re.ASCII)
_DATE_TIME = re.compile(r"(\d{4,8})([\d.]*)([+-]\d*)?", re.ASCII)
_EARLIEST = date(1890, 1, 1)
_NEVER = "9999-12-31"
_FRACTION_DIGITS = 6

UnsureZone: TypeAlias = Literal["offset", "date"]


@dataclass(frozen=True, slots=True)
class TimeRules:
    """How a site wants unsure times.

    Args:
        zone: the site's own, for times whose header names none.
        today: dates after tomorrow are implausible; None = not judged.
    """

    zone: tzinfo | None = None
    today: date | None = None
    leap_second: Literal["keep", "lower"] = "keep"
    unsure_zone: UnsureZone = "offset"
    partial_dates: bool = False


@dataclass(frozen=True, slots=True)
class Moment:
    """A FHIR dateTime, or ``""``; ``problems`` are codes of what was wrong on the way."""

    value: str = ""
    problems: tuple[str, ...] = ()


def date_of(raw: str, rules: TimeRules | None = None) -> Moment:
    """Return a DA value as a FHIR date; the form of ACR-NEMA, 2024.01.02, is read as well."""
    rules = rules or TimeRules()
    raw = raw.strip(" \0")
    if not raw:
        return Moment()
    found = _DATE.fullmatch(raw)
    if found is None:
        return _partial(raw, rules)
    value = "-".join(found.group(1, 3, 4))
    try:
        day = date.fromisoformat(value)
    except ValueError:
        return Moment("", ("invalid_date",))
    if value == _NEVER:
        return Moment("", ("invalid_date",))
    late = rules.today is not None and day > rules.today + timedelta(days=2)
    return Moment(value, ("implausible_date",) if day < _EARLIEST or late else ())


def _partial(raw: str, rules: TimeRules) -> Moment:
    found = _PARTIAL.fullmatch(raw)
    if found is None or found[1] == "0000" or not "01" <= (found[2] or "01") <= "12":
        return Moment("", ("invalid_date",))
    if not rules.partial_dates:
        return Moment("", ("partial_date",))
    return Moment("-".join(part for part in found.groups() if part))


def time_of(raw: str) -> Moment:
    """Return a TM value as ``HH:MM:SS`` with the fraction it has, at most 6 digits."""
    raw = raw.strip(" \0")
    if not raw:
        return Moment()
    found = _TIME.fullmatch(raw)
    if found is None:
        return Moment("", ("invalid_time",))
    hour, _, minute, second, fraction = found.groups()
    if minute is None:
        return Moment("", ("time_of_hour",) if hour < "24" else ("invalid_time",))
    if hour > "23" or minute > "59" or (second or "00") > "60":
        return Moment("", ("invalid_time",))
    value = f"{hour}:{minute}:{second or '00'}"
    if fraction:
        value += f".{fraction[:_FRACTION_DIGITS]}"
    return Moment(value, ("fraction_cut",) if len(fraction or "") > _FRACTION_DIGITS else ())


def offset_of(raw: str) -> Moment:
    """Return Timezone Offset From UTC (0008,0201) as ``±HH:MM``.

    ``unknown_zone`` leaves room for a configured zone, ``invalid_zone`` does not.
    """
    raw = raw.strip(" \0")
    if not raw:
        return Moment()
    found = _ZONE.fullmatch(raw)
    if found is None or raw == "-0000":
        return Moment("", ("unknown_zone",))
    sign, hours, minutes = found.groups()
    total = int(hours) * 60 + int(minutes)
    if minutes > "59" or total > (12 * 60 if sign == "-" else 14 * 60):
        return Moment("", ("invalid_zone",))
    return Moment(f"{sign}{hours}:{minutes}")


def date_time(date_raw: str, time_raw: str, zone_raw: str, rules: TimeRules) -> Moment:
    """Return a date and a time of the same header as a FHIR dateTime.

    Args:
        zone_raw: Timezone Offset From UTC of that header.
    """
    day = date_of(date_raw, rules)
    if not day.value or len(day.value) < len("2024-01-02"):
        return day
    time = time_of(time_raw)
    if not time.value:
        return Moment(day.value, (*day.problems, *time.problems))
    value, problems = time.value, (*day.problems, *time.problems)
    if rules.leap_second == "lower" and value[6:8] == "60":
        value, problems = f"{value[:6]}59", (*problems, "leap_second")
    zone = _offset(day.value, value, zone_raw, rules)
    if not zone.value:
        return Moment(day.value, (*problems, *zone.problems))
    return Moment(f"{day.value}T{value}{zone.value}", (*problems, *zone.problems))


def earliest(values: Iterable[str]) -> str:
    """Return the earliest of FHIR dateTimes, ``""`` where there is none.

    Times are compared as the instants they are, whatever their offsets. A day without time is the
    earliest only where it is before the day of every time.
    """
    timed: list[str] = []
    days: list[str] = []
    for value in values:
        (timed if "T" in value else days).append(value)
    first, day = min(timed, key=_instant, default=""), min(days, default="")
    return day if day and (not first or day < first[: len(day)]) else first


def _instant(value: str) -> tuple[int, str]:
    """Return seconds of UTC, and the digits of the fraction."""
    clock, fraction = value[11:19], value[19:-6].removeprefix(".")
    hours, minutes = int(value[-5:-3]), int(value[-2:])
    offset = (hours * 60 + minutes) * (-60 if value[-6] == "-" else 60)
    hour, minute, second = map(int, clock.split(":"))
    local = date.fromisoformat(value[:10]).toordinal() * 86_400
    return local + hour * 3_600 + minute * 60 + second - offset, fraction


def split_date_time(raw: str) -> tuple[str, str, str]:
    """Take a DT value apart into date, time and its own offset from UTC."""
    found = _DATE_TIME.fullmatch(raw.strip(" \0"))
    return (found[1], found[2], found[3] or "") if found else (raw, "", "")


def _offset(day: str, time: str, zone_raw: str, rules: TimeRules) -> Moment:
    """Return the offset that the header names, else that of the configured zone."""
    named = offset_of(zone_raw)
    if "invalid_zone" in named.problems:
        return named
    local = _local_offset(day, time, rules)
    if not named.value:
        if not local.value and not local.problems:
            return Moment("", (*named.problems, "time_without_zone"))
        return Moment(local.value, (*named.problems, *local.problems))
    differs = not local.problems and local.value not in {"", named.value}
    return Moment(named.value, ("zone_disagrees",) if differs else ())


def _local_offset(day: str, time: str, rules: TimeRules) -> Moment:
    """Return what the configured zone had at a local time (its clock may be changed then)."""
    if rules.zone is None:
        return Moment()
    second = min(int(time[6:8]), 59)
    first = datetime.fromisoformat(f"{day}T{time[:6]}{second:02}").replace(tzinfo=rules.zone)
    before, after = first.utcoffset(), first.replace(fold=1).utcoffset()
    if before is None or after is None:
        return Moment()
    if before == after:
        return _written(before)
    if rules.unsure_zone == "date":
        return Moment("", ("ambiguous_local_time" if before > after else "skipped_local_time",))
    if before > after:
        return Moment(_written(before).value, ("ambiguous_local_time",))
    return Moment(_written(after).value, ("skipped_local_time",))


def _written(offset: timedelta) -> Moment:
    """Write an offset; one with seconds, as before 1900, has no FHIR form."""
    seconds = int(offset.total_seconds())
    if seconds % 60 or abs(seconds) > 14 * 3600:
        return Moment("", ("invalid_zone",))
    minutes = abs(seconds) // 60
    return Moment(f"{'-' if seconds < 0 else '+'}{minutes // 60:02}:{minutes % 60:02}")
