"""What a look for storage commitment finds wrong is noted of the file it saw, on both databases."""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path

import pytest
import sqlalchemy as sa
from structlog.testing import capture_logs

from intu_fhir.db import commitment_requests as requests
from intu_fhir.db.file_checks import restore_file
from intu_fhir.db.session import Database
from intu_fhir.db.tables import instances, storage_commitment_items
from intu_fhir.errors import DamagedFile
from intu_fhir.files.local import LocalFileStore
from intu_fhir.files.part10 import part10_head
from intu_fhir.model.commitment import CommitmentAsked, ReferencedInstance
from intu_fhir.settings.schema import StorageCommitment
from intu_fhir.stage.commitments import Commitments
from tests.support.clock import FakeClock
from tests.support.rows import rows_of
from tests.support.staging import CT_STORAGE, header, new_instance, origin, store

DATA = b"x" * 100
DIGEST = hashlib.sha256(DATA).hexdigest()
OLD, NEW = "instances/old.dcm", "instances/new.dcm"


class Watched(LocalFileStore):
    """A store that fails as it is told to, and in which something happens before a look."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.opened: list[str] = []
        self.first: Callable[[], None] = lambda: None
        self.error: Exception | None = None

    def blocks(self, name: str) -> Iterator[bytes]:
        """Give all of a file."""
        self.opened.append(name)
        self.first()
        if self.error is not None:
            raise self.error
        yield from super().blocks(name)


@dataclass
class Asked:
    """An instance with its file, of which storage commitment is asked."""

    database: Database
    clock: FakeClock
    files: Watched
    head: bytes = field(init=False)

    def __post_init__(self) -> None:
        one = self._header = header()
        self.head = part10_head(one.sop_class_uid, one.sop_instance_uid, one.transfer_syntax_uid)
        self.write(OLD, self.head + DATA)
        row = new_instance(self.clock.now(), one, sha256=DIGEST)
        store(self.database, replace(row, file=OLD, data_set_offset=len(self.head)))

    def write(self, name: str, content: bytes) -> None:
        """Put content into a file of the store."""
        (self.files.root / name).write_bytes(content)

    def restore(self) -> None:
        """Have the row speak of a new file, as when the instance is sent again."""
        self.write(NEW, self.head + DATA)
        with self.database.write() as connection:
            assert restore_file(
                connection,
                self._header.sop_instance_uid,
                DIGEST,
                file=NEW,
                data_set_offset=len(self.head),
                now=self.clock.now(),
                instead_of=OLD,
            )

    def look(self, *more: str) -> str:
        """Ask for it, and for more behind it, and look; return what was found of the last one."""
        uids = (self._header.sop_instance_uid, *more)
        asked = tuple(ReferencedInstance(CT_STORAGE, uid) for uid in uids)
        information = CommitmentAsked(f"1.2.{self.clock.now():%Y%m%d%H%M%S}", asked)
        with self.database.write() as connection:
            requests.store_request(
                connection, origin("asking"), information, self.clock.now(), receiver="here"
            )
        settings = StorageCommitment()
        looking = Commitments(self.database, self.files, self.clock, "here", settings, {CT_STORAGE})
        while looking.work_some():
            pass
        with self.database.read() as connection:
            column = storage_commitment_items.c
            last = (column.commitment_key.desc(), column.number.desc())
            found = sa.select(column.result).order_by(*last).limit(1)
            return str(connection.execute(found).scalar_one())

    def noted(self) -> datetime | None:
        """Return since when its file is noted as damaged."""
        with self.database.read() as connection:
            at: datetime | None = connection.execute(sa.select(instances.c.damaged_at)).scalar()
            return at


@pytest.fixture
def asked(database: Database, clock: FakeClock, tmp_path: Path) -> Asked:
    """An instance whose file is as it was received."""
    return Asked(database, clock, Watched(tmp_path / "files"))


def once(do: Callable[[], None]) -> Callable[[], None]:
    """Return what does something when it is called first, and nothing after that."""
    left = [do]
    return lambda: left.pop()() if left else None


def _missing(asked: Asked) -> None:
    (asked.files.root / OLD).unlink()


def _other_bytes(asked: Asked) -> None:
    asked.write(OLD, asked.head + b"y" + DATA[1:])


def _other_head(asked: Asked) -> None:
    asked.write(OLD, bytes(len(asked.head)) + DATA)


def _unreadable(asked: Asked) -> None:
    asked.files.error = OSError(errno.EIO, os.strerror(errno.EIO))


def _void(asked: Asked) -> None:
    asked.files.error = DamagedFile("the object store gives other bytes than were put there")


@pytest.mark.parametrize("harm", [_missing, _other_bytes, _other_head, _unreadable, _void])
def test_what_is_told_as_damaged_is_noted_in_its_row(
    asked: Asked, clock: FakeClock, harm: Callable[[Asked], None]
) -> None:
    """A file that is gone or not what was received is noted, as `files verify` does, and once.

    A look that finds it sound again takes the note back.
    """
    harm(asked)
    found_at = clock.now()
    assert (asked.look(), asked.noted()) == ("0110", found_at)
    clock.advance(60)
    assert (asked.look(), asked.noted()) == ("0110", found_at)
    asked.files.error = None
    asked.write(OLD, asked.head + DATA)
    clock.advance(60)
    assert (asked.look(), asked.noted()) == ("committed", None)


def test_what_could_not_be_looked_at_is_not_noted(asked: Asked) -> None:
    """Too many open files is no damage: the requester is told so, the row says nothing."""
    asked.files.error = OSError(errno.EMFILE, os.strerror(errno.EMFILE))
    assert (asked.look(), asked.noted()) == ("0213", None)


def test_a_file_that_replaced_the_listed_one_is_looked_at(asked: Asked) -> None:
    """An instance that was sent again after it was listed is committed by its new file.

    Nothing is said of the old one, which is gone or was never sound.
    """
    _other_bytes(asked)
    asked.files.first = once(asked.restore)
    with capture_logs() as logs:
        assert (asked.look(), asked.noted()) == ("committed", None)
    assert (asked.files.opened, logs) == ([OLD, NEW], [])


def test_damage_of_a_file_that_replaced_the_listed_one_is_noted(
    asked: Asked, clock: FakeClock
) -> None:
    """Where the new file is damaged as well, it is told and noted, and not the old one."""

    def restore_badly() -> None:
        asked.restore()
        asked.write(NEW, asked.head + b"y")

    _missing(asked)
    asked.files.first = once(restore_badly)
    with capture_logs() as logs:
        assert (asked.look(), asked.noted()) == ("0110", clock.now())
    assert (asked.files.opened, [one["file"] for one in logs]) == ([OLD, NEW], [NEW])


def test_damage_is_not_noted_of_a_file_that_comes_after_the_look(asked: Asked) -> None:
    """A row that gets another file between the look and the note stays as it is."""
    _missing(asked)
    other = header()
    asked.write("instances/other.dcm", b"")
    store(
        asked.database,
        replace(new_instance(asked.clock.now(), other), file="instances/other.dcm"),
    )

    def at_the_other_one() -> None:
        if asked.files.opened == [OLD, "instances/other.dcm"]:
            asked.restore()

    asked.files.first = at_the_other_one
    asked.look(other.sop_instance_uid)
    assert [row.damaged_at is None for row in rows_of(asked.database, instances)] == [True, False]
