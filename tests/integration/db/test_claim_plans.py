"""How both databases find the next piece of work among a great many that are done."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from intu_fhir.db import tables as t
from intu_fhir.db import work
from intu_fhir.db.session import Database
from intu_fhir.model.work import AGGREGATE, DELIVER, DELIVERED, DONE, Claim
from tests.support.clock import FakeClock
from tests.support.many import Many
from tests.support.plans import plan_of, statements_of

MANY = 3_000
_BIG = ("deliveries", "work", "studies")


@pytest.fixture
def stocked(database: Database, tmp_path: Path, clock: FakeClock) -> Database:
    """Three thousand studies that are done, and twenty that are due."""
    many = Many(database, tmp_path, pictures=False)
    many.add(range(1, MANY + 1), ["ehr"], due=clock.now() - timedelta(seconds=60))
    d = t.deliveries.c
    rows = [
        {"study_key": n, "step": AGGREGATE, "want": 1, "have": 1, "state": DONE}
        for n in range(1, MANY + 1)
    ]
    due = clock.now() - timedelta(seconds=60)
    with database.write() as connection:
        connection.execute(
            sa.update(t.deliveries)
            .where(d.study_key > 20)
            .values(state=DELIVERED, have=1, due_at=None)
        )
        connection.execute(sa.insert(t.work), [{**row, "updated_at": due} for row in rows])
        connection.execute(sa.update(t.work).where(t.work.c.study_key <= 20).values(due_at=due))
    with database.engine.connect() as connection:
        connection.execution_options(isolation_level="AUTOCOMMIT").exec_driver_sql("ANALYZE")
    return database


def _claim(database: Database, clock: FakeClock, step: str, *, backlog_first: bool) -> Claim | None:
    with database.write() as connection:
        return work.claim(
            connection,
            step,
            "ehr" if step == DELIVER else "",
            holder="w",
            now=clock.now(),
            lease_seconds=60,
            limit=4,
            per_minute=60_000 if step == DELIVER else None,
            backlog_first=backlog_first,
        )


def _plan(database: Database, statement: str, given: Any) -> str:
    return "\n".join(plan_of(database, statement, given))


@pytest.mark.parametrize("step", [AGGREGATE, DELIVER])
def test_a_look_a_claim_and_its_end_read_no_table_from_end_to_end(
    stocked: Database, clock: FakeClock, step: str
) -> None:
    """Every statement finds its rows by an index, and none sorts: finished work costs nothing."""
    with statements_of(stocked) as asked:
        with stocked.read() as connection:
            work.next_due_at(
                connection, step, "ehr" if step == DELIVER else "", clock.now(), limit=4
            )
        for backlog_first in (False, True):
            claimed = _claim(stocked, clock, step, backlog_first=backlog_first)
            assert claimed is not None
            with stocked.write() as connection:
                work.finish(connection, claimed, state=DONE, now=clock.now())
    looks = [one for one in asked if one[0].startswith(("SELECT", "UPDATE", "DELETE"))]
    plans = {statement: _plan(stocked, statement, given) for statement, given in looks}
    assert any("ORDER BY" in statement for statement in plans)
    for statement, plan in plans.items():
        for table in _BIG:
            assert f"Seq Scan on {table}" not in plan, (statement, plan)
            assert not any(
                line.startswith(f"SCAN {table}") and "INDEX" not in line
                for line in plan.splitlines()
            ), (statement, plan)
        assert "TEMP B-TREE" not in plan, (statement, plan)
        assert "Sort" not in plan, (statement, plan)


def test_a_query_that_reads_everything_would_be_seen(stocked: Database) -> None:
    """The words that the test looks for are those of a query without an index."""
    plan = _plan(stocked, "SELECT last_error FROM deliveries WHERE last_error <> ''", ())
    assert "Seq Scan on deliveries" in plan or "SCAN deliveries" in plan
