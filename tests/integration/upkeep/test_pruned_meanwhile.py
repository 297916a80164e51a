"""A study is pruned while a file of it is restored, or asked for, on another connection."""

from __future__ import annotations

import contextlib
import hashlib
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from intu_fhir.db.file_checks import restore_file
from intu_fhir.db.pruning import Pruner, PruneRule, prune_study
from intu_fhir.db.session import Database
from intu_fhir.db.tables import instances, removals, studies
from intu_fhir.files.local import LocalFileStore
from intu_fhir.files.part10 import part10_head
from tests.integration.stage.test_commitments import ask, check_all, commitments, results
from tests.support.clock import FakeClock
from tests.support.rows import row_waiters, rows_of
from tests.support.seeded import stage
from tests.support.staging import CT_STORAGE, EXPLICIT_LITTLE
from tests.support.studies import uid
from tests.support.waiting import wait_until

NAME, NEW = "old", "instances/new.dcm"
ONE, OTHER = uid(NAME, 1, 0), uid(NAME, 1, 1)


@pytest.fixture
def postgresql(database: Database, clock: FakeClock) -> Database:
    """A database with an old study of two images, one of them said to be damaged."""
    if database.is_sqlite:
        pytest.skip("SQLite has one writer at a time")
    with database.write() as connection:
        at = clock.now() - timedelta(days=30)
        stage(connection, NAME, at=at, deliveries={"ehr": "delivered"})
        damaged = instances.c.sop_instance_uid == ONE
        connection.execute(sa.update(instances).where(damaged).values(damaged_at=at))
    return database


@contextlib.contextmanager
def once_judged(database: Database, do: Callable[[], None]) -> Iterator[None]:
    """Do something elsewhere once a prune has judged its study; then go on as it waits or ends."""
    begun: list[threading.Thread] = []

    def look(_c: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if "INSERT INTO removals" in statement and not begun:
            begun.append(threading.Thread(target=do))
            begun[0].start()
            wait_until(lambda: row_waiters(database) > 0 or not begun[0].is_alive())

    sa.event.listen(database.engine, "before_cursor_execute", look)
    try:
        yield
        begun[0].join(60)
    finally:
        sa.event.remove(database.engine, "before_cursor_execute", look)


def write(database: Database, files: LocalFileStore, instance: str) -> None:
    """Give an instance a file that is what was received."""
    head, data = part10_head(CT_STORAGE, instance, EXPLICIT_LITTLE), b"x" * 100
    [row] = [row for row in rows_of(database, instances) if row.sop_instance_uid == instance]
    (files.root / row.file).parent.mkdir(parents=True)
    (files.root / row.file).write_bytes(head + data)
    its_own = sa.update(instances).where(instances.c.sop_instance_uid == instance)
    now = its_own.values(data_set_offset=len(head), sha256=hashlib.sha256(data).hexdigest())
    with database.write() as connection:
        connection.execute(now)


def prune(database: Database, clock: FakeClock) -> int:
    """Prune the study by a rule that wants a day."""
    rule = PruneRule(clock.now() - timedelta(days=1), ("delivered",), only_forwarded=False)
    with database.write() as connection:
        return prune_study(connection, 1, rule, Pruner("test"), clock.now())


def test_a_file_that_is_restored_meanwhile_stays(postgresql: Database, clock: FakeClock) -> None:
    """What was answered for while its study was judged and pruned is not removed with it."""

    def restore() -> None:
        with postgresql.write() as connection:
            assert restore_file(
                connection, ONE, "0" * 64, file=NEW, data_set_offset=300, now=clock.now()
            )

    with once_judged(postgresql, restore):
        assert prune(postgresql, clock) == 2
    assert NEW not in {row.file for row in rows_of(postgresql, removals)}
    [restored] = [row for row in rows_of(postgresql, instances) if row.sop_instance_uid == ONE]
    assert (restored.file, restored.pruned_at) == (NEW, None)
    assert [row.number_of_pruned for row in rows_of(postgresql, studies)] == [1]
    assert prune(postgresql, clock) == 0


def test_what_is_being_pruned_is_not_promised(
    postgresql: Database, clock: FakeClock, tmp_path: Path
) -> None:
    """Who asks while a study is being pruned is told what becomes of it, not what was."""
    files = LocalFileStore(tmp_path)
    write(postgresql, files, OTHER)
    ask(postgresql, clock, OTHER)
    told: list[list[str]] = []
    checking = commitments(postgresql, files, clock)

    def check() -> None:
        check_all(checking)
        told.append(results(postgresql))

    with once_judged(postgresql, check):
        assert prune(postgresql, clock) == 2
    assert told == [["0112"]]


def test_what_was_asked_for_before_is_not_pruned(
    postgresql: Database, clock: FakeClock, tmp_path: Path
) -> None:
    """Who lists instances first keeps their study, also while that is not committed yet."""
    ask(postgresql, clock, OTHER)
    pruned: list[int] = []
    pruning = threading.Thread(target=lambda: pruned.append(prune(postgresql, clock)))

    def look(_c: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if "INSERT INTO storage_commitment_items" in statement:
            pruning.start()
            wait_until(lambda: row_waiters(postgresql) > 0 or not pruning.is_alive())

    sa.event.listen(postgresql.engine, "before_cursor_execute", look)
    commitments(postgresql, LocalFileStore(tmp_path), clock).list_some()
    pruning.join(60)
    assert pruned == [0]
