"""How the five steps stand, on both databases."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection

from intu_fhir.db import tables as t
from intu_fhir.db.destinations import pause, remember
from intu_fhir.db.overview import overview
from intu_fhir.db.session import Database
from intu_fhir.model.destination import HALF_OPEN, OPEN, PAUSED
from tests.support.clock import START
from tests.support.seeded import stage

NOW = START + timedelta(minutes=30)


def _breaker(connection: Connection, name: str, breaker: str, probe: datetime | None) -> None:
    remember(connection, name, START)
    values: dict[str, Any] = {"breaker": breaker, "opened_at": START, "next_probe_at": probe}
    of_name = t.destination_states.c.destination == name
    connection.execute(t.destination_states.update().where(of_name).values(values))


def test_what_waits_for_a_pause_or_a_probe_is_not_overdue(database: Database) -> None:
    """Nobody should have taken what is due to a paused, unreached or recovering destination."""
    names = ("up", "paused", "down", "recovering")
    with database.write() as connection:
        stage(connection, "one", deliveries=dict.fromkeys(names, "waiting"))
        pause(connection, "paused", by="anna", reason="new disks", now=START)
        _breaker(connection, "down", OPEN, NOW + timedelta(seconds=5))
        _breaker(connection, "recovering", HALF_OPEN, None)
        seen = overview(connection, NOW)
    assert [(one.destination, one.count) for one in seen.overdue] == [("up", 1)]
    assert [(one.destination, one.state) for one in seen.kept_back] == [
        ("down", "down"),
        ("paused", PAUSED),
        ("recovering", "recovering"),
    ]
    assert (seen.kept_back[1].by, seen.kept_back[1].why) == ("anna", "new disks")


def test_a_probe_that_nobody_sends_is_overdue(database: Database) -> None:
    """Where the time of the next probe has passed, no worker runs; it is told since then."""
    probe = NOW - timedelta(minutes=3)
    with database.write() as connection:
        stage(connection, "one", deliveries={"down": "waiting"})
        stage(connection, "two", deliveries={"down": "waiting"})
        _breaker(connection, "down", OPEN, probe)
        [one] = overview(connection, NOW).overdue
    assert (one.destination, one.count, one.since) == ("down", 1, probe)
