"""A study settles anew while somebody has it built again, on another connection."""

from __future__ import annotations

import threading

import sqlalchemy as sa

from intu_fhir.db.replay import build_again
from intu_fhir.db.session import Database
from intu_fhir.db.tables import studies, work
from intu_fhir.db.work import want_step
from intu_fhir.model.work import BUILD
from tests.support.clock import FakeClock
from tests.support.rows import row_waiters, rows_of
from tests.support.seeded import stage
from tests.support.waiting import wait_until


def test_what_settles_meanwhile_is_built(database: Database, clock: FakeClock) -> None:
    """A study that settles anew while it is asked to be built again is built as it is by then."""
    now = clock.now()
    with database.write() as connection:
        key = stage(connection, "one")

    def rebuild() -> None:
        with database.write() as connection:
            build_again(connection, [key], now=now)

    rebuilding = threading.Thread(target=rebuild)
    with database.write() as settling:
        settling.execute(sa.update(studies).values(generation=2))
        want_step(settling, BUILD, key, 2, due_at=now, now=now)
        rebuilding.start()
        if not database.is_sqlite:  # which has one writer at a time
            wait_until(lambda: row_waiters(database) > 0)
    rebuilding.join(60)
    [build] = [row for row in rows_of(database, work) if row.step == BUILD]
    assert (build.want, build.have) == (2, 1)
