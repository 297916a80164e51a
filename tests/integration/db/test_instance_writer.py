"""The writer of batches, which remembers over transactions what need not be asked for again."""

from __future__ import annotations

import dataclasses

import pytest
import sqlalchemy as sa

from intu_fhir.db.instance_writer import InstanceWriter
from intu_fhir.db.session import Database
from intu_fhir.db.tables import association_studies, instances, series, studies, work
from intu_fhir.errors import StoreUnavailable
from tests.support.clock import FakeClock
from tests.support.rows import rows_of
from tests.support.staging import header, new_instance, origin, store


def _study_of(database: Database, sop_instance_uid: str) -> str:
    with database.read() as connection:
        found: str = connection.execute(
            sa.select(studies.c.study_instance_uid)
            .join(instances, instances.c.study_key == studies.c.study_key)
            .where(instances.c.sop_instance_uid == sop_instance_uid)
        ).scalar_one()
        return found


def test_batches_add_up(database: Database, clock: FakeClock) -> None:
    """Batch after batch of known and new series leaves right counts and one wish a study."""
    writer = InstanceWriter(database, "here")
    for study in ("1.2.3", "1.2.4"):
        for one in ("1.2.5.1", "1.2.5.1", "1.2.5.2"):
            batch = [new_instance(clock.now(), header(study, one)) for _ in range(3)]
            assert all(answer.new for answer in writer(batch))
    rows = rows_of(database, studies)
    assert [(r.number_of_series, r.number_of_instances, r.revision) for r in rows] == [
        (2, 9, 9)
    ] * 2
    assert sorted(row.number_of_instances for row in rows_of(database, series)) == [3, 3, 6, 6]
    assert [row.want for row in rows_of(database, work)] == [9, 9]


def test_a_repeated_object_in_a_known_series_changes_nothing(
    database: Database, clock: FakeClock
) -> None:
    """What is staged is told as it is, and neither counted nor noted as brought."""
    writer = InstanceWriter(database, "here")
    one = new_instance(clock.now(), header())
    writer([one])
    again = dataclasses.replace(one, file="instances/other.dcm", sha256="b" * 64)
    again = dataclasses.replace(again, origin=origin("a2"))
    other = new_instance(clock.now(), header())
    told = writer([again, other])
    assert [(answer.new, answer.sha256) for answer in told] == [
        (False, one.sha256),
        (True, other.sha256),
    ]
    [study] = rows_of(database, studies)
    assert (study.number_of_instances, study.revision) == (2, 2)
    assert {row.association_id for row in rows_of(database, association_studies)} == {"a1"}


def test_nothing_of_a_transaction_that_failed_is_remembered(
    database: Database, clock: FakeClock
) -> None:
    """A study made by a failed transaction is made again, though its key went to another one."""
    writer = InstanceWriter(database, "here")
    good = new_instance(clock.now(), header("1.2.3", instance="1.2.3.1"))
    bad = dataclasses.replace(new_instance(clock.now(), header("1.2.3")), sha256=None)
    with pytest.raises(sa.exc.IntegrityError):
        writer([good, bad])
    assert rows_of(database, studies) == []
    store(database, new_instance(clock.now(), header("1.2.4")))
    assert writer([good])[0].new
    assert _study_of(database, "1.2.3.1") == "1.2.3"


def test_a_known_study_that_is_gone_is_made_anew(database: Database, clock: FakeClock) -> None:
    """Rows that somebody removed are not referred to, even where their keys live on."""
    writer = InstanceWriter(database, "here")
    writer([new_instance(clock.now(), header("1.2.3"))])
    with database.write() as connection:
        for table in (instances, association_studies, work, series, studies):
            connection.execute(sa.delete(table))
    store(database, new_instance(clock.now(), header("1.2.4", "1.2.4.1")))
    assert writer([new_instance(clock.now(), header("1.2.3", instance="1.2.3.9"))])[0].new
    assert _study_of(database, "1.2.3.9") == "1.2.3"


@pytest.mark.parametrize("database_kind", ["sqlite"])
def test_a_database_that_takes_nothing_is_unavailable(database: Database, clock: FakeClock) -> None:
    """What the driver says of its trouble is told as ours."""
    writer = InstanceWriter(database, "here")
    with database.write() as connection:
        connection.exec_driver_sql("PRAGMA query_only = ON")
    with pytest.raises(StoreUnavailable):
        writer([new_instance(clock.now(), header())])


@pytest.mark.parametrize("database_kind", ["postgresql"])
def test_a_server_that_hung_up_meanwhile_costs_no_batch(
    database: Database, clock: FakeClock
) -> None:
    """After the server has ended its connection, the writer takes another one unasked."""
    writer = InstanceWriter(database, "here")
    writer([new_instance(clock.now(), header())])
    with database.read() as connection:
        ended = connection.execute(
            sa.text(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        )
        assert ended.scalars().all() == [True]
    assert writer([new_instance(clock.now(), header())])[0].new


def test_a_writer_keeps_no_connection_of_a_closed_database(
    database: Database, clock: FakeClock
) -> None:
    """Closing the database takes its connection back, and the next batch opens another one."""
    writer = InstanceWriter(database, "here")
    writer([new_instance(clock.now(), header())])
    pool = database.engine.pool
    assert isinstance(pool, sa.QueuePool)
    assert pool.checkedout() == 1
    database.close()
    assert pool.checkedout() == 0
    assert writer([new_instance(clock.now(), header())])[0].new
