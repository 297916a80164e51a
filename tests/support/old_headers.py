"""Complete headers that a test calls old, whatever their number."""

from __future__ import annotations

from datetime import datetime, timedelta

import sqlalchemy as sa

from intu_fhir.db.old_headers import Headers
from intu_fhir.db.partition_tables import HEADERS
from intu_fhir.db.partitions import parts_of
from intu_fhir.db.pruning import Pruner
from intu_fhir.db.session import Database
from intu_fhir.db.tables import associations, work
from intu_fhir.observe.clock import Clock, SystemClock
from intu_fhir.upkeep.old_rows import Removal, ScheduledRemoval
from intu_fhir.upkeep.parts import ScheduledCut
from tests.support.clock import FakeClock
from tests.support.staging import describe_all, header, new_instance, store

DAY = timedelta(days=1)


def end_part(database: Database, clock: Clock | None = None) -> None:
    """Let what comes from now on go into another part than what is there."""
    if database.is_sqlite:
        return
    assert ScheduledCut(database, clock or SystemClock(), most_keys=0).cut(HEADERS)[-1] == "cut"
    with database.write() as connection:
        end = parts_of(connection, HEADERS)[-1].first
        sequence = "pg_get_serial_sequence('instances', 'instance_key')"
        connection.exec_driver_sql(f"SELECT setval({sequence}, {end})")


def removal(database: Database, clock: Clock | None = None) -> Removal:
    """Return what removes headers, in the name of a test."""
    return Removal(database, clock or SystemClock(), Pruner("test"), Headers())


def remove_all(database: Database, before: datetime | None = None) -> None:
    """Remove all that is old, or older than a time."""
    steps = removal(database).steps(before or SystemClock().now() + timedelta(seconds=1))
    while steps.step():
        pass


def receive(database: Database, clock: FakeClock, *studies_of: str) -> None:
    """Store, describe and settle one instance of each study, which go nowhere."""
    store(database, *(new_instance(clock.now(), header(study)) for study in studies_of))
    describe_all(database, clock.now())
    settle(database)


def settle(database: Database) -> None:
    """Let nothing be to do with what has come, as where a channel has no destinations."""
    with database.write() as connection:
        connection.execute(sa.update(work).values(have=work.c.want, state="done", due_at=None))
        connection.execute(sa.update(associations).values(ended_at=sa.func.current_timestamp()))


def make_old(database: Database, clock: FakeClock, *studies_of: str) -> None:
    """Let studies become ten days old, with a later one behind them."""
    receive(database, clock, *studies_of)
    end_part(database, clock)
    clock.advance(DAY.total_seconds())
    receive(database, clock, "9.9")
    clock.advance(9 * DAY.total_seconds())


def remove_old(database: Database, clock: FakeClock, days: float = 5) -> None:
    """Let a site remove what is so old."""
    chore = ScheduledRemoval(removal(database, clock), days)
    while chore.remove_some():
        pass
