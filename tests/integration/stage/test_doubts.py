"""Commits that end without an answer: the file stays or goes with the row, soon."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from intu_fhir.db.instances import NewInstance, StagedAs, store_instances
from intu_fhir.db.session import Database
from intu_fhir.errors import OutcomeUnknown, PermanentError, StoreUnavailable
from intu_fhir.files import leftovers
from intu_fhir.files.local import LocalFileStore
from intu_fhir.files.part10 import part10_head
from intu_fhir.model.instance import Disposition, ReceivedObject
from intu_fhir.stage import accept
from intu_fhir.stage.accept import Accept
from intu_fhir.stage.commit import GroupCommit
from tests.support.clock import FakeClock
from tests.support.promises import examine
from tests.support.staging import CT_STORAGE, EXPLICIT_LITTLE, origin
from tests.support.studies import data_set_bytes, make_instance


@dataclass
class Shaky:
    """Stores rows, or fails before or after it has stored them."""

    database: Database
    before: Exception | None = None
    after: Exception | None = None

    def __call__(
        self, items: Sequence[NewInstance], before_commit: Callable[[], None]
    ) -> list[StagedAs]:
        """Store a batch."""
        if self.before:
            raise self.before
        with self.database.write() as connection:
            answers = store_instances(connection, items, receiver="here")
            before_commit()
        if self.after:
            raise self.after
        return answers


@dataclass
class Staging:
    """A staging area on a shaky database."""

    accept: Accept
    files: LocalFileStore
    rows: Shaky

    def receive(self, number: int, **changes: str) -> Disposition:
        """Stage one object as the network does."""
        dataset = make_instance(number=number, **{key: one for key, one in changes.items() if one})
        uid = str(dataset.SOPInstanceUID)
        spool = self.files.open_spool(part10_head(CT_STORAGE, uid, EXPLICIT_LITTLE))
        spool.write(data_set_bytes(dataset))
        done = spool.finish()
        received = ReceivedObject(
            path=done.path,
            data_set_offset=done.data_set_offset,
            size=done.size,
            sha256=done.sha256,
            sop_class_uid=CT_STORAGE,
            sop_instance_uid=uid,
            transfer_syntax_uid=EXPLICIT_LITTLE,
            origin=origin(),
        )
        try:
            return self.accept(received).disposition
        finally:
            spool.discard()

    def files_there(self) -> int:
        """Return how many files are kept."""
        return sum(path.is_file() for path in (self.files.root / "instances").rglob("*"))

    def is_whole(self) -> bool:
        """Say whether files and rows agree."""
        return not examine(self.accept.database, self.files.root, {})[0]


@pytest.fixture
def staging(database: Database, clock: FakeClock, tmp_path: Path) -> Iterator[Staging]:
    """An empty staging area."""
    shaky = Shaky(database)
    rows = GroupCommit(shaky)
    rows.start()
    files = LocalFileStore(tmp_path / "files")
    yield Staging(Accept(files, database, rows, clock, "here", {}), files, shaky)
    rows.stop()
    files.close()


@pytest.mark.parametrize("error", [StoreUnavailable("full"), PermanentError("refused")])
def test_a_row_that_was_surely_not_stored_takes_its_file_along(
    staging: Staging, error: Exception
) -> None:
    """After a failure that left no row, no file is left, without any restart."""
    staging.rows.before = error
    with pytest.raises(type(error)):
        staging.receive(1)
    assert staging.files_there() == 0
    assert staging.files.without_row() == 0


def test_a_row_that_came_through_unheard_keeps_its_file(staging: Staging) -> None:
    """Where the commit went well but its answer was lost, the object is there next time."""
    staging.rows.after = OutcomeUnknown("connection lost")
    with pytest.raises(OutcomeUnknown):
        staging.receive(1)
    staging.rows.after = None
    assert staging.receive(1) is Disposition.ALREADY_STORED
    assert staging.files_there() == 1
    assert staging.files.without_row() == 0
    assert staging.is_whole()


def test_a_row_that_never_came_loses_its_file_with_the_next_object(staging: Staging) -> None:
    """Where the commit failed unheard, its file goes as soon as the database can be asked."""
    staging.rows.before = OutcomeUnknown("connection lost")
    with pytest.raises(OutcomeUnknown):
        staging.receive(1)
    assert staging.files_there() == 1
    staging.rows.before = None
    assert staging.receive(2) is Disposition.STORED
    assert staging.files_there() == 1
    assert staging.is_whole()


def test_a_file_that_cannot_go_closes_nothing(
    staging: Staging, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a disk does not let go of that file, others are taken, and it goes when it can."""
    staging.rows.before = OutcomeUnknown("connection lost")
    with pytest.raises(OutcomeUnknown):
        staging.receive(1)
    staging.rows.before = None
    (stays,) = (staging.files.root / "instances").rglob("*.dcm")
    unlink = os.unlink

    def fails(path: str) -> None:
        if path == str(stays):
            raise OSError(errno.EIO, "Input/output error")
        unlink(path)

    with monkeypatch.context() as patch:
        patch.setattr(leftovers.os, "unlink", fails)
        assert staging.receive(2) is Disposition.STORED
        assert stays.exists()
    assert staging.receive(3) is Disposition.STORED
    assert not stays.exists()
    assert staging.files.without_row() == 0
    assert staging.is_whole()


@pytest.mark.parametrize("what", ["store_quarantined", "restore_file"])
def test_a_database_that_hangs_beside_the_row_holds_nobody(
    what: str, database: Database, clock: FakeClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A copy for quarantine, and one for a file that is lost, are waited for in vain for a while.

    So is a commit that waits for a standby that is lost: nothing on this side ends it.
    """
    go_on = threading.Event()
    really = getattr(accept, what)

    def hangs(*args: Any, **options: Any) -> Any:
        go_on.wait(20)
        return really(*args, **options)

    rows = GroupCommit(Shaky(database), wait_seconds=1.0)
    rows.start()
    files = LocalFileStore(tmp_path / "files")
    staging = Staging(Accept(files, database, rows, clock, "here", {}), files, Shaky(database))
    other = what == "store_quarantined"
    assert staging.receive(1) is Disposition.STORED
    if not other:
        next((files.root / "instances").rglob("*.dcm")).unlink()
    with monkeypatch.context() as patch:
        patch.setattr(accept, what, hangs)
        with pytest.raises(OutcomeUnknown):
            staging.receive(1, SeriesDescription="other" if other else "")
        with pytest.raises(StoreUnavailable):
            staging.receive(2)  # not before it is known what became of that one
        go_on.set()
        staging.accept.asides.stop()
    assert staging.receive(2) is Disposition.STORED
    assert staging.files.without_row() == 0
    assert staging.is_whole()
    rows.stop()
    files.close()


def test_doubts_do_not_pile_up(staging: Staging) -> None:
    """While commits fail unheard, each next object first settles the doubt about the last."""
    staging.rows.before = OutcomeUnknown("connection lost")
    for number in range(1, 6):
        with pytest.raises(OutcomeUnknown):
            staging.receive(number)
        assert staging.files_there() == staging.files.without_row() == 1
