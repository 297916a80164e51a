"""What is stuck, and the sentence that says what to do: every kind of it."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from intu_fhir.db.kept_back import KeptBack
from intu_fhir.db.overview import Overdue, Overview, QueueCount
from intu_fhir.db.refused import Refused
from intu_fhir.model.destination import DOWN, LATER, PAUSED, RECOVERING
from intu_fhir.model.work import DEAD, HELD, RETRYING, WAITING
from intu_fhir.receive.rejections import Rejected
from intu_fhir.web.advice import PATIENCE, Stuck, stuck
from tests.support.clock import START

LONG_AGO = START - timedelta(minutes=10)
NOTHING = Overview(
    studies=5,
    associations_open=0,
    associations_since=None,
    last_received=LONG_AGO,
    undescribed=0,
    undescribed_since=None,
    queue=[],
    overdue=[],
    kept_back=[],
    rates={},
    held=0,
    held_since=None,
    quarantined=0,
)
KEPT = KeptBack("ehr", PAUSED, LONG_AGO, "anna", "new disks", None)


def _queued(state: str, step: str = "deliver", destination: str = "ehr") -> QueueCount:
    return QueueCount(step, destination if step == "deliver" else "", state, 3, LONG_AGO)


def _advice(**seen: Any) -> list[Stuck]:
    return stuck(replace(NOTHING, **seen), START)


def test_nothing_is_stuck_where_all_goes() -> None:
    """Work that waits, work that is late by a little, and what is held elsewhere need nobody."""
    late = START - PATIENCE
    assert _advice(queue=[_queued(WAITING), _queued(HELD)]) == []
    assert _advice(overdue=[Overdue("build", "", 1, late)]) == []
    assert _advice(undescribed=1, undescribed_since=late) == []


def test_a_part_that_is_not_there_comes_first() -> None:
    """What `/readyz` finds wrong is said before all that is stuck; what is well is not said."""
    parts = {"database": "", "files": "cannot be reached: No such file or directory", "new": "odd"}
    first, second, *others = stuck(replace(NOTHING, queue=[_queued(DEAD)]), START, parts)
    assert (first.weight, first.path) == ("dead", "")
    assert first.what == "The file store cannot be reached: No such file or directory"
    assert "Mount its disk" in first.remedy
    assert second.what == "The part new odd"
    (full,) = stuck(NOTHING, START, {"files": "too little space"})
    assert full.what == "The file store has too little space"
    assert [one.what for one in others] == ["3 deliveries to ehr failed for good"]


def test_a_modality_that_is_turned_away_is_told() -> None:
    """Rejected associations and refused objects of the last day name sender, reason and repair."""
    detail = "called_ae_title, called WRONG calling CT1, but this is INTU_SCP"
    rejected = [Rejected("ct", f"10.0.0.{n}", detail, 2, LONG_AGO, START) for n in range(7)]
    refused = [Refused("ct", title, 3, START) for title in ("CT1", "", "A", "B", "C", "D")]
    *some, more, objects = stuck(replace(NOTHING, refused=refused), START, {}, rejected)
    assert [one.what for one in some] == [
        f"2 associations from 10.0.0.{n} rejected on ct" for n in range(5)
    ]
    assert some[0].remedy.startswith(f"called_ae_title: {detail[17:]}. Correct the called AE")
    assert more.what == "4 more associations rejected, of other senders"
    assert objects.what == "18 objects refused in the last day"
    assert "CT1 on ct: 3, a sender without a title on ct: 3" in objects.remedy
    assert "and others" in objects.remedy
    assert {one.weight for one in (*some, more, objects)} == {"retrying"}
    odd = Rejected("ct", "10.0.0.1", "stopping, called A calling B", 1, START, START)
    assert "connection_without_association" in stuck(NOTHING, START, {}, [odd])[0].remedy


@pytest.mark.parametrize(
    ("seen", "weight", "what", "remedy", "path"),
    [
        (
            {"queue": [_queued(DEAD)]},
            "dead",
            "3 deliveries to ehr failed for good",
            "replay all of a cause",
            "/failures?destination=ehr",
        ),
        (
            {"queue": [_queued(DEAD, "build")]},
            "dead",
            "3 studies failed for good in step build",
            "mend mapping or hook",
            "/failures",
        ),
        (
            {"queue": [_queued(RETRYING)]},
            "retrying",
            "3 deliveries to ehr failing, tried again",
            "See whether the destination is up",
            "/destinations",
        ),
        (
            {"queue": [_queued(RETRYING, "build")]},
            "retrying",
            "3 studies failing in step build, tried again",
            "the error says what is missing",
            "/failures",
        ),
        (
            {"overdue": [Overdue("build", "", 1, LONG_AGO)]},
            "retrying",
            "1 piece of work in step build due, and nobody takes it",
            "See that a worker runs",
            "/studies?state=building",
        ),
        (
            {"overdue": [Overdue("deliver", "ehr", 2, LONG_AGO)]},
            "retrying",
            "2 pieces of work to ehr due, and nobody takes it",
            "See that a worker runs",
            "/studies?state=delivering",
        ),
        (
            {"undescribed": 2, "undescribed_since": LONG_AGO},
            "retrying",
            "2 instances without complete header",
            "See that a worker runs",
            "/studies?state=receiving",
        ),
        (
            {"held": 1, "held_since": LONG_AGO},
            "held",
            "1 hold on studies",
            "release it",
            "/review",
        ),
        (
            {"quarantined": 1},
            "held",
            "1 object quarantined in the last day",
            "kept and not published",
            "/review#quarantine",
        ),
        (
            {"kept_back": [KEPT], "queue": [_queued(WAITING)]},
            "held",
            "ehr is paused by anna: new disks",
            "3 deliveries wait; no try is lost. Resume it",
            "/destinations#ehr",
        ),
        (
            {"kept_back": [replace(KEPT, by="", why="")]},
            "held",
            "ehr is paused by somebody",
            "Nothing waits yet; no try is lost",
            "/destinations#ehr",
        ),
        (
            {"kept_back": [replace(KEPT, state=LATER, by="", why="")], "queue": [_queued(WAITING)]},
            "retrying",
            "ehr has asked to be left alone",
            "3 deliveries wait; all goes by itself",
            "/destinations#ehr",
        ),
        (
            {"kept_back": [replace(KEPT, state=DOWN, by="", why="no connection (refused)")]},
            "retrying",
            "Nothing gets to ehr",
            "No connection. Nothing waits yet; all goes by itself when one gets through.",
            "/destinations#ehr",
        ),
    ],
)
def test_what_is_stuck_says_what_to_do(
    seen: dict[str, Any], weight: str, what: str, remedy: str, path: str
) -> None:
    """Each kind of trouble is named once, with its weight, what to do and where."""
    [one] = _advice(**seen)
    assert (one.weight, one.what, one.path) == (weight, what, path)
    assert remedy in one.remedy


def test_failures_of_who_is_paused_or_down_are_told_once() -> None:
    """What is tried again waits for the pause or the probe; of who recovers it is told."""
    for state in (PAUSED, DOWN):
        [one] = _advice(kept_back=[replace(KEPT, state=state)], queue=[_queued(RETRYING)])
        assert "failing" not in one.what
        assert "3 deliveries" in one.remedy
    [one] = _advice(kept_back=[replace(KEPT, state=RECOVERING)], queue=[_queued(RETRYING)])
    assert one.what == "3 deliveries to ehr failing, tried again"


def test_the_next_probe_is_told() -> None:
    """Of who does not answer it is told when it is asked again."""
    probe = START + timedelta(seconds=40)
    [one] = _advice(kept_back=[replace(KEPT, state=DOWN, next_probe_at=probe)])
    assert "The next probe goes in 40 s." in one.remedy


def test_the_worst_comes_first() -> None:
    """What failed for good stands before what is tried again, and that before decisions."""
    found = _advice(held=1, queue=[_queued(RETRYING), _queued(DEAD)])
    assert [one.weight for one in found] == ["dead", "retrying", "held"]
