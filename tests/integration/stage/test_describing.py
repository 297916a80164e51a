"""Several describers at once, and what they leave alone."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import cast

import pytest
import sqlalchemy as sa

from intu_fhir.db.describing import BLOCK_KEYS, describing
from intu_fhir.db.session import Database
from intu_fhir.db.tables import instances
from intu_fhir.db.uploads import Upload, uploaded, want_uploads
from intu_fhir.errors import StoreUnavailable
from intu_fhir.files.store import FileStore
from intu_fhir.stage import describer as describer_module
from intu_fhir.stage import passing
from intu_fhir.stage.describer import BATCH, Describer
from tests.support.clock import START, FakeClock
from tests.support.plans import plan_of, statements_of
from tests.support.staging import header, new_instance, store
from tests.support.waiting import wait_until

_LONG_AGO = START - timedelta(hours=1)


@dataclass
class NoFiles:
    """A file store that has nothing, which it says once it may: no image can be read."""

    may_answer: threading.Event = field(default_factory=threading.Event)
    was_asked: threading.Event = field(default_factory=threading.Event)
    here: str = "here"

    def file(self, name: str) -> Path:
        """Name a file that is not there."""
        self.was_asked.set()
        assert self.may_answer.wait(60)
        return Path("/nowhere", name)


def _describer(database: Database, clock: FakeClock, files: NoFiles | None = None) -> Describer:
    if files is None:
        files = NoFiles()
        files.may_answer.set()
    return Describer(database, cast(FileStore, files), clock, {})


def _stage(database: Database, number: int, *, elsewhere: bool = False) -> list[str]:
    """Stage instances that came an hour ago; return their files."""
    items = [new_instance(_LONG_AGO, header()) for _ in range(number)]
    store(database, *items)
    files = [item.file for item in items]
    if elsewhere:
        with database.write() as connection:
            rows = [Upload(file, 300, "0" * 64) for file in files]
            want_uploads(connection, "another", rows, START)
    return files


def _left(database: Database) -> int:
    with database.read() as connection:
        waiting = sa.select(sa.func.count()).where(instances.c.described_at.is_(None))
        return int(connection.execute(waiting).scalar_one())


@contextmanager
def _at_work(database: Database, clock: FakeClock, done: list[int]) -> Iterator[None]:
    """Have another process's describer read its first file meanwhile; note how many it did."""
    other, files = Database(database.url), NoFiles()
    describer = _describer(other, clock, files)
    thread = threading.Thread(target=lambda: done.append(describer.describe_some()))
    thread.start()
    try:
        assert files.was_asked.wait(60)
        yield
    finally:
        files.may_answer.set()
        thread.join(60)
        other.close()


def test_describers_at_once_share_the_work(database: Database, clock: FakeClock) -> None:
    """While two are reading their files a third takes what is left, and none does it twice."""
    _stage(database, 4 * BATCH)
    done: list[int] = []
    third = _describer(database, clock)
    with _at_work(database, clock, done):
        if database.is_sqlite:  # one machine: one at a time
            assert third.describe_some() == 0
        else:
            with _at_work(database, clock, done):
                while number := third.describe_some():
                    done.append(number)
            assert len(done) >= 3
    while number := third.describe_some():
        done.append(number)
    assert (sum(done), _left(database)) == (4 * BATCH, 0)


def test_what_a_killed_describer_had_is_described_at_once(
    database: Database, clock: FakeClock
) -> None:
    """Its claims end with its process."""
    _stage(database, BATCH)
    other = subprocess.Popen(
        [sys.executable, "-m", "tests.support.describing_process", database.url],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert other.stdout is not None
    assert int(other.stdout.readline()) == BATCH
    mine = _describer(database, clock)
    assert mine.describe_some() == 0
    other.kill()
    other.communicate()
    wait_until(lambda: mine.describe_some() and not _left(database), 10)


@pytest.mark.parametrize("database_kind", ["postgresql"], indirect=True)
def test_what_a_frozen_describer_has_is_described_by_another(
    database: Database, clock: FakeClock
) -> None:
    """PostgreSQL ends the transaction of one that says nothing for long, and its claims."""
    _stage(database, 3)
    mine = _describer(database, clock)
    with pytest.raises(StoreUnavailable, match="stood still"):
        _freeze_until(database, lambda: mine.describe_some() == 3)


def _freeze_until(database: Database, has_it: Callable[[], bool]) -> None:
    """Claim three instances, say nothing until another one has them, and go on."""
    with describing(database) as frozen:
        frozen.connection.exec_driver_sql("SET LOCAL idle_in_transaction_session_timeout = '200ms'")
        assert frozen.take([1, 2, 3], BATCH) == [1, 2, 3]
        wait_until(has_it)
        frozen.connection.execute(sa.select(1))


def test_what_was_described_since_it_was_seen_is_left_alone(
    database: Database, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another one's work may end between a look and a claim."""
    _stage(database, 3)
    mine, other = _describer(database, clock), _describer(database, clock)
    with database.read() as connection:
        seen = list(mine.passing.by(connection, "here", clock.now()))
    assert other.describe_some() == 3
    monkeypatch.setattr(mine.passing, "by", lambda *_: iter(seen))
    assert mine.describe_some() == 0


def test_a_slow_batch_ends_where_it_is(
    database: Database, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What takes long is stored in parts: a claim must not outlast the database's patience."""
    _stage(database, 3)
    monkeypatch.setattr(describer_module, "BATCH_SECONDS", 0.0)
    slow = _describer(database, clock)
    assert [slow.describe_some() for _ in range(4)] == [1, 1, 1, 0]


def test_an_import_waits_for_what_another_process_has(database: Database, clock: FakeClock) -> None:
    """When it returns the headers are staged, whoever read them."""
    _stage(database, BLOCK_KEYS - 1)
    done: list[int] = []
    mine = _describer(database, clock)
    waiting = threading.Thread(target=mine.describe_all)
    with _at_work(database, clock, done):
        waiting.start()
        waiting.join(0.3)
        assert waiting.is_alive()
    waiting.join(60)
    assert (waiting.is_alive(), _left(database), done) == (False, 0, [BLOCK_KEYS - 1])


# ---- what waits in the spool of another machine


def _looks(database: Database, describer: Describer) -> int:
    """Return how many looks along the instances one idle turn costs."""
    with statements_of(database) as asked:
        assert describer.describe_some() == 0
    return sum("ORDER BY instances.instance_key" in text for text, _ in asked)


@pytest.fixture
def short_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a look go over four instances."""
    monkeypatch.setattr(passing, "LOOK_ROWS", 4)


@pytest.mark.usefixtures("short_looks")
def test_a_dead_spool_costs_an_idle_describer_two_looks(
    database: Database, clock: FakeClock
) -> None:
    """What waits elsewhere for long is passed once, and looked at again a part at a time."""
    _stage(database, 40, elsewhere=True)
    mine = _describer(database, clock)
    assert _looks(database, mine) == 11
    assert [_looks(database, mine) for _ in range(12)] == [2] * 12


@pytest.mark.usefixtures("short_looks")
def test_new_images_do_not_wait_behind_a_dead_spool(database: Database, clock: FakeClock) -> None:
    """What can be read is described at the next look, wherever it stands."""
    mine = _describer(database, clock)
    for _ in range(2):
        _stage(database, 40, elsewhere=True)
        _stage(database, 3)
        assert (mine.describe_some(), mine.describe_some()) == (3, 0)


@pytest.mark.usefixtures("short_looks")
def test_a_spool_that_comes_back_is_described(database: Database, clock: FakeClock) -> None:
    """What was passed is found once it is uploaded, wherever it stands."""
    files = _stage(database, 40, elsewhere=True)
    mine = _describer(database, clock)
    assert mine.describe_some() == 0
    with database.write() as connection:
        uploaded(connection, [files[3], *files[20:30]])
    assert sum(mine.describe_some() for _ in range(20)) == 11
    with database.write() as connection:
        uploaded(connection, files)
    assert sum(mine.describe_some() for _ in range(20)) == 29


@pytest.mark.usefixtures("short_looks")
def test_what_came_a_short_time_ago_is_looked_at_each_time(
    database: Database, clock: FakeClock
) -> None:
    """An image of another machine is read as soon as it is uploaded, not when its turn comes."""
    _stage(database, 40, elsewhere=True)
    item = new_instance(clock.now(), header())
    store(database, item)
    with database.write() as connection:
        want_uploads(connection, "another", [Upload(item.file, 300, "0" * 64)], START)
    mine = _describer(database, clock)
    assert [mine.describe_some() for _ in range(3)] == [0, 0, 0]
    with database.write() as connection:
        uploaded(connection, [item.file])
    assert mine.describe_some() == 1


def test_a_look_reads_what_it_looks_at(database: Database, clock: FakeClock) -> None:
    """It goes along an index and asks for the spool of each row; no table is read or sorted."""
    _stage(database, 2_000)
    with database.write() as connection:
        connection.execute(sa.update(instances).values(described_at=START))
    _stage(database, 1_000, elsewhere=True)
    with database.engine.connect() as connection:
        connection.execution_options(isolation_level="AUTOCOMMIT").exec_driver_sql("ANALYZE")
    mine = _describer(database, clock)
    with statements_of(database) as asked:
        assert mine.describe_some() == 0
        assert mine.describe_some() == 0
    looks = {text: given for text, given in asked if "FROM instances" in text}
    assert len(looks) == 2
    for text, given in looks.items():
        plan = "\n".join(plan_of(database, text, given))
        assert "ix_instances_undescribed" in plan
        for word in ("Seq Scan", "Sort", "SCAN uploads", "TEMP B-TREE"):
            assert word not in plan, plan
