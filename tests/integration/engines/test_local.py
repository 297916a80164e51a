"""Threads of a process work on whatever the database says meanwhile."""

from __future__ import annotations

import sqlalchemy as sa

from intu_fhir.db.session import Database
from intu_fhir.db.tables import work
from intu_fhir.engines.local import LocalEngine
from intu_fhir.model.work import AGGREGATE, Finished
from intu_fhir.pipeline.runner import Lane
from tests.support.clock import FakeClock
from tests.support.pipeline import Pipeline
from tests.support.rows import rows_of
from tests.support.staging import header, new_instance, store
from tests.support.waiting import wait_until


def _rename(database: Database, old: str, new: str) -> None:
    with database.write() as connection:
        connection.execute(sa.DDL(f"ALTER TABLE {old} RENAME TO {new}"))


def test_a_worker_outlives_any_error_of_the_database(database: Database, clock: FakeClock) -> None:
    """Where a table is away, as while a backup is put back, its workers go on when it is there."""
    pipeline = Pipeline(database, clock)
    pipeline.does[AGGREGATE] = lambda claim: Finished(lambda connection: None, 1)
    looks: list[int] = []

    def may_work() -> bool:
        looks.append(1)
        return True

    engine = LocalEngine(pipeline.runner(), [(Lane(AGGREGATE), 1)], may_work=may_work)
    _rename(database, "work", "work_elsewhere")
    engine.start()
    try:
        wait_until(lambda: len(looks) >= 2, 10, "the worker looks again")
        _rename(database, "work_elsewhere", "work")
        store(database, new_instance(clock.now(), header(), quiet_seconds=0))
        wait_until(lambda: any(row.state == "done" for row in rows_of(database, work)), 10)
    finally:
        assert engine.stop(10) == []
