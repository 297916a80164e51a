"""Settling a study, on SQLite and PostgreSQL."""

from __future__ import annotations

import random
import threading
from dataclasses import replace

from intu_fhir.aggregate.step import AggregateStep
from intu_fhir.db.described import store_described, undescribed
from intu_fhir.db.instances import store_instances
from intu_fhir.db.session import Database
from intu_fhir.db.tables import generations, series, studies
from intu_fhir.model.values import Values
from intu_fhir.model.work import AGGREGATE
from intu_fhir.pipeline.record import Recorder
from intu_fhir.pipeline.runner import Lane, Runner
from intu_fhir.settings.schema import RetrySettings, Settle
from tests.support.clock import FakeClock
from tests.support.rows import row_waiters, rows_of
from tests.support.staging import describe_all, described, header, new_instance, origin, store
from tests.support.waiting import wait_until


def _runner(database: Database, clock: FakeClock) -> Runner:
    step = AggregateStep(database, clock, {"radiology": Settle(quiet_seconds=0)}, frozenset())
    retry = RetrySettings()
    return Runner(
        database=database,
        clock=clock,
        functions={(AGGREGATE, ""): step},
        recorder=Recorder(retry),
        retry=retry,
        holder="w",
        lease_seconds=60,
    )


def test_a_study_whose_header_does_not_come_is_looked_at_ever_less(
    database: Database, clock: FakeClock
) -> None:
    """In its first second ten times, in ten minutes less than a hundred; then it settles."""
    store(database, new_instance(clock.now(), header(), quiet_seconds=0))
    runner, begun = _runner(database, clock), clock.monotonic()
    looks: list[float] = []
    while clock.monotonic() < begun + 600 and len(looks) < 200:
        assert runner.run_one(Lane(AGGREGATE))
        looks.append(clock.monotonic() - begun)
        clock.advance(runner.seconds_until_due(Lane(AGGREGATE)) or 0.001)
    assert len([at for at in looks if at < 1]) == 10
    assert len(looks) < 100
    describe_all(database, clock.now())
    assert runner.run_one(Lane(AGGREGATE))
    assert len(rows_of(database, generations)) == 1


def test_a_number_without_end_keeps_no_study_from_settling(
    database: Database, clock: FakeClock
) -> None:
    """What a header announces counts only where it is a number that a study can have."""
    store(database, new_instance(clock.now(), header(), quiet_seconds=0))
    announced: Values = {"PatientID": "P1", "NumberOfStudyRelatedInstances": "9" * 5_000}
    with database.write() as connection:
        (waiting,) = undescribed(connection, 1)
        one = replace(described(waiting, announced), digest="d")
        store_described(connection, [one], clock.now())
    assert _runner(database, clock).run_one(Lane(AGGREGATE))
    assert [row.evidence for row in rows_of(database, generations)] == ["quiet"]


def test_series_that_came_at_once_are_all_counted(database: Database, clock: FakeClock) -> None:
    """A study whose series are stored at the same moment by two receivers settles with them all."""
    now = clock.now()
    store(database, new_instance(now, header(series="1.2.3.1"), quiet_seconds=0))
    one, other = (
        new_instance(now, header(series=f"1.2.3.{n}"), quiet_seconds=0, came_by=origin(f"a{n}"))
        for n in (2, 3)
    )
    storing = threading.Thread(target=store, args=(database, other))
    with database.write() as connection:
        store_instances(connection, [one], receiver="there")
        storing.start()
        if not database.is_sqlite:  # which has one writer at a time
            wait_until(lambda: row_waiters(database) > 0)
    storing.join(60)
    describe_all(database, now)
    assert _runner(database, clock).run_one(Lane(AGGREGATE))
    assert [row.number_of_series for row in rows_of(database, generations)] == [3]
    assert [row.number_of_series for row in rows_of(database, studies)] == [3]


def test_a_value_of_any_length_keeps_no_study_from_settling(
    database: Database, clock: FakeClock
) -> None:
    """Columns show so much of a value as an index takes, after settling as before."""
    store(database, new_instance(clock.now(), header(), quiet_seconds=0))
    chance = random.Random(1)
    long = "".join(chr(chance.randrange(0x20000, 0x2A6D0)) for _ in range(16_000))
    with database.write() as connection:
        (waiting,) = undescribed(connection, 1)
        one = described(waiting, {"PatientID": long, "PatientName": long, "Modality": long})
        store_described(connection, [replace(one, digest="d")], clock.now())
    assert _runner(database, clock).run_one(Lane(AGGREGATE))
    assert len(rows_of(database, generations)) == 1
    assert [row.patient_id for row in rows_of(database, studies)] == [long[:640]]
    assert [row.modality for row in rows_of(database, series)] == [long[:640]]
