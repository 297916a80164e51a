"""Tries to deliver that a test calls old, whatever their number."""

from __future__ import annotations

from datetime import timedelta

import sqlalchemy as sa

from intu_fhir.db.old_attempts import Attempts
from intu_fhir.db.partition_tables import ATTEMPTS
from intu_fhir.db.pruning import Pruner
from intu_fhir.db.session import Connection, Database
from intu_fhir.db.tables import attempts, deliveries
from intu_fhir.upkeep.old_rows import Removal, ScheduledRemoval
from intu_fhir.upkeep.parts import ScheduledCut
from tests.support.clock import FakeClock
from tests.support.seeded import stage

DAY = timedelta(days=1)


def deliver(database: Database, clock: FakeClock, *names: str, state: str = "delivered") -> None:
    """Let studies be where a try brought them now, each with one try."""
    for name in names:
        with database.write() as connection:
            study = stage(connection, name, at=clock.now(), deliveries={"ehr": state})
            try_once(connection, study, clock, "retry" if state == "dead" else "delivered")


def try_once(
    connection: Connection, study_key: int, clock: FakeClock, outcome: str = "delivered"
) -> None:
    """Note a try of a study that ended now, and take tables in the order in which a worker does."""
    of = sa.select(deliveries.c.delivery_key).where(deliveries.c.study_key == study_key)
    values = {"generation": 1, "number": 1, "outcome": outcome}
    times = dict.fromkeys(("started_at", "ended_at"), clock.now())
    row = {"delivery_key": of.scalar_subquery(), **values, **times}
    connection.execute(sa.insert(attempts).values(row))


def end_part(database: Database, clock: FakeClock) -> None:
    """Let tries from now on go into another part than those that are there."""
    if not database.is_sqlite:
        moves = ScheduledCut(database, clock, most_keys=0).cut(ATTEMPTS)
        assert moves == ["announced", "proved", "cut", "left"]


def make_old(database: Database, clock: FakeClock, *names: str, state: str = "delivered") -> None:
    """Let the tries of studies become ten days old, with a later one behind them."""
    deliver(database, clock, *names, state=state)
    end_part(database, clock)
    clock.advance(DAY.total_seconds())
    deliver(database, clock, "behind")
    clock.advance(9 * DAY.total_seconds())


def removal(database: Database, clock: FakeClock) -> Removal:
    """Return what removes tries, in the name of a test."""
    return Removal(database, clock, Pruner("test"), Attempts())


def remove_old(database: Database, clock: FakeClock, days: float = 5) -> None:
    """Let a site remove what is so old."""
    chore = ScheduledRemoval(removal(database, clock), days)
    while chore.remove_some():
        pass
