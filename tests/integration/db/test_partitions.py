"""Complete headers in parts: a place for every row, a new part each month, and nothing lost."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest
import sqlalchemy as sa

from intu_fhir.db import migrate, partitions
from intu_fhir.db.instances import store_instances
from intu_fhir.db.partition_tables import HEADERS
from intu_fhir.db.partitions import Part, next_move, parts_of
from intu_fhir.db.session import Database
from intu_fhir.db.tables import headers, instances
from intu_fhir.errors import StoreUnavailable
from intu_fhir.upkeep.parts import EVERY_SECONDS, ScheduledCut
from tests.support.clock import FakeClock
from tests.support.rows import waiters
from tests.support.staging import describe_all, header, new_instance, store
from tests.support.waiting import wait_until

MONTH = timedelta(days=31)


@pytest.fixture
def postgresql(database: Database) -> Database:
    """The database where it has parts; SQLite has one table, and a test of its own."""
    if database.is_sqlite:
        pytest.skip("SQLite has no partitions")
    return database


def _receive(database: Database, clock: FakeClock, count: int = 3) -> None:
    """Store and describe instances that come now."""
    store(database, *(new_instance(clock.now(), header("1.2.3")) for _ in range(count)))
    describe_all(database, clock.now())


def _parts(database: Database) -> list[Part]:
    with database.read() as connection:
        return parts_of(connection, HEADERS)


def _rows(database: Database, table: str = "headers") -> int:
    with database.read() as connection:
        asked = sa.select(sa.func.count()).select_from(sa.table(table))
        return int(connection.execute(asked).scalar_one())


def _skip_to(database: Database, key: int) -> None:
    """Let the next instance have a key beyond another one, as a busy month would."""
    with database.write() as connection:
        sequence = "pg_get_serial_sequence('instances', 'instance_key')"
        connection.exec_driver_sql(f"SELECT setval({sequence}, {key})")


def test_sqlite_has_one_table_and_nothing_is_due(database: Database, clock: FakeClock) -> None:
    """The same call does nothing there; on PostgreSQL nothing is due while nothing came."""
    assert ScheduledCut(database, clock).cut(HEADERS) == []
    assert len(_parts(database)) == (0 if database.is_sqlite else 1)


def test_a_month_that_is_over_is_cut_in_three_moves(postgresql: Database, clock: FakeClock) -> None:
    """The first part gets its end ahead of the newest key; what comes behind goes to the next."""
    _receive(postgresql, clock)
    cut = ScheduledCut(postgresql, clock)
    assert cut.cut(HEADERS) == []  # its month is not over
    clock.advance(MONTH.total_seconds())
    assert cut.cut(HEADERS) == ["announced", "proved", "cut"]
    [first, last] = _parts(postgresql)
    assert (first.first, last.end) == (None, None)
    assert first.end == last.first == 3 + partitions.LEAST_AHEAD
    _receive(postgresql, clock)
    _skip_to(postgresql, first.end)
    _receive(postgresql, clock)
    assert (_rows(postgresql, first.name), _rows(postgresql, last.name)) == (6, 3)
    assert _rows(postgresql) == 9


def test_the_next_part_is_there_before_it_is_needed(postgresql: Database, clock: FakeClock) -> None:
    """An open part without rows is the next one: nobody cuts it until something came into it."""
    _receive(postgresql, clock)
    clock.advance(MONTH.total_seconds())
    cut = ScheduledCut(postgresql, clock)
    cut.cut(HEADERS)
    clock.advance(MONTH.total_seconds())
    assert cut.cut(HEADERS) == []
    assert len(_parts(postgresql)) == 2


def test_a_row_has_a_place_however_long_nobody_cut(postgresql: Database, clock: FakeClock) -> None:
    """Rows of a year go into the last part, and the next maintainer cuts behind them."""
    for _ in range(12):
        _receive(postgresql, clock)
        clock.advance(MONTH.total_seconds())
    assert ScheduledCut(postgresql, clock).cut(HEADERS) == ["announced", "proved", "cut"]
    assert [_rows(postgresql, part.name) for part in _parts(postgresql)] == [36, 0]


def test_a_part_with_too_many_is_cut_within_its_month(
    postgresql: Database, clock: FakeClock
) -> None:
    """A site that fills a part sooner gets the next one sooner."""
    _receive(postgresql, clock, 5)
    assert ScheduledCut(postgresql, clock, most_keys=5).cut(HEADERS) == []
    assert ScheduledCut(postgresql, clock, most_keys=4).cut(HEADERS) == [
        "announced",
        "proved",
        "cut",
    ]


def test_the_end_lies_two_days_of_instances_ahead(
    postgresql: Database, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As many keys as were given in two days fit in between, so that no row meets the CHECK."""
    monkeypatch.setattr(partitions, "LEAST_AHEAD", 2)
    _receive(postgresql, clock, 5)
    clock.advance(MONTH.total_seconds())
    _receive(postgresql, clock, 9)
    clock.advance(timedelta(days=1).total_seconds())
    ScheduledCut(postgresql, clock).cut(HEADERS)
    assert _parts(postgresql)[0].end == 14 + 16  # the first power of two behind which is older


@pytest.mark.parametrize("moves", [1, 2])
def test_a_cut_that_stopped_goes_on(postgresql: Database, clock: FakeClock, moves: int) -> None:
    """A maintainer that died between two moves is followed by one that does the rest."""
    _receive(postgresql, clock)
    clock.advance(MONTH.total_seconds())
    for _ in range(moves):
        with postgresql.write() as connection:
            assert next_move(connection, HEADERS, clock.now())
    _receive(postgresql, clock)
    assert ScheduledCut(postgresql, clock).cut(HEADERS)[-1] == "cut"
    assert [_rows(postgresql, part.name) for part in _parts(postgresql)] == [6, 0]
    assert all(part.cut_at is None for part in _parts(postgresql))


def test_an_end_that_rows_come_up_to_is_taken_back(postgresql: Database, clock: FakeClock) -> None:
    """An announced end is no wall: where it was not proved in time, another one is found."""
    _receive(postgresql, clock)
    clock.advance(MONTH.total_seconds())
    with postgresql.write() as connection:
        assert next_move(connection, HEADERS, clock.now()) == "announced"
    _skip_to(postgresql, 3 + partitions.LEAST_AHEAD - 100)
    _receive(postgresql, clock)
    assert ScheduledCut(postgresql, clock).cut(HEADERS) == [
        "withdrawn",
        "announced",
        "proved",
        "cut",
    ]
    assert (_parts(postgresql)[0].end or 0) > 3 + partitions.LEAST_AHEAD


def test_whoever_reads_for_long_is_not_waited_for(postgresql: Database, clock: FakeClock) -> None:
    """A backup keeps the table; the cut is left for later, and rows go on coming meanwhile."""
    _receive(postgresql, clock)
    clock.advance(MONTH.total_seconds())
    cut = ScheduledCut(postgresql, clock)
    with postgresql.read() as backup:
        backup.execute(sa.select(headers.c.instance_key)).all()
        assert cut.cut(HEADERS) == []
        _receive(postgresql, clock)
    assert cut.cut_some() == 0
    assert len(_parts(postgresql)) == 2
    clock.advance(EVERY_SECONDS)
    assert cut.cut_some() == 0


def test_a_receiver_is_not_kept_from_its_instance(postgresql: Database, clock: FakeClock) -> None:
    """Who has looked at instances may write there at once, while the cut waits for the look's end.

    Otherwise each would wait for the other, and PostgreSQL might refuse the receiver.
    """
    _receive(postgresql, clock)
    clock.advance(MONTH.total_seconds())
    for move in ("announced", "proved"):
        with postgresql.write() as connection:
            assert next_move(connection, HEADERS, clock.now()) == move
    one = new_instance(clock.now(), header("1.2.3"))
    cut = threading.Thread(target=ScheduledCut(postgresql, clock).cut, args=(HEADERS,))
    with postgresql.write() as receiver:
        receiver.execute(sa.select(instances.c.instance_key)).all()
        cut.start()
        wait_until(lambda: waiters(postgresql) or not cut.is_alive())  # it soon gives up
        receiver.exec_driver_sql("SET LOCAL lock_timeout = '50ms'")
        store_instances(receiver, [one], receiver="here")
    cut.join(60)
    ScheduledCut(postgresql, clock).cut(HEADERS)
    assert (_rows(postgresql, "instances"), len(_parts(postgresql))) == (4, 2)


def test_two_maintainers_cut_once(postgresql: Database, clock: FakeClock) -> None:
    """While one makes its move the other finds nothing to do, and goes on from there."""
    _receive(postgresql, clock)
    clock.advance(MONTH.total_seconds())
    with postgresql.write() as first:
        assert next_move(first, HEADERS, clock.now()) == "announced"
        with postgresql.write() as second:
            assert next_move(second, HEADERS, clock.now()) == ""
    both = [
        threading.Thread(target=ScheduledCut(postgresql, clock).cut, args=(HEADERS,))
        for _ in range(2)
    ]
    for one in both:
        one.start()
    for one in both:
        one.join(60)
    ScheduledCut(postgresql, clock).cut(HEADERS)
    assert [part.name for part in _parts(postgresql)] == ["headers_0001", "headers_0002"]
    assert _rows(postgresql) == 3


def test_a_cut_reads_no_row_under_its_lock(postgresql: Database, clock: FakeClock) -> None:
    """What was proved before tells PostgreSQL that every row lies within the bounds."""
    _receive(postgresql, clock)
    clock.advance(MONTH.total_seconds())
    said: list[str] = []
    with postgresql.write() as connection:
        next_move(connection, HEADERS, clock.now())
    with postgresql.write() as connection:
        next_move(connection, HEADERS, clock.now())
    with postgresql.write() as connection:
        driver = connection.connection.driver_connection
        assert driver is not None
        driver.add_notice_handler(lambda notice: said.append(notice.message_primary))
        connection.exec_driver_sql("SET LOCAL client_min_messages = debug1")
        assert next_move(connection, HEADERS, clock.now()) == "cut"
    implied = 'partition constraint for table "headers_0001" is implied by existing constraints'
    assert implied in said


def test_a_header_is_found_in_its_part_alone(postgresql: Database, clock: FakeClock) -> None:
    """A lookup by keys enters the one part that can have them, by its index."""
    _receive(postgresql, clock)
    clock.advance(MONTH.total_seconds())
    ScheduledCut(postgresql, clock).cut(HEADERS)
    with postgresql.read() as connection:
        connection.exec_driver_sql("SET LOCAL enable_seqscan = off")  # three rows fit on one page
        found = connection.exec_driver_sql(
            "EXPLAIN SELECT dicom_json FROM headers WHERE instance_key IN (1, 2)"
        )
        plan = "\n".join(row[0] for row in found)
    assert "headers_0001" in plan
    assert "headers_0002" not in plan
    assert "Index" in plan


def test_the_way_back_keeps_every_header(postgresql: Database, clock: FakeClock) -> None:
    """The older schema has one table with what all parts held, and the way up goes from there."""
    _receive(postgresql, clock)
    clock.advance(MONTH.total_seconds())
    ScheduledCut(postgresql, clock).cut(HEADERS)
    _skip_to(postgresql, 5_000)
    _receive(postgresql, clock)
    migrate.downgrade(postgresql.url, "0016")
    assert _rows(postgresql) == 6
    migrate.upgrade(postgresql.url)
    [only] = _parts(postgresql)
    assert (only.name, only.first, only.end) == ("headers_0001", None, None)
    assert _rows(postgresql, only.name) == 6
    clock.advance(MONTH.total_seconds())
    assert ScheduledCut(postgresql, clock).cut(HEADERS) == ["announced", "proved", "cut"]


def test_the_upgrade_waits_for_nobody_long(postgresql: Database, clock: FakeClock) -> None:
    """A reader in the way makes the upgrade give up, with everything as before."""
    _receive(postgresql, clock)
    migrate.downgrade(postgresql.url, "0016")
    with postgresql.read() as reader:
        reader.execute(sa.select(headers.c.instance_key)).all()
        with pytest.raises(StoreUnavailable):
            migrate.upgrade(postgresql.url, "0017")
        _receive(postgresql, clock)
    assert migrate.current(postgresql.url) == "0016"
    migrate.upgrade(postgresql.url, "0017")
    assert _rows(postgresql) == 6


def test_a_header_without_an_instance_is_refused_in_every_part(
    postgresql: Database, clock: FakeClock
) -> None:
    """The reference to instances holds in a part that was cut and in the one behind it."""
    _receive(postgresql, clock)
    clock.advance(MONTH.total_seconds())
    ScheduledCut(postgresql, clock).cut(HEADERS)
    for key in (500, 50_000):
        with pytest.raises(sa.exc.IntegrityError), postgresql.write() as connection:
            connection.execute(sa.insert(headers), {"instance_key": key, "dicom_json": {}})
    with pytest.raises(sa.exc.IntegrityError), postgresql.write() as connection:
        connection.execute(sa.delete(instances))
