"""Values as people read them; nothing that is received can steer the terminal."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import click
import orjson

_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_AGE = re.compile(r"(\d{1,6})([mhdw])", re.ASCII)


def clean(value: object) -> str:
    """Return ``value`` as one printable line: an escape sequence in a name stays harmless."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in str(value))


def local_time(time: datetime | None) -> str:
    """Write a time in the zone of this machine, to the second."""
    return time.astimezone().strftime("%Y-%m-%d %H:%M:%S") if time else ""


def local_minute(time: datetime | None) -> str:
    """Write a time in the zone of this machine, to the minute."""
    return local_time(time)[:16]


def zone_name() -> str:
    """Return the name of this machine's time zone."""
    return datetime.now(UTC).astimezone().tzname() or "local"


def duration(seconds: float | None) -> str:
    """Write a length of time with the unit that suits it."""
    if seconds is None:
        return ""
    if seconds < 1:
        return f"{seconds * 1_000:.0f} ms"
    if seconds < 120:
        return f"{seconds:.1f} s"
    if seconds < 7_200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3_600:.1f} h"


def dicom_date(raw: str) -> str:
    """Write a DICOM date (DA, PS3.5 6.2) as 2024-02-29; what is not one stays as received."""
    return f"{raw[:4]}-{raw[4:6]}-{raw[6:]}" if len(raw) == 8 and raw.isdigit() else raw


def as_json(value: Any) -> str:
    """Write rows as JSON, times in UTC."""
    options = orjson.OPT_INDENT_2 | orjson.OPT_UTC_Z | orjson.OPT_NON_STR_KEYS
    return orjson.dumps(value, default=str, option=options).decode()


class Time(click.ParamType[datetime]):
    """A point in time: ``2024-03-01``, ``2024-03-01T12:30``, or how long ago, such as ``2h``."""

    name = "time"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> datetime:
        """Read a time; one without zone is meant in the zone of this machine."""
        if isinstance(value, datetime):
            return value
        try:
            if age := _AGE.fullmatch(value):
                return datetime.now(UTC) - timedelta(**{_UNITS[age[2]]: int(age[1])})
            return datetime.fromisoformat(value).astimezone(UTC)
        except (ValueError, OverflowError):
            self.fail(
                f"{value!r} is no time; write 2024-03-01, 2024-03-01T12:30 or how long ago: "
                "30m, 2h, 3d, 1w",
                param,
                ctx,
            )


TIME = Time()
