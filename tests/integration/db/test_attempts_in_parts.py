"""Tries to deliver in parts: writers go on, keys of a part that ended are left out, plans."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import pytest
import sqlalchemy as sa

from intu_fhir.db import migrate, partitions
from intu_fhir.db.activity import activity
from intu_fhir.db.partition_tables import ATTEMPTS
from intu_fhir.db.partitions import Part, next_move, parts_of
from intu_fhir.db.session import Database
from intu_fhir.db.study_report import study_report
from intu_fhir.db.tables import attempts, deliveries
from intu_fhir.errors import StoreUnavailable
from intu_fhir.upkeep.parts import ScheduledCut
from tests.support.clock import FakeClock
from tests.support.old_attempts import deliver, end_part, removal, try_once
from tests.support.plans import plan_of, statements_of
from tests.support.rows import rows_of, waiters
from tests.support.studies import uid
from tests.support.waiting import wait_until

MONTH = timedelta(days=31).total_seconds()
_PART = re.compile(r"on (attempts_\d+)")


@pytest.fixture
def postgresql(database: Database) -> Database:
    """The database where it has parts."""
    if database.is_sqlite:
        pytest.skip("SQLite has no parts")
    return database


def _parts(database: Database) -> list[Part]:
    with database.read() as connection:
        return parts_of(connection, ATTEMPTS)


def _in(database: Database, part: str) -> int:
    with database.read() as connection:
        asked = sa.select(sa.func.count()).select_from(sa.table(part))
        return int(connection.execute(asked).scalar_one())


def _try(database: Database, clock: FakeClock, study_key: int = 1) -> None:
    with database.write() as connection:
        try_once(connection, study_key, clock)


def test_a_month_that_is_over_is_cut_and_left(postgresql: Database, clock: FakeClock) -> None:
    """The next try after the cut goes into the next part, however far its beginning lies ahead."""
    deliver(postgresql, clock, "one", "two")
    cut = ScheduledCut(postgresql, clock)
    assert cut.cut(ATTEMPTS) == []  # its month is not over
    clock.advance(MONTH)
    assert cut.cut(ATTEMPTS) == ["announced", "proved", "cut", "left"]
    assert cut.cut(ATTEMPTS) == []
    [first, last] = _parts(postgresql)
    assert first.end == last.first == 2 + partitions.FAR_AHEAD
    _try(postgresql, clock)
    assert (_in(postgresql, first.name), _in(postgresql, last.name)) == (2, 1)
    assert rows_of(postgresql, attempts)[-1].attempt_key == last.first
    clock.advance(MONTH)
    assert cut.cut(ATTEMPTS) == ["announced", "proved", "cut", "left"]


@pytest.mark.parametrize("moves", [1, 2, 3])
def test_a_cut_that_stopped_goes_on(postgresql: Database, clock: FakeClock, moves: int) -> None:
    """A maintainer that died between two moves is followed by one that does the rest."""
    deliver(postgresql, clock, "one")
    clock.advance(MONTH)
    for _ in range(moves):
        with postgresql.write() as connection:
            assert next_move(connection, ATTEMPTS, clock.now())
    _try(postgresql, clock)
    assert ScheduledCut(postgresql, clock).cut(ATTEMPTS)[-1] == "left"
    _try(postgresql, clock)
    assert [_in(postgresql, part.name) for part in _parts(postgresql)] == [2, 1]


def test_no_key_goes_back(postgresql: Database, clock: FakeClock) -> None:
    """Where tries have come into the last part by themselves, their keys go on from there."""
    deliver(postgresql, clock, "one")
    end_part(postgresql, clock)
    for _ in range(3):
        _try(postgresql, clock)
        ScheduledCut(postgresql, clock).cut(ATTEMPTS)
    keys = [row.attempt_key for row in rows_of(postgresql, attempts)]
    first = 1 + partitions.FAR_AHEAD
    assert keys == [1, first, first + 1, first + 2]


def test_every_table_in_parts_is_cut(postgresql: Database, clock: FakeClock) -> None:
    """The chore looks at all of them, so tries are cut though no header is there."""
    deliver(postgresql, clock, "one")
    clock.advance(MONTH)
    assert ScheduledCut(postgresql, clock).cut_some() == 0
    assert len(_parts(postgresql)) == 2


@contextmanager
def _busy_workers(database: Database, clock: FakeClock) -> Iterator[None]:
    """Let four workers note tries without a pause; none of them fails and none is lost."""
    noted, done, failed = [0] * 4, threading.Event(), list[Exception]()
    before = len(rows_of(database, attempts))

    def work(of: int) -> None:
        try:
            while not done.is_set():
                with database.write() as connection:
                    try_once(connection, of + 1, clock)
                    its_own = deliveries.c.study_key == of + 1
                    connection.execute(sa.update(deliveries).where(its_own).values(attempts=1))
                noted[of] += 1
        except Exception as error:  # noqa: BLE001 - whatever it was, the test tells it
            failed.append(error)

    workers = [threading.Thread(target=work, args=(of,)) for of in range(4)]
    for worker in workers:
        worker.start()
    try:
        wait_until(lambda: all(noted) or failed)
        yield
        there = list(noted)
        wait_until(lambda: all(n > t for n, t in zip(noted, there, strict=True)) or failed)
    finally:
        done.set()
        for worker in workers:
            worker.join(60)
    assert failed == []
    assert len(rows_of(database, attempts)) == before + sum(noted)


def test_tries_are_noted_while_parts_are_cut(postgresql: Database, clock: FakeClock) -> None:
    """Workers that note tries without a pause fail at nothing and lose nothing."""
    deliver(postgresql, clock, *(f"s{number}" for number in range(4)))
    cut = ScheduledCut(postgresql, clock, most_keys=0)
    with _busy_workers(postgresql, clock):
        wait_until(lambda: bool(cut.cut(ATTEMPTS)) and len(_parts(postgresql)) >= 4)


def test_tries_are_noted_while_they_are_divided(postgresql: Database, clock: FakeClock) -> None:
    """The upgrade goes on beside workers of before, which write as they did on either schema."""
    deliver(postgresql, clock, *(f"s{number}" for number in range(4)))
    migrate.downgrade(postgresql.url, "0021")
    with _busy_workers(postgresql, clock):
        migrate.upgrade(postgresql.url)
    assert [(part.first, part.end) for part in _parts(postgresql)] == [(None, None)]


def test_a_worker_is_not_kept_from_its_delivery(postgresql: Database, clock: FakeClock) -> None:
    """Who has noted a try goes on to its delivery at once, while the cut waits for its end.

    Otherwise each would wait for the other, and PostgreSQL might undo the worker.
    """
    deliver(postgresql, clock, "one")
    clock.advance(MONTH)
    for move in ("announced", "proved"):
        with postgresql.write() as connection:
            assert next_move(connection, ATTEMPTS, clock.now()) == move
    cut = threading.Thread(target=ScheduledCut(postgresql, clock).cut, args=(ATTEMPTS,))
    with postgresql.write() as worker:
        worker.execute(sa.select(attempts.c.attempt_key)).all()
        cut.start()
        wait_until(lambda: waiters(postgresql) or not cut.is_alive())  # it soon gives up
        worker.exec_driver_sql("SET LOCAL lock_timeout = '50ms'")
        worker.execute(sa.update(deliveries).values(attempts=1))
    cut.join(60)
    ScheduledCut(postgresql, clock).cut(ATTEMPTS)
    assert len(_parts(postgresql)) == 2


def test_a_try_of_no_delivery_is_refused_in_every_part(
    postgresql: Database, clock: FakeClock
) -> None:
    """The reference to deliveries holds in a part that was cut and in the one behind it."""
    deliver(postgresql, clock, "one")
    end_part(postgresql, clock)
    row = {"generation": 1, "number": 1, "outcome": "dead", "delivery_key": 99}
    times = dict.fromkeys(("started_at", "ended_at"), clock.now())
    for key in (500, 5_000_000):
        with pytest.raises(sa.exc.IntegrityError), postgresql.write() as connection:
            connection.execute(sa.insert(attempts).values(attempt_key=key, **row, **times))


def test_the_upgrade_and_the_way_back_keep_every_try(database: Database, clock: FakeClock) -> None:
    """Rows, keys, views and grants are as before on either schema, and new tries find a place."""
    deliver(database, clock, "one", "two")
    end_part(database, clock)
    deliver(database, clock, "three")
    before = rows_of(database, attempts)
    _seen(database, ours=before)
    migrate.downgrade(database.url, "0021")
    _seen(database, ours=before)
    _try(database, clock)
    with database.write() as connection:
        mine = "CREATE VIEW mine AS SELECT 'a\\:b%' AS c, outcome FROM attempts"
        connection.execute(sa.text(mine))
        if not database.is_sqlite:
            connection.exec_driver_sql("GRANT SELECT ON attempts TO pg_monitor WITH GRANT OPTION")
    migrate.upgrade(database.url)
    end_part(database, clock)
    _try(database, clock)
    after = rows_of(database, attempts)
    assert after[:3] == before
    assert len({row.attempt_key for row in after}) == len(after) == 5
    _seen(database, ours=after, views=("v_attempts", "mine"))
    if database.is_sqlite:
        return
    with database.read() as connection:
        may = "SELECT has_table_privilege('pg_monitor', 'attempts', 'SELECT WITH GRANT OPTION')"
        assert connection.exec_driver_sql(may).scalar_one()


def _seen(database: Database, ours: list[object], views: tuple[str, ...] = ("v_attempts",)) -> None:
    """See that views show as many tries as there are."""
    with database.read() as connection:
        for view in views:
            asked = sa.select(sa.func.count()).select_from(sa.table(view))
            assert connection.execute(asked).scalar_one() == len(ours), view


def test_the_upgrade_waits_for_nobody_long(postgresql: Database, clock: FakeClock) -> None:
    """A reader in the way makes the upgrade give up, with everything as before."""
    deliver(postgresql, clock, "one")
    migrate.downgrade(postgresql.url, "0021")
    with postgresql.read() as reader:
        reader.execute(sa.select(attempts.c.attempt_key)).all()
        with pytest.raises(StoreUnavailable):
            migrate.upgrade(postgresql.url)
        _try(postgresql, clock)
    assert migrate.current(postgresql.url) == "0021"
    migrate.upgrade(postgresql.url)
    assert len(rows_of(postgresql, attempts)) == 2


def _entered(database: Database, asked: list[tuple[str, object]]) -> list[set[str]]:
    """Return which parts each statement on tries enters."""
    without = ("enable_seqscan", "enable_bitmapscan")
    plans = [plan_of(database, text, given, without) for text, given in asked if _reads(text)]
    assert plans
    assert not [line for plan in plans for line in plan if "Seq Scan on attempts" in line]
    return [set(_PART.findall("\n".join(plan))) for plan in plans]


def _reads(text: str) -> bool:
    return text.startswith("SELECT") and bool(re.search(r"\b(FROM|JOIN) attempts", text))


@pytest.fixture
def five_parts(postgresql: Database, clock: FakeClock) -> Database:
    """A database with tries in five parts, one study in each."""
    for number in range(5):
        deliver(postgresql, clock, f"s{number}")
        if number < 4:
            end_part(postgresql, clock)
        clock.advance(MONTH)
    return postgresql


def test_what_keys_say_is_read_in_one_part(five_parts: Database, clock: FakeClock) -> None:
    """A removal reads the part that it would empty and no other; a cut, the last one."""
    old = removal(five_parts, clock)
    with statements_of(five_parts) as asked:
        [*_, last] = old.find(clock.now())
    assert last.span.name == "attempts_0004"
    counted = [one for one in asked if "count(*)" in one[0]]
    assert _entered(five_parts, counted) == [{f"attempts_000{n}"} for n in range(1, 5)]
    first = "SELECT attempt_key FROM attempts WHERE attempt_key >= 4000000 ORDER BY 1 LIMIT 1"
    assert len(_entered(five_parts, [(first, None)])[0]) < 5


def test_every_part_is_read_by_an_index(five_parts: Database, clock: FakeClock) -> None:
    """What a page asks by delivery or time enters each part by its index, and reads none whole."""
    with statements_of(five_parts) as asked, five_parts.read() as connection:
        assert study_report(connection, uid("s3")) is not None
        since = clock.now() - timedelta(hours=1)
        activity(connection, since, clock.now(), seconds=600, failure_seconds=3_600, ehrs=["ehr"])
    assert max(len(parts) for parts in _entered(five_parts, asked)) == 5
