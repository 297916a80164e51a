"""While old headers are removed: receivers, readers, and others who remove or cut."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest
import sqlalchemy as sa
from sqlalchemy import Connection

from intu_fhir.db.described import store_described, undescribed
from intu_fhir.db.image_files import headers_of, notes_of
from intu_fhir.db.instances import store_instances
from intu_fhir.db.old_headers import Headers, be_first_at_headers
from intu_fhir.db.partition_tables import HEADERS
from intu_fhir.db.partitions import next_move
from intu_fhir.db.session import Database
from intu_fhir.db.spans import empty
from intu_fhir.db.tables import audit_events, headers, instances
from intu_fhir.errors import StoreUnavailable
from intu_fhir.upkeep.old_rows import AGAIN_SECONDS, ScheduledRemoval
from intu_fhir.upkeep.parts import ScheduledCut
from tests.support.clock import FakeClock
from tests.support.old_headers import (
    DAY,
    make_old,
    receive,
    removal,
    remove_old,
)
from tests.support.rows import rows_of, waiters
from tests.support.staging import describe_all, described, header, new_instance, store
from tests.support.waiting import wait_until

pytestmark = pytest.mark.usefixtures("small_spans")


@pytest.fixture
def postgresql(database: Database) -> Database:
    """The database where it has parts."""
    if database.is_sqlite:
        pytest.skip("SQLite has no parts")
    return database


def test_whoever_reads_for_long_is_not_waited_for(database: Database, clock: FakeClock) -> None:
    """A part that a backup reads goes ten minutes later; on SQLite readers keep what they see."""
    make_old(database, clock, "1.1")
    chore = ScheduledRemoval(removal(database, clock), 5)
    with database.snapshot() as backup:
        be_first_at_headers(backup)
        backup.execute(sa.select(sa.func.count()).select_from(instances))
        before = headers_of(backup, [1, 2]) if database.is_sqlite else None
        worked = chore.remove_some()
        assert worked == (1 if database.is_sqlite else 0)
        if database.is_sqlite:
            assert headers_of(backup, [1, 2]) == before
        assert 1 in headers_of(backup, [1])
    clock.advance(AGAIN_SECONDS)
    while chore.remove_some():
        pass
    assert len(rows_of(database, headers)) == 1


def test_several_processes_remove_once(database: Database, clock: FakeClock) -> None:
    """Whoever comes second finds nothing to do; each header is on record once."""
    make_old(database, clock, "1.1", "1.2", "1.3")
    at_once = [threading.Thread(target=remove_old, args=(database, clock)) for _ in range(3)]
    for one in at_once:
        one.start()
    for one in at_once:
        one.join(60)
    remove_old(database, clock)
    assert len(rows_of(database, headers)) == 1
    assert sum(row.objects for row in rows_of(database, audit_events)) == 3


def test_readers_and_writers_go_on_meanwhile(database: Database, clock: FakeClock) -> None:
    """While spans go, instances are received, described and read, and nobody fails."""
    make_old(database, clock, *(f"1.{number}" for number in range(1, 9)))
    failed: list[Exception] = []
    done = threading.Event()

    def keep(doing: Callable[[], object]) -> None:
        try:
            while not done.is_set():
                doing()
        except Exception as error:  # noqa: BLE001 - whatever it was, the test tells it
            failed.append(error)

    def read() -> None:
        with database.snapshot() as connection:
            be_first_at_headers(connection)
            headers_of(connection, range(1, 20))
            notes_of(connection, range(1, 9))

    def write() -> None:
        store(database, new_instance(clock.now(), header("8.8")))
        describe_all(database, clock.now())

    threads = [threading.Thread(target=keep, args=(doing,)) for doing in (read, read, write)]
    for one in threads:
        one.start()
    try:
        for _ in range(20):
            remove_old(database, clock)
            clock.advance(AGAIN_SECONDS)
    finally:
        done.set()
        for one in threads:
            one.join(60)
    assert failed == []
    assert not {row.instance_key for row in rows_of(database, headers)} & set(range(1, 9))


def test_no_receiver_waits_behind_a_removal(postgresql: Database, clock: FakeClock) -> None:
    """While a removal waits for a reader of its part, instances are stored and described."""
    make_old(postgresql, clock, "1.1")
    waiting = threading.Thread(target=remove_old, args=(postgresql, clock))
    with postgresql.read() as reader:
        reader.execute(sa.select(headers.c.instance_key)).all()
        waiting.start()
        wait_until(lambda: waiters(postgresql) or not waiting.is_alive())  # it soon gives up
        _receive_at_once(postgresql, clock)
    waiting.join(60)
    assert len(rows_of(postgresql, instances)) == 3


def test_no_receiver_waits_for_a_removal(postgresql: Database, clock: FakeClock) -> None:
    """While a part is emptied, who has looked at instances stores and describes one at once."""
    make_old(postgresql, clock, "1.1")
    with postgresql.write() as connection:
        _empty(connection, postgresql, clock)
        _receive_at_once(postgresql, clock)
    assert (len(rows_of(postgresql, instances)), len(rows_of(postgresql, headers))) == (3, 2)


def _empty(connection: Connection, database: Database, clock: FakeClock) -> None:
    """Empty the old part in a transaction that the test ends."""
    removing, before = removal(database, clock), clock.now() - 5 * DAY
    [old] = removing.find(before)
    gone = empty(connection, Headers(), old.span, before, removing.by, clock.now())
    assert gone is not None
    assert not gone.kept_by


def _receive_at_once(database: Database, clock: FakeClock) -> None:
    """Store and describe an instance of a new study, waiting for no table."""
    with database.write() as receiver:
        receiver.exec_driver_sql("SET LOCAL lock_timeout = '50ms'")
        store_instances(receiver, [new_instance(clock.now(), header("8.8"))], receiver="here")
        found = [described(item) for item in undescribed(receiver, 1)]
        store_described(receiver, found, clock.now())


def test_no_part_is_cut_while_one_is_emptied(postgresql: Database, clock: FakeClock) -> None:
    """Who comes second leaves it for later, or both could wait in a circle, receivers behind."""
    make_old(postgresql, clock, "1.1")
    receive(postgresql, clock, "9.9")
    removing, before = removal(postgresql, clock), clock.now() - 5 * DAY
    [old] = removing.find(before)
    with postgresql.write() as connection:
        assert next_move(connection, HEADERS, clock.now(), most_keys=0) == "announced"
        with pytest.raises(StoreUnavailable, match="Another process"):
            removing.empty(old.span, before)
    with postgresql.write() as connection:
        _empty(connection, postgresql, clock)
        with postgresql.write() as second:
            assert next_move(second, HEADERS, clock.now(), most_keys=0) == ""
    assert ScheduledCut(postgresql, clock).cut(HEADERS) == ["proved", "cut"]


def test_the_limit_of_a_part_that_waits_is_short(postgresql: Database, clock: FakeClock) -> None:
    """A reader in the way is told as something that passes, and nothing was removed."""
    make_old(postgresql, clock, "1.1")
    with postgresql.read() as reader:
        reader.execute(sa.select(headers.c.instance_key)).all()
        with pytest.raises(StoreUnavailable):
            removal(postgresql, clock).steps(clock.now() - 5 * DAY).step()
    assert len(rows_of(postgresql, headers)) == 2
