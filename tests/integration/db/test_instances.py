"""Rows of received instances, on SQLite and PostgreSQL."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from intu_fhir.db.session import Database
from intu_fhir.db.tables import instances, series, studies, work
from tests.support.clock import FakeClock
from tests.support.rows import rows_of
from tests.support.staging import header, new_instance, origin, store


def test_an_instance_makes_study_series_and_work(database: Database, clock: FakeClock) -> None:
    """The first instance of a study brings rows of study, series, instance and aggregation."""
    [staged] = store(database, new_instance(clock.now(), header(StudyDescription="CHEST")))
    assert staged.new
    [study] = rows_of(database, studies)
    assert (study.number_of_instances, study.revision, study.study_description) == (1, 1, "CHEST")
    assert [row.number_of_instances for row in rows_of(database, series)] == [1]
    [row] = rows_of(database, work)
    assert (row.step, row.want, row.have, row.state) == ("aggregate", 1, 0, "waiting")
    assert (row.due_at - clock.now()).total_seconds() == 30


def test_the_same_instance_twice_is_one_row(database: Database, clock: FakeClock) -> None:
    """A repeated object changes nothing and is told what is there."""
    one = header(instance="1.2.3.1.9")
    store(database, new_instance(clock.now(), one, sha256="a" * 64))
    [again] = store(database, new_instance(clock.now(), one, sha256="b" * 64))
    assert not again.new
    assert again.sha256 == "a" * 64
    [study] = rows_of(database, studies)
    assert (study.revision, study.number_of_instances) == (1, 1)


def test_the_same_instance_twice_in_one_batch_is_one_row(
    database: Database, clock: FakeClock
) -> None:
    """Two copies that arrive in one group commit are told apart: one is new, one is not."""
    one = header(instance="1.2.3.1.9")
    answers = store(
        database,
        new_instance(clock.now(), one, came_by=origin("a1")),
        new_instance(clock.now(), one, came_by=origin("a2")),
    )
    assert [answer.new for answer in answers] == [True, False]
    assert len(rows_of(database, instances)) == 1


def test_racing_receivers_store_an_instance_once(database: Database, clock: FakeClock) -> None:
    """Twenty threads that store the same ten instances leave ten rows and right counts (D-01)."""
    headers = [header(instance=f"1.2.3.1.{n}") for n in range(10)]

    def send(number: int) -> int:
        came_by = origin(f"a{number}")
        return sum(
            store(database, new_instance(clock.now(), one, came_by=came_by))[0].new
            for one in headers
        )

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(send, range(20))) == 10
    [study] = rows_of(database, studies)
    assert (study.number_of_instances, study.revision) == (10, 10)
    assert [row.number_of_instances for row in rows_of(database, series)] == [10]


def test_a_late_instance_raises_the_wish_once(database: Database, clock: FakeClock) -> None:
    """A burst leaves one row of work that wants the newest content after the quiet time."""
    for _ in range(5):
        clock.advance(1)
        store(database, new_instance(clock.now(), header()), new_instance(clock.now(), header()))
    [row] = rows_of(database, work)
    assert row.want == 10
    assert (row.due_at - clock.now()).total_seconds() == 30


def test_same_series_uid_in_two_studies_is_two_series(database: Database, clock: FakeClock) -> None:
    """A Series Instance UID that two studies share makes a series in each of them."""
    store(
        database,
        new_instance(clock.now(), header("1.2.3", "9.9")),
        new_instance(clock.now(), header("1.2.4", "9.9")),
    )
    assert len(rows_of(database, series)) == 2
