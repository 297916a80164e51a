"""How the five steps stand, on both databases."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection

from intu_fhir.db import tables as t
from intu_fhir.db.activity import activity
from intu_fhir.db.destinations import pause, remember
from intu_fhir.db.holds import hold_study
from intu_fhir.db.overview import overview
from intu_fhir.db.session import Database
from intu_fhir.model.destination import HALF_OPEN, OPEN, PAUSED
from intu_fhir.model.settling import StudyHold
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
    counts = [one for one in asked if "count(*)" in one[0].partition("FROM")[0]]
    found = {text: given for text, given in counts if "instances.received_at >=" in text}
    assert len(found) == 2
    for text, given in found.items():
        plan = "\n".join(plan_of(database, text, given, ["enable_seqscan", "enable_bitmapscan"]))
        assert "ix_instances_received_at" in plan, plan


def test_associations_are_told_with_the_oldest_that_is_open(database: Database) -> None:
    """Those begun in the last hour are counted; of the open ones it is told since when."""
    with database.write() as connection:
        for number in range(3):
            stage(connection, f"s{number}", at=START + timedelta(minutes=number))
        is_open = t.associations.c.association_id != "a-s0"
        connection.execute(t.associations.update().where(is_open).values(ended_at=None))
        seen = overview(connection, NOW)
    assert seen.rates["associations"] == 3
    assert (seen.associations_open, seen.associations_since) == (2, START + timedelta(minutes=1))


def test_what_is_held_is_told_by_step(database: Database) -> None:
    """A contradiction counts in aggregate, an invalid resource in build, the rest in deliver."""
    with database.write() as connection:
        key = stage(connection, "one", deliveries={"ehr": "held", "other": "held"})
        held = [("", "patient_conflict"), ("ehr", "invalid_resource")]
        held += [("ehr", "patient_not_found"), ("other", "patient_mismatch")]
        for number, (destination, reason) in enumerate(held):
            found, now = [StudyHold(reason, "why")], START + timedelta(minutes=number)
            hold_study(connection, key, found, generation=1, now=now, destination=destination)
        seen = overview(connection, NOW)
    assert seen.held_in == {"aggregate": 1, "build": 1, "deliver": 2}
    assert (seen.held, seen.held_since) == (4, START)


def test_latency_ends_with_the_first_word_of_a_generation(database: Database) -> None:
    """A replay a day later, or a rebuild, does not make the way of an image longer."""
    with database.write() as connection:
        key = stage(connection, "one", deliveries={"ehr": "delivered", "pacs": "delivered"})
        connection.execute(
            t.generations.insert().values(
                study_key=key,
                generation=1,
                revision=2,
                evidence="quiet",
                number_of_series=1,
                number_of_instances=2,
                settled_at=START + timedelta(seconds=20),
            )
        )
        for minutes, destination in ((1, "ehr"), (25, "ehr"), (2, "pacs")):
            _delivered(connection, destination, START + timedelta(minutes=minutes))
        for since in (START, START + timedelta(minutes=20)):
            day = activity(connection, since, NOW, seconds=600, failure_seconds=600, ehrs=["ehr"])
            found = [one.seconds for one in day.latencies]
            assert found == ([59.0] if since == START else [])


def _delivered(connection: Connection, destination: str, at: datetime) -> None:
    d = t.deliveries.c
    key = connection.execute(
        t.deliveries.select().with_only_columns(d.delivery_key).where(d.destination == destination)
    ).scalar_one()
    one = {"delivery_key": key, "generation": 1, "number": 1, "outcome": "delivered"}
    connection.execute(t.attempts.insert().values(**one, started_at=at, ended_at=at))


def test_who_was_refused_objects_in_the_last_day(database: Database) -> None:
    """Refused objects are added up by sender, the worst first; what is older does not count."""
    brought = [("CT1", 2, 0), ("CT1", 3, 1), ("MR1", 9, 2), ("US1", 0, 3), ("OLD", 7, 25 * 60)]
    with database.write() as connection:
        for number, (title, refused, minutes_ago) in enumerate(brought):
            at = NOW - timedelta(minutes=minutes_ago)
            row = {"association_id": f"a{number}", "kind": "network", "channel": "ct"}
            row |= {"calling_ae_title": title, "refused": refused}
            connection.execute(t.associations.insert().values(**row, started_at=at, ended_at=at))
        seen = overview(connection, NOW)
    assert [(one.channel, one.calling_ae_title, one.count, one.last) for one in seen.refused] == [
        ("ct", "MR1", 9, NOW - timedelta(minutes=2)),
        ("ct", "CT1", 5, NOW),
    ]
