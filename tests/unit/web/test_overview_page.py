"""What the first page makes of its numbers."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from intu_fhir.db.activity import Activity
from intu_fhir.db.overview import QueueCount
from intu_fhir.model.work import AGGREGATE, BUILD, DEAD, DELIVER, DELIVERED
from intu_fhir.settings.schema import Configuration
from intu_fhir.web.charts import Series, bars, day_until
from intu_fhir.web.pages.overview import failed_tries, steps
from intu_fhir.web.pages.preview import release_of
from intu_fhir.web.scales import COUNTS, LENGTHS, Scale
from intu_fhir.web.words import zone_name
from tests.support.clock import START
from tests.unit.web.test_advice import LONG_AGO, NOTHING

RATES = {"associations": 4, "instances": 900, AGGREGATE: 3, BUILD: 2, DELIVERED: 1}


def _failing(destinations: int) -> Activity:
    failures = {f"to{n}": {0: n + 1, 3_600: 1} for n in range(destinations)}
    return Activity(instances={}, studies={}, failures=failures, latencies=[], share=1.0)


def test_each_failing_destination_has_a_colour() -> None:
    """Of more than six the five with most failures are named, and the others are one."""
    assert [one.name for one in failed_tries(_failing(6))] == [f"to{n}" for n in range(6)]
    named = failed_tries(_failing(9))
    assert [one.name for one in named] == ["to4", "to5", "to6", "to7", "to8", "4 others"]
    assert named[-1].values == {0: 1 + 2 + 3 + 4, 3_600: 4}


def test_each_step_has_a_rate_and_the_age_of_its_oldest() -> None:
    """Receive tells of associations, stage of instances; both since when the oldest waits."""
    seen = replace(
        NOTHING,
        rates=RATES,
        associations_open=1,
        associations_since=LONG_AGO,
        undescribed=2,
        undescribed_since=START,
        quarantined=7,
    )
    receive, stage, *others = steps(seen)
    assert (receive.in_hand, receive.rate, receive.oldest) == (1, 4, LONG_AGO)
    assert (stage.in_hand, stage.rate, stage.oldest) == (2, 900, START)
    assert [one.rate for one in others] == [3, 2, 1]


@pytest.mark.parametrize(
    ("part", "states"),
    [("", ["done", "done"]), ("receiver", ["dead", "done"]), ("files", ["dead", "dead"])],
)
def test_a_step_that_takes_nothing_in_is_not_green(part: str, states: list[str]) -> None:
    """Where what `/readyz` asks is not there, the steps that need it are red and say so."""
    receive, stage, *_ = steps(replace(NOTHING, rates=RATES), {"database": "", part: "is gone"})
    assert [receive.state, stage.state] == (states if part else ["done", "done"])
    assert receive.wrong == (f"takes nothing in: {part}" if part else "")


def test_the_time_axis_names_its_zone() -> None:
    """Whoever looks from another zone sees which one the times are in."""
    now = datetime(2024, 2, 29, 12, tzinfo=UTC)
    chart = bars("Images", "by hour", day_until(now, 3_600), [Series("n", {})], COUNTS)
    assert chart.along[-1].endswith(f" {zone_name()}")


@pytest.mark.parametrize(
    ("scale", "highest", "ticks"),
    [
        (COUNTS, 0, ["2", "1", "0"]),
        (COUNTS, 1, ["2", "1", "0"]),
        (COUNTS, 3, ["4", "2", "0"]),
        (COUNTS, 5, ["10", "5", "0"]),
        (COUNTS, 41, ["100", "50", "0"]),
        (COUNTS, 1_500, ["2\u202f000", "1\u202f000", "0"]),
        (LENGTHS, 0.0, ["2 ms", "1 ms", "0"]),
        (LENGTHS, 0.3, ["400 ms", "200 ms", "0"]),
        (LENGTHS, 1.4, ["2 s", "1 s", "0"]),
        (LENGTHS, 59, ["60 s", "30 s", "0"]),
        (LENGTHS, 150, ["4 min", "2 min", "0"]),
        (LENGTHS, 3_000, ["60 min", "30 min", "0"]),
        (LENGTHS, 5 * 3_600, ["8 h", "4 h", "0"]),
        (LENGTHS, 3 * 86_400, ["4 d", "2 d", "0"]),
    ],
)
def test_the_numbers_of_an_axis_are_round(scale: Scale, highest: float, ticks: list[str]) -> None:
    """Top and half of it are round in one unit; of studies there are no halves."""
    span = day_until(datetime(2024, 2, 29, 12, tzinfo=UTC), 3_600)
    chart = bars("Images", "by hour", span, [Series("n", {span.start: highest})], scale)
    assert chart.high == ticks


def test_what_is_held_stands_in_its_step() -> None:
    """A step that found a reason to hold studies is not green, and says how many."""
    held = {AGGREGATE: 1, BUILD: 19, DELIVER: 2}
    queue = [QueueCount(DELIVER, "ehr", DEAD, 3, LONG_AGO)]
    found = steps(replace(NOTHING, rates=RATES, held=22, held_in=held, queue=queue))
    assert [(one.state, one.held) for one in found[2:]] == [("held", 1), ("held", 19), ("dead", 2)]


@pytest.mark.parametrize(
    ("wanted", "releases", "release"),
    [
        ("", ["r5"], "r5"),
        ("", ["r4", "r5"], "r4"),
        ("", [], "r4"),
        ("r4", ["r5"], "r4"),
        ("r5", ["r4"], "r5"),
        ("r6", ["r5", "r5"], "r5"),
    ],
)
def test_a_preview_is_of_the_release_that_is_sent(
    wanted: str, releases: list[str], release: str, configured: Configuration
) -> None:
    """Nobody has to choose R5 where every FHIR server takes R5."""
    site = configured.site.model_copy(
        update={
            "destinations": {
                f"d{n}": configured.site.destinations["ehr"].model_copy(update={"release": one})
                for n, one in enumerate(releases)
            }
        }
    )
    assert release_of(wanted, configured.model_copy(update={"site": site})) == release
