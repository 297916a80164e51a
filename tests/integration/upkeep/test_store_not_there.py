"""A file store whose disk is not mounted, or whose files cannot be looked at: no file is judged."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa

from intu_fhir.app.storing import begin_anew, open_files
from intu_fhir.db.pruning import Pruner
from intu_fhir.db.session import Database
from intu_fhir.db.tables import instances, removals
from intu_fhir.errors import StoreUnavailable
from intu_fhir.files.local import LocalFileStore
from intu_fhir.files.mark import read_mark
from intu_fhir.settings.schema import Site
from intu_fhir.upkeep.prune import Prune
from intu_fhir.upkeep.verify import WITHHELD, Verifier
from tests.integration.stage.test_commitments import (
    ask,
    commitments,
    results,
    stage_file,
    uid_of,
)
from tests.support.clock import FakeClock
from tests.support.databases import sqlite_url
from tests.support.rows import rows_of
from tests.support.staging import header, new_instance, store


class Mount:
    """A folder on which the disk of a file store is mounted, or is not."""

    def __init__(self, database: Database, clock: FakeClock, folder: Path) -> None:
        self.root, self._away = folder / "files", folder / "away"
        self.database, self.clock = database, clock
        self.files = LocalFileStore(self.root)
        self.names = [stage_file(database, clock, self.files, b"x" * 500) for _ in range(3)]

    def unmount(self) -> None:
        """Leave an empty folder."""
        self.root.rename(self._away)
        self.root.mkdir()

    def mount(self) -> None:
        """Have all of it back, whatever stands in the folder below."""
        if self.root.exists():
            self.root.rename(self.root.with_name("below"))
        self._away.rename(self.root)

    def noted(self) -> int:
        """Return of how many images damage is noted."""
        return sum(row.damaged_at is not None for row in rows_of(self.database, instances))


@pytest.fixture
def mount(database: Database, clock: FakeClock, tmp_path: Path) -> Iterator[Mount]:
    """A store with three images."""
    mount = Mount(database, clock, tmp_path)
    with closing(mount.files):
        yield mount


@pytest.fixture
def other_database(migrated_sqlite: Path, tmp_path: Path) -> Iterator[Database]:
    """The staging database of another site."""
    copied = shutil.copyfile(migrated_sqlite, tmp_path / "other.db")
    with closing(Database(sqlite_url(copied))) as database:
        yield database


@pytest.mark.parametrize("contents", [True, False])
def test_a_store_that_is_not_mounted_condemns_no_image(mount: Mount, contents: bool) -> None:
    """A check ends with an error that names the folder; nothing is noted, and all is well later."""
    verifier = Verifier(mount.database, mount.files, mount.clock, contents=contents)
    mount.unmount()
    with pytest.raises(StoreUnavailable, match="mount its disk"):
        verifier.run()
    assert mount.noted() == 0
    mount.mount()
    assert verifier.run().good


def test_a_store_that_goes_during_a_check_condemns_no_image(mount: Mount) -> None:
    """What is not found once the disk is away is not noted either."""

    class Going(LocalFileStore):
        """A store that goes with its second file."""

        def blocks(self, name: str) -> Iterator[bytes]:
            """Give all of a file."""
            if name == mount.names[1]:
                mount.unmount()
            yield from super().blocks(name)

    with pytest.raises(StoreUnavailable, match="mount its disk"):
        Verifier(mount.database, Going(mount.root), mount.clock).run()
    assert mount.noted() == 0


@pytest.mark.parametrize("why", [errno.EMFILE, errno.ENOMEM, errno.EACCES])
def test_what_cannot_be_looked_at_is_not_damaged(mount: Mount, why: int) -> None:
    """Lack of open files, memory or permission is told as such, and noted of no image."""

    class Short(LocalFileStore):
        """A store that cannot open anything right now."""

        def blocks(self, name: str) -> Iterator[bytes]:
            """Fail as the system does when it lacks something."""
            raise OSError(why, os.strerror(why), name)

    report = Verifier(mount.database, Short(mount.root), mount.clock).run()
    assert {fault.what for fault in report.faults} == {WITHHELD}
    assert mount.noted() == 0


def test_what_is_not_seen_does_not_count_as_removed(mount: Mount) -> None:
    """A removal waits for the disk: what it cannot see would stay there for ever."""
    [name, *_] = mount.names
    with mount.database.write() as connection:
        connection.execute(sa.insert(removals).values(file=name, asked_at=mount.clock.now()))
    prune = Prune(mount.database, mount.files, mount.clock, Pruner("test"))
    mount.unmount()
    with pytest.raises(StoreUnavailable, match="mount its disk"):
        prune.remove_files()
    mount.mount()
    assert prune.remove_files() == 1
    assert not (mount.root / name).exists()


def opened(mount: Mount) -> LocalFileStore:
    """Open the store as every program of a site does."""
    return open_files(Site(files=mount.root, database=mount.database.url), mount.database)


def test_an_empty_folder_is_no_store_of_images_that_are_known(mount: Mount) -> None:
    """Nobody works on the folder below the disk; what is there already is known without asking."""
    opened(mount).close()
    mount.unmount()
    with pytest.raises(StoreUnavailable, match="mount the disk of the file store"):
        opened(mount)
    assert list(mount.root.iterdir()) == []
    mount.mount()
    with closing(opened(mount)) as files:
        assert Verifier(mount.database, files, mount.clock).run().good


def test_a_store_that_loses_all_its_files_is_still_one(mount: Mount) -> None:
    """By its mark it is known; what is missing is noted."""
    opened(mount).close()
    for name in mount.names:
        (mount.root / name).unlink()
    with closing(opened(mount)) as files:
        Verifier(mount.database, files, mount.clock).run()
    assert mount.noted() == 3


def test_a_site_without_images_begins_in_an_empty_folder(
    database: Database, clock: FakeClock, tmp_path: Path
) -> None:
    """The first start makes the store, and it is one from then on, also before its first file."""
    site = Site(files=tmp_path / "new", database=database.url)
    open_files(site, database).close()
    store(database, new_instance(clock.now(), header()))
    open_files(site, database).close()


def test_a_store_without_any_file_is_known(
    database: Database, clock: FakeClock, tmp_path: Path
) -> None:
    """Also where all images are pruned, the folder below the disk is not taken for the store."""
    site = Site(files=tmp_path / "files", database=database.url)
    open_files(site, database).close()
    site.files.rename(tmp_path / "away")
    with pytest.raises(StoreUnavailable, match="has no mark"):
        open_files(site, database)
    assert not site.files.exists()


def test_the_store_of_another_site_is_refused(mount: Mount, other_database: Database) -> None:
    """A wrong mount, or a wrong database, is told before any file is taken for missing."""
    opened(mount).close()
    theirs = Site(files=mount.root.with_name("theirs"), database=other_database.url)
    open_files(theirs, other_database).close()
    mine = Site(files=theirs.files, database=mount.database.url)
    with pytest.raises(StoreUnavailable, match="of another database"):
        open_files(mine, mount.database)
    begin_anew(mine, mount.database)
    open_files(mine, mount.database).close()
    with pytest.raises(StoreUnavailable, match="of another database"):
        opened(mount)


def test_a_new_database_takes_on_the_store_that_is_there(
    mount: Mount, other_database: Database
) -> None:
    """After a loss of the database its files are known to the next one, and keep their mark."""
    opened(mount).close()
    before = read_mark(mount.root)
    open_files(Site(files=mount.root, database=other_database.url), other_database).close()
    assert before == read_mark(mount.root) != ""
    opened(mount).close()


def test_a_mark_of_an_older_version_is_completed(mount: Mount) -> None:
    """It says nothing of which store it is, and does from the first start on."""
    (mount.root / "file-store").write_text("intu-fhir keeps image files in this folder.\n")
    opened(mount).close()
    assert read_mark(mount.root)


def test_programs_that_begin_together_agree(mount: Mount) -> None:
    """Of several that open a store for the first time, each finds it to be the one it knows."""
    site = Site(files=mount.root, database=mount.database.url)
    with ThreadPoolExecutor(4) as pool:
        for files in list(pool.map(lambda _: open_files(site, mount.database), range(4))):
            files.close()
    opened(mount).close()


def test_where_all_is_lost_a_person_says_so(mount: Mount) -> None:
    """One command lets the empty folder be the store; then all that is missing is noted."""
    mount.unmount()
    begin_anew(Site(files=mount.root, database=mount.database.url), mount.database)
    with closing(opened(mount)) as files:
        Verifier(mount.database, files, mount.clock).run()
    assert mount.noted() == 3


def test_a_promise_waits_for_the_disk(mount: Mount) -> None:
    """Who asks for commitment meanwhile is told later, and not that the image is lost."""
    ask(mount.database, mount.clock, uid_of(mount.names[0]))
    checking = commitments(mount.database, mount.files, mount.clock)
    mount.unmount()
    checking.list_some()
    assert checking.check_some() == 0
    mount.mount()
    mount.clock.advance(10)
    checking.check_some()
    assert results(mount.database) == ["committed"]
