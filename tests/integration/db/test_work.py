"""The queue's promises, on SQLite and PostgreSQL."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
import sqlalchemy as sa

from intu_fhir.db import work
from intu_fhir.db.deliveries import want_delivery
from intu_fhir.db.session import Database
from intu_fhir.db.tables import deliveries, studies
from intu_fhir.db.tables import work as work_table
from intu_fhir.errors import StaleClaim
from intu_fhir.model.work import (
    AGGREGATE,
    DELIVER,
    DELIVERED,
    DONE,
    RETRYING,
    WAITING,
    Claim,
    DeliveryWish,
)
from tests.support.clock import FakeClock
from tests.support.staging import header, new_instance, store


def _claim(
    database: Database,
    clock: FakeClock,
    holder: str = "w1",
    step: str = AGGREGATE,
    destination: str = "",
    limit: int | None = None,
) -> Claim | None:
    with database.write() as connection:
        return work.claim(
            connection,
            step,
            destination,
            holder=holder,
            now=clock.now(),
            lease_seconds=60,
            limit=limit,
        )


def _study(database: Database, clock: FakeClock, uid: str = "1.2.3") -> int:
    store(database, new_instance(clock.now(), header(uid), quiet_seconds=0))
    with database.read() as connection:
        key: int = connection.execute(
            sa.select(studies.c.study_key).where(studies.c.study_instance_uid == uid)
        ).scalar_one()
    return key


def _want(
    database: Database,
    clock: FakeClock,
    study_key: int,
    generation: int,
    state: str = WAITING,
    again: bool = False,
) -> None:
    with database.write() as connection:
        wish = DeliveryWish(state, again=again)
        want_delivery(connection, study_key, "pacs", generation, wish=wish, now=clock.now())


def test_work_is_due_when_its_time_has_come(database: Database, clock: FakeClock) -> None:
    """A study cannot be claimed before its quiet time is over."""
    store(database, new_instance(clock.now(), header(), quiet_seconds=30))
    assert _claim(database, clock) is None
    clock.advance(30)
    assert _claim(database, clock) is not None


def test_two_workers_never_hold_one_study(database: Database, clock: FakeClock) -> None:
    """Of eight workers that claim at once exactly one gets the study."""
    _study(database, clock)
    with ThreadPoolExecutor(8) as pool:
        claims = list(pool.map(lambda n: _claim(database, clock, f"w{n}"), range(8)))
    assert sum(claim is not None for claim in claims) == 1


def test_a_lease_that_ran_out_is_taken_over_and_fenced(
    database: Database, clock: FakeClock
) -> None:
    """After the lease another worker takes the study, and the first one can write nothing."""
    _study(database, clock)
    first = _claim(database, clock, "w1")
    clock.advance(61)
    second = _claim(database, clock, "w2")
    assert first is not None
    assert second is not None
    assert (second.fence, second.attempts) == (first.fence + 1, 1)
    with pytest.raises(StaleClaim), database.write() as connection:
        work.finish(connection, first, state=DONE, now=clock.now())
    with database.write() as connection:
        work.finish(connection, second, state=DONE, now=clock.now())
    with database.read() as connection:
        row = connection.execute(sa.select(work_table)).one()
    assert (row.state, row.have, row.due_at) == (DONE, 1, None)


def test_a_renewed_lease_holds(database: Database, clock: FakeClock) -> None:
    """A worker that renews in time keeps its study."""
    _study(database, clock)
    first = _claim(database, clock, "w1")
    assert first is not None
    clock.advance(50)
    with database.write() as connection:
        work.renew(connection, first, now=clock.now(), lease_seconds=60)
    clock.advance(50)
    assert _claim(database, clock, "w2") is None


def test_what_is_wanted_meanwhile_stays_due(database: Database, clock: FakeClock) -> None:
    """An instance that arrives while its study is worked on makes it due again afterwards."""
    _study(database, clock)
    claim = _claim(database, clock)
    assert claim is not None
    store(database, new_instance(clock.now(), header(), quiet_seconds=30))
    with database.write() as connection:
        work.finish(connection, claim, state=DONE, now=clock.now())
    assert _claim(database, clock) is None
    clock.advance(30)
    again = _claim(database, clock)
    assert again is not None
    assert (again.want, again.have) == (2, 1)


def test_put_off_work_comes_back_at_its_time(database: Database, clock: FakeClock) -> None:
    """Work that was not ready is due again when it said, without counting as a failure."""
    _study(database, clock)
    claim = _claim(database, clock)
    assert claim is not None
    with database.write() as connection:
        until = clock.now() + timedelta(seconds=5)
        work.put_off(connection, claim, until=until, now=clock.now())
    assert _claim(database, clock) is None
    clock.advance(5)
    again = _claim(database, clock)
    assert again is not None
    assert again.attempts == 0


def test_the_limit_of_a_destination_counts_over_all_workers(
    database: Database, clock: FakeClock
) -> None:
    """With a limit of two, the third of five due deliveries must wait."""
    for number in range(5):
        _want(database, clock, _study(database, clock, f"1.2.{number}"), 1)
    with ThreadPoolExecutor(5) as pool:
        claims = list(
            pool.map(lambda n: _claim(database, clock, f"w{n}", DELIVER, "pacs", 2), range(5))
        )
    assert sum(claim is not None for claim in claims) == 2


def test_a_new_generation_keeps_a_backoff(database: Database, clock: FakeClock) -> None:
    """A study that waits for its next try is not tried at once because of a late image."""
    study_key = _study(database, clock)
    _want(database, clock, study_key, 1)
    claim = _claim(database, clock, step=DELIVER, destination="pacs")
    assert claim is not None
    with database.write() as connection:
        later = clock.now() + timedelta(seconds=100)
        work.fail(connection, claim, state=RETRYING, error="x", due_at=later, now=clock.now())
    _want(database, clock, study_key, 2)
    assert _claim(database, clock, step=DELIVER, destination="pacs") is None
    clock.advance(100)
    again = _claim(database, clock, step=DELIVER, destination="pacs")
    assert again is not None
    assert (again.want, again.attempts) == (2, 1)


def test_a_delivered_generation_is_due_again_only_when_asked(
    database: Database, clock: FakeClock
) -> None:
    """The same generation twice is not sent twice, unless what was built may have changed."""
    study_key = _study(database, clock)
    _want(database, clock, study_key, 1)
    claim = _claim(database, clock, step=DELIVER, destination="pacs")
    assert claim is not None
    with database.write() as connection:
        work.finish(connection, claim, state=DELIVERED, now=clock.now())
    _want(database, clock, study_key, 1)
    assert _claim(database, clock, step=DELIVER, destination="pacs") is None
    _want(database, clock, study_key, 1, again=True)
    assert _claim(database, clock, step=DELIVER, destination="pacs") is not None


def test_a_failure_remembers_when_it_began(database: Database, clock: FakeClock) -> None:
    """The first failure's time stays while the tries go on."""
    _want(database, clock, _study(database, clock), 1)
    began = clock.now()
    for _ in range(3):
        claim = _claim(database, clock, step=DELIVER, destination="pacs")
        assert claim is not None
        with database.write() as connection:
            now = clock.now()
            work.fail(connection, claim, state=RETRYING, error="down", due_at=now, now=now)
        clock.advance(10)
    with database.read() as connection:
        row = connection.execute(sa.select(deliveries)).one()
    assert (row.attempts, row.first_failed_at) == (3, began)
