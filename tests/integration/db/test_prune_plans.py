"""How both databases find the next study to prune among a great many that are pruned."""

from __future__ import annotations

from datetime import timedelta

import pytest
import sqlalchemy as sa

from intu_fhir.db.pruning import PruneRule, prunable
from intu_fhir.db.session import Database
from intu_fhir.db.tables import studies
from tests.support.clock import START
from tests.support.plans import plan_of, statements_of
from tests.support.seeded import stage

PRUNED = 3_000
RULE = PruneRule(before=START, states=("delivered",), only_forwarded=False)


@pytest.fixture
def stocked(database: Database) -> Database:
    """Three thousand studies without files, all older than the three that have some."""
    oldest = START - timedelta(days=400)
    pruned = {"channel": "radiology", "revision": 1, "number_of_instances": 2}
    rows = [
        {
            "study_instance_uid": f"1.9.{number}",
            "first_received_at": oldest,
            "last_received_at": oldest + timedelta(seconds=number),
            "number_of_pruned": 2,
            **pruned,
        }
        for number in range(PRUNED)
    ]
    with database.write() as connection:
        connection.execute(sa.insert(studies), rows)
        for name in ("one", "two", "three"):
            at = START - timedelta(days=30)
            stage(connection, name, at=at, generation=1, deliveries={"ehr": "delivered"})
    with database.engine.connect() as connection:
        connection.execution_options(isolation_level="AUTOCOMMIT").exec_driver_sql("ANALYZE")
    return database


def test_what_is_pruned_costs_a_look_nothing(stocked: Database) -> None:
    """Studies with files have an index of their own, in the order in which they go."""
    with statements_of(stocked) as asked, stocked.read() as connection:
        first, *_ = prunable(connection, RULE, 2)
        [last] = prunable(connection, RULE, 2, prunable(connection, RULE, 2)[-1])
    assert first.study_instance_uid != last.study_instance_uid
    for text, given in asked:
        plan = "\n".join(plan_of(stocked, text, given))
        assert "ix_studies_unpruned" in plan, plan
        assert "Seq Scan on studies" not in plan
        assert not stocked.is_sqlite or "SCAN studies\n" not in plan
