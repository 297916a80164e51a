"""Images while another transaction keeps the row of one study, on PostgreSQL."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import sqlalchemy as sa

from intu_fhir.db.instance_writer import InstanceWriter
from intu_fhir.db.session import Database
from intu_fhir.db.tables import studies
from intu_fhir.errors import RowLocked
from intu_fhir.stage.rows import Rows, commit_rows
from intu_fhir.stage.withheld import HOLD_SECONDS
from tests.support.clock import FakeClock
from tests.support.staging import header, new_instance
from tests.support.waiting import wait_until

LOCKED, FREE = "1.2.3", "1.2.4"


@pytest.fixture
def rows(database: Database, clock: FakeClock) -> Iterator[Rows]:
    """What stores rows, with two studies in the database."""
    if database.is_sqlite:
        pytest.skip("SQLite has one lock for all rows")
    commit = commit_rows(InstanceWriter(database, "here"))
    commit.start()
    for study in (LOCKED, FREE):
        commit.submit(new_instance(clock.now(), header(study)))
    yield commit
    commit.stop()


def test_a_locked_study_keeps_no_images_of_others_out(
    database: Database, clock: FakeClock, rows: Rows
) -> None:
    """Others wait once for the time-out of the lock, then hardly; the study's own are refused."""

    def submit(study: str) -> float:
        begun = time.monotonic()
        rows.submit(new_instance(clock.now(), header(study)))
        return time.monotonic() - begun

    def keep_trying() -> int:
        refused = 0
        while not over.is_set():
            with pytest.raises(RowLocked):
                submit(LOCKED)
            refused += 1
            over.wait(0.01)
        return refused

    def is_taken(study: str) -> bool:
        with contextlib.suppress(RowLocked):
            submit(study)
            return True
        return False

    over = threading.Event()
    with database.engine.connect() as other, ThreadPoolExecutor() as pool:
        its_row = sa.select(studies.c.study_key).where(studies.c.study_instance_uid == LOCKED)
        other.execute(its_row.with_for_update())
        refused = pool.submit(keep_trying)
        until = time.monotonic() + 9
        seconds = [submit(FREE) for _ in iter(lambda: time.monotonic() < until, False)]
        over.set()
        assert refused.result(30) > 3
        other.rollback()
    late = sorted(seconds)
    assert late[-1] < 9  # the first, which waited for the lock beside the study's own: 5 s
    assert late[-2] < 4  # nobody waited for it again
    wait_until(lambda: is_taken(LOCKED), HOLD_SECONDS + 30)
