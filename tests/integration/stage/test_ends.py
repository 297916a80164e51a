"""How associations ended is written down beside them."""

from __future__ import annotations

import threading
import time

import pytest
import sqlalchemy as sa

from intu_fhir.db.session import Database
from intu_fhir.db.tables import associations
from intu_fhir.model.instance import Disposition
from intu_fhir.stage.ends import Ends
from tests.support.clock import FakeClock
from tests.support.staging import origin
from tests.support.waiting import wait_until


def ended(database: Database) -> dict[str, tuple[str, int]]:
    """Return reason and count of stored objects by association."""
    with database.read() as connection:
        rows = connection.execute(
            sa.select(
                associations.c.association_id, associations.c.end_reason, associations.c.stored
            ).where(associations.c.ended_at.is_not(None))
        )
        return {one: (reason, stored) for one, reason, stored in rows}


def test_an_end_is_written_and_told(database: Database, clock: FakeClock) -> None:
    """The row of the association says how it ended and what it brought."""
    noted = threading.Event()
    ends = Ends(database, clock, "here", settles=lambda _: True, noted=noted.set)
    ends.start()
    ends(origin("a1"), "released", {Disposition.STORED: 3})
    assert noted.wait(10)
    assert ended(database) == {"a1": ("released", 3)}
    ends.stop()


@pytest.mark.timed
def test_a_locked_database_holds_no_association(database: Database, clock: FakeClock) -> None:
    """Telling of an end takes no time while the database waits; it is written later."""
    ends = Ends(database, clock, "here", settles=lambda _: False, noted=lambda: None)
    ends.start()
    with database.write() as connection:
        if not database.is_sqlite:
            connection.exec_driver_sql("LOCK TABLE associations")
        begun = time.monotonic()
        for number in range(50):
            ends(origin(f"a{number}"), "released", {})
        assert time.monotonic() - begun < 1
        assert ended_elsewhere(database) == 0
    wait_until(lambda: len(ended(database)) == 50)
    ends.stop()


def ended_elsewhere(database: Database) -> int:
    """Return how many ends another connection sees; PostgreSQL's lock hides the table."""
    return len(ended(database)) if database.is_sqlite else 0


def test_one_that_cannot_be_written_ends_nothing(database: Database, clock: FakeClock) -> None:
    """An error that nobody has thought of costs its ends, and the next ones are written."""
    strange = iter([RuntimeError("strange")])

    def settles(_: str) -> bool:
        for error in strange:
            raise error
        return False

    ends = Ends(database, clock, "here", settles=settles, noted=lambda: None)
    ends.start()
    ends(origin("a1"), "released", {})
    wait_until(lambda: not ends._waiting)
    ends(origin("a2"), "released", {})
    wait_until(lambda: list(ended(database)) == ["a2"])
    ends.stop()


def test_stopping_writes_what_is_left(database: Database, clock: FakeClock) -> None:
    """Ends that came just before the stop are written."""
    ends = Ends(database, clock, "here", settles=lambda _: False, noted=lambda: None)
    ends.start()
    for number in range(250):
        ends(origin(f"a{number}"), "released", {})
    ends.stop()
    assert len(ended(database)) == 250
