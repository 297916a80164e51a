"""Images while another transaction keeps the row of one study, on PostgreSQL."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import sqlalchemy as sa

from intu_fhir.db.instances import InstanceWriter
from intu_fhir.db.session import Database
from intu_fhir.db.tables import studies
from intu_fhir.errors import RowLocked
from intu_fhir.stage.rows import Rows, commit_rows
from tests.support.clock import FakeClock
from tests.support.staging import header, new_instance

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
        while not over.done():
            with pytest.raises(RowLocked):
                submit(LOCKED)
            refused += 1
            time.sleep(0.01)
        return refused

    with database.engine.connect() as other, ThreadPoolExecutor() as pool:
        its_row = sa.select(studies.c.study_key).where(studies.c.study_instance_uid == LOCKED)
        other.execute(its_row.with_for_update())
        over = pool.submit(time.sleep, 9)
        refused = pool.submit(keep_trying)
        seconds = [submit(FREE) for _ in iter(over.done, True)]
        assert refused.result(30) > 3
        other.rollback()
    late = sorted(seconds)
    assert late[-1] < 7  # the first, which waited for the lock beside the study's own
    assert late[-2] < 2
    time.sleep(2)
    assert submit(LOCKED) < 1
