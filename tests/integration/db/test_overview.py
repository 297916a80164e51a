"""How the five steps stand, on both databases."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection

from intu_fhir.db import tables as t
from intu_fhir.db.activity import activity
from intu_fhir.db.destinations import pause, remember
from intu_fhir.db.overview import overview
from intu_fhir.db.session import Database
from intu_fhir.model.destination import HALF_OPEN, OPEN, PAUSED
from tests.support.clock import START
from tests.support.plans import plan_of, statements_of
from tests.support.seeded import stage
from tests.support.studies import uid

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


def test_instances_count_when_they_come(database: Database) -> None:
    """What a long association brings counts while it is open, and in the hour when it came."""
    came = [START + timedelta(minutes=minutes) for minutes in (1, 85, 89)]
    with database.write() as connection:
        stage(connection, "long", instances=3)
        connection.execute(t.associations.update().values(stored=0, ended_at=None))
        for number, at in enumerate(came):
            uid_of = t.instances.c.sop_instance_uid == uid("long", 1, number)
            connection.execute(t.instances.update().where(uid_of).values(received_at=at))
        now = START + timedelta(minutes=90)
        assert overview(connection, now).rates["instances"] == 2
        day = activity(connection, START, now, seconds=600, failure_seconds=3_600, ehrs=[])
    assert day.instances == {
        int(START.timestamp()): 1,
        int(START.timestamp()) + 8 * 600: 2,
    }


def test_the_overview_reads_no_instance_but_those_of_its_time(database: Database) -> None:
    """Instances of an hour and of a day are counted in the index of when they came."""
    with database.write() as connection:
        stage(connection, "one")
    with statements_of(database) as asked, database.read() as connection:
        overview(connection, NOW)
        activity(connection, START, NOW, seconds=600, failure_seconds=600, ehrs=["ehr"])
    counts = [one for one in asked if "instances.received_at" in one[0] and "WHERE" in one[0]]
    found = {one[0]: one[1] for one in counts if "described_at IS NULL" not in one[0]}
    assert len(found) == 2
    for text, given in found.items():
        plan = "\n".join(plan_of(database, text, given, ["enable_seqscan", "enable_bitmapscan"]))
        assert "ix_instances_received_at" in plan, plan
