"""A check of files while their rows get others, on both databases."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa

from intu_fhir.db.file_checks import restore_file
from intu_fhir.db.session import Database
from intu_fhir.db.tables import instances
from intu_fhir.files.local import LocalFileStore
from intu_fhir.files.part10 import part10_head
from intu_fhir.upkeep.verify import Verifier, VerifyReport
from tests.support.clock import FakeClock
from tests.support.staging import header, new_instance, store

DATA = b"x" * 100
DIGEST = hashlib.sha256(DATA).hexdigest()
OLD, NEW = "instances/old.dcm", "instances/new.dcm"


class Watched(LocalFileStore):
    """A store in which something happens once a file was read."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.then: Callable[[], None] = lambda: None

    def blocks(self, name: str) -> Iterator[bytes]:
        """Give all of a file."""
        yield from super().blocks(name)
        self.then()


class Staged:
    """An instance with its file, of which a check of the file begins."""

    def __init__(self, database: Database, clock: FakeClock, root: Path) -> None:
        self.database, self.clock, self.files = database, clock, Watched(root)
        self._header = header()
        self.offset = len(self._write(OLD, DATA)) - len(DATA)
        row = new_instance(clock.now(), self._header, sha256=DIGEST)
        store(database, replace(row, file=OLD, data_set_offset=self.offset))

    def _write(self, name: str, data: bytes) -> bytes:
        one = self._header
        head = part10_head(one.sop_class_uid, one.sop_instance_uid, one.transfer_syntax_uid)
        (self.files.root / name).write_bytes(head + data)
        return head + data

    def spoil(self) -> None:
        """Have another byte in its file."""
        self._write(OLD, b"y" + DATA[1:])

    def note(self, *, damaged: bool) -> None:
        """Note in its row that the file is damaged, or is not."""
        at = self.clock.now() if damaged else None
        with self.database.write() as connection:
            connection.execute(sa.update(instances).values(damaged_at=at))

    def restore(self) -> None:
        """Have its row speak of a new file, as when it is sent again."""
        with self.database.write() as connection:
            assert restore_file(
                connection,
                self._header.sop_instance_uid,
                DIGEST,
                file=NEW,
                data_set_offset=self.offset,
                now=self.clock.now(),
                instead_of=OLD,
            )
        self._write(NEW, DATA)

    def check(self) -> VerifyReport:
        """Check all files."""
        return Verifier(self.database, self.files, self.clock).run()

    def is_noted(self) -> bool:
        """Say whether its row speaks of damage."""
        with self.database.read() as connection:
            [at] = connection.execute(sa.select(instances.c.damaged_at)).scalars()
        return at is not None


@pytest.fixture
def staged(database: Database, clock: FakeClock, tmp_path: Path) -> Staged:
    """An instance whose file is as it was received."""
    return Staged(database, clock, tmp_path / "files")


def test_a_fault_of_an_old_file_is_not_noted_of_a_new_one(staged: Staged) -> None:
    """An instance that gets a sound file during the check is whole: no fault, nothing noted."""
    staged.spoil()
    staged.files.then = staged.restore
    assert staged.check().faults == []
    assert not staged.is_noted()


def test_a_sound_file_does_not_mend_the_one_after_it(staged: Staged) -> None:
    """What was found of the new file stays noted, whatever the old one was."""
    staged.note(damaged=True)

    def replaced() -> None:
        staged.restore()
        staged.note(damaged=True)

    staged.files.then = replaced
    staged.check()
    assert staged.is_noted()


def test_damage_is_noted_and_taken_back(staged: Staged) -> None:
    """A file that is still the one of its row is judged as it is."""
    staged.note(damaged=True)
    assert staged.check().good
    assert not staged.is_noted()
    staged.spoil()
    assert [fault.what for fault in staged.check().faults] == ["damaged"]
    assert staged.is_noted()


def test_a_quick_look_takes_back_what_is_not_so_any_more(staged: Staged) -> None:
    """A file that was noted as missing and is there again is read, and noted no longer if sound."""
    staged.note(damaged=True)
    quick = Verifier(staged.database, staged.files, staged.clock, contents=False)
    assert quick.run().good
    assert not staged.is_noted()
    staged.spoil()
    staged.note(damaged=True)
    assert [fault.what for fault in quick.run().faults] == ["damaged"]
    assert staged.is_noted()
