"""Times, dates and durations as people write and read them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import click
import pytest

from intu_fhir.cli.text import TIME, as_json, dicom_date, duration


def test_how_long_ago() -> None:
    """An age such as 2h counts back from now."""
    for text, age in (("30m", timedelta(minutes=30)), ("2h", timedelta(hours=2))):
        read = TIME.convert(text, None, None)
        assert abs(datetime.now(UTC) - age - read) < timedelta(seconds=5)
    assert TIME.convert("1w", None, None) < TIME.convert("6d", None, None)


def test_points_in_time() -> None:
    """ISO times with and without zone are read; without one the machine's zone counts."""
    assert TIME.convert("2024-03-01T12:00:00Z", None, None) == datetime(2024, 3, 1, 12, tzinfo=UTC)
    local = datetime(2024, 3, 1, 12, 30).astimezone()
    assert TIME.convert("2024-03-01 12:30", None, None) == local
    assert TIME.convert("2024-03-01", None, None) == datetime(2024, 3, 1).astimezone()


@pytest.mark.parametrize("text", ["yesterday", "2y", "-3h", "", "2024-13-01", "12:30"])
def test_what_is_no_time(text: str) -> None:
    """Anything else is refused with the ways to write it."""
    with pytest.raises(click.BadParameter, match="2h"):
        TIME.convert(text, None, None)


def test_durations_have_the_unit_that_suits() -> None:
    """Milliseconds to hours."""
    texts = [duration(seconds) for seconds in (None, 0.0123, 5, 600, 86_400)]
    assert texts == ["", "12 ms", "5.0 s", "10 min", "24.0 h"]


def test_dicom_dates() -> None:
    """A DA value is written with dashes, anything else stays as received."""
    assert [dicom_date(raw) for raw in ("20240229", "2024.02.29", "")] == [
        "2024-02-29",
        "2024.02.29",
        "",
    ]


def test_json_times_are_utc() -> None:
    """Times end with Z."""
    assert '"2024-03-01T12:00:00Z"' in as_json([datetime(2024, 3, 1, 12, tzinfo=UTC)])
