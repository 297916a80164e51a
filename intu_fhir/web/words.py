"""Values as people read them on a page."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from intu_fhir.db.delivery_report import DeliveryRow
from intu_fhir.model.archive_commitment import PROMISES
from intu_fhir.model.cause import reason_of
from intu_fhir.model.destination import DOWN, LATER, PAUSED
from intu_fhir.model.finding import beside
from intu_fhir.model.work import RETRYING

GLYPHS: Mapping[str, str] = {
    "delivered": "✓",
    "done": "✓",
    "valid": "✓",
    "settled": "✓",
    "success": "✓",
    "up": "✓",
    "waiting": "○",
    "receiving": "◔",
    "building": "◑",
    "delivering": "▷",
    "running": "▶",
    "retrying": "↻",
    "retry": "↻",
    "minor": "!",
    "failed": "✕",
    "dead": "✕",
    "down": "✕",
    "invalid": "✕",
    "serious": "✕",
    "major": "✕",
    "held": "‖",
    "paused": "‖",
    "later": "↻",
    "failing": "!",
    "filtered": "⌀",
    "staged": "▫",
    "none": "·",
    "unknown": "?",
}
"""A shape for each state, so that colour is never the only thing that tells."""


def glyph(state: str) -> str:
    """Return the shape of a state."""
    return GLYPHS.get(state, "•")


def moment(time: datetime | None) -> str:
    """Write a time in the zone of this machine, to the second."""
    return time.astimezone().strftime("%Y-%m-%d %H:%M:%S") if time else ""


def minute(time: datetime | None) -> str:
    """Write a time in the zone of this machine, to the minute."""
    return time.astimezone().strftime("%Y-%m-%d %H:%M") if time else ""


def machine_time(time: datetime | None) -> str:
    """Write a time for the ``datetime`` attribute."""
    return time.astimezone(UTC).isoformat(timespec="seconds") if time else ""


def zone_name() -> str:
    """Return the name of this machine's time zone."""
    return datetime.now(UTC).astimezone().tzname() or "local time"


def duration(seconds: float | None) -> str:
    """Write a length of time with the unit that suits it."""
    if seconds is None:
        return ""
    for limit, divisor, unit in _UNITS:
        if seconds < limit:
            return f"{seconds / divisor:.3g} {unit}"
    return f"{seconds / 86_400:.0f} d"


_UNITS = (
    (0.9995, 0.001, "ms"),
    (99.95, 1.0, "s"),
    (5_970.0, 60.0, "min"),
    (172_800.0, 3_600.0, "h"),
)


def age(time: datetime | None, now: datetime) -> str:
    """Write how long ago something was, or how long it takes until it is."""
    if time is None:
        return ""
    seconds = (now - time).total_seconds()
    return f"{_whole(seconds)} ago" if seconds >= 0 else f"in {_whole(-seconds)}"


def _whole(seconds: float) -> str:
    for limit, divisor, unit in ((100, 1, "s"), (6_000, 60, "min"), (172_800, 3_600, "h")):
        if seconds < limit:
            return f"{seconds / divisor:.0f} {unit}"
    return f"{seconds / 86_400:.0f} d"


def number(value: float) -> str:
    """Write a number with thin spaces between thousands."""
    whole = f"{value:,.0f}" if value == int(value) or value >= 100 else f"{value:.3g}"
    return whole.replace(",", "\N{NARROW NO-BREAK SPACE}")


def many(count: int, one: str, more: str = "") -> str:
    """Write a count with its noun."""
    return f"{number(count)} {one if count == 1 else more or one + 's'}"


def dicom_date(raw: str) -> str:
    """Write a DICOM date (DA, PS3.5 6.2) as 2024-02-29; what is not one stays as received."""
    return f"{raw[:4]}-{raw[4:6]}-{raw[6:]}" if re.fullmatch(r"\d{8}", raw, re.ASCII) else raw


def person_name(raw: str) -> str:
    """Write a person name (PN, PS3.5 6.2.1) as ``Family, Given``; only the first group."""
    family, _, given = raw.partition("=")[0].partition("^")
    return ", ".join(part for part in (family, " ".join(given.split("^")).strip()) if part)


def visible(value: Any) -> str:
    """Return a text with what cannot be printed replaced, so that nothing hides in it.

    Marks that turn the direction of text are among these (UAX 9).
    """
    text = str(value)
    return "".join(c if c.isprintable() or c == "\n" else "\N{REPLACEMENT CHARACTER}" for c in text)


def promise(row: DeliveryRow) -> str:
    """Say whether a PACS has promised to keep a study, and since when."""
    words = PROMISES.get(row.commitment, "")
    return f"{words} {moment(row.committed_at)}" if words and row.committed_at else words


_WAITS = {
    PAUSED: "{} is paused",
    DOWN: "{} does not answer",
    LATER: "{} asked to wait",
    RETRYING: "tried again at {}",
}


def waits(found: Iterable[tuple[str, str]]) -> str:
    """Say which destinations keep a study waiting, and why."""
    return ", ".join(_WAITS[why].format(destination) for destination, why in found)


def without_commands(detail: str) -> str:
    """Leave out what a line says to type: the page has a link or a button for it."""
    return reason_of(detail) if "`" in detail else detail


FILTERS: Mapping[str, Callable[..., Any]] = {
    "beside": beside,
    "promise": promise,
    "moment": moment,
    "minute": minute,
    "machine_time": machine_time,
    "duration": duration,
    "age": age,
    "number": number,
    "many": many,
    "dicom_date": dicom_date,
    "person_name": person_name,
    "visible": visible,
    "without_commands": without_commands,
}
