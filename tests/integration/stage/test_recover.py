"""What a crash left is found and removed; nothing else is."""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, BinaryIO
from unittest.mock import patch

import pytest
from structlog.testing import capture_logs

from intu_fhir.db.instances import NewInstance
from intu_fhir.db.quarantine import Quarantined, store_quarantined
from intu_fhir.db.session import Database
from intu_fhir.errors import StoreUnavailable
from intu_fhir.files.local import LocalFileStore
from intu_fhir.files.part10 import part10_head
from intu_fhir.stage import recover as recovering
from intu_fhir.stage.recover import recover
from tests.support.clock import FakeClock
from tests.support.staging import CT_STORAGE, EXPLICIT_LITTLE, header, new_instance, origin, store


@dataclass
class Area:
    """A database and a folder that processes come and go on."""

    database: Database
    folder: Path
    clock: FakeClock

    def process(self) -> LocalFileStore:
        """Return the hand of a new process in the store."""
        return LocalFileStore(self.folder)

    def keep(self, files: LocalFileStore, uid: str, *, quarantine: bool = False) -> str:
        """Keep a file whose row is still to come."""
        spool = files.open_spool(part10_head(CT_STORAGE, uid, EXPLICIT_LITTLE))
        spool.write(b"data")
        place = files.quarantine if quarantine else files.place
        return place(spool.finish().path, self.clock.now())

    def row(self, file: str, uid: str) -> None:
        """Store the row of a file."""
        made = new_instance(self.clock.now(), header(instance=uid))
        values = {name: getattr(made, name) for name in NewInstance.__dataclass_fields__}
        store(self.database, NewInstance(**{**values, "file": file}))

    def recover(self) -> int:
        """Recover as the next process does at its start."""
        return recover(self.database, self.process(), "here", self.clock.now())


@pytest.fixture
def area(database: Database, clock: FakeClock, tmp_path: Path) -> Area:
    """An empty staging area."""
    return Area(database, tmp_path / "files", clock)


def test_a_clock_set_back_costs_no_file(area: Area) -> None:
    """Rows received before the clock was set back keep their files at the next start."""
    ended = area.process()
    kept = []
    for number, hours in enumerate((1, -2, 0, 0), 1):
        area.clock.step_wall(hours * 3_600)
        area.clock.advance(240)
        kept.append(area.keep(ended, f"1.2.{number}"))
        area.row(kept[-1], f"1.2.{number}")
    orphan = area.keep(ended, "1.2.99")
    ended.close()
    assert area.recover() == 1
    assert all((area.folder / name).exists() for name in kept)
    assert not (area.folder / orphan).exists()


def test_a_process_that_lives_is_left_alone(area: Area) -> None:
    """Another process's spool and its file without a row stay until that process has ended."""
    alive = area.process()
    spool = alive.open_spool(b"head")
    name = area.keep(alive, "1.2.1")
    assert area.recover() == 0
    spool.write(b"more")
    assert spool.finish().path.exists()
    assert (area.folder / name).exists()
    alive.close()
    assert area.recover() == 2
    assert not (area.folder / name).exists()


def test_files_of_an_ended_process_with_rows_stay(area: Area) -> None:
    """A crash between commit and the note of it leaves a file with a row, which stays."""
    ended = area.process()
    name = area.keep(ended, "1.2.1")
    area.row(name, "1.2.1")
    ended.close()
    assert area.recover() == 0
    assert (area.folder / name).exists()


def test_quarantine_is_looked_at_too(area: Area) -> None:
    """In quarantine as well, files without a row go and others stay."""
    ended = area.process()
    orphan = area.keep(ended, "1.2.1", quarantine=True)
    kept = area.keep(ended, "1.2.2", quarantine=True)
    item = Quarantined(
        header=header(instance="1.2.2"),
        origin=origin(),
        reason="different_bytes",
        detail="",
        file=kept,
        sha256="1",
        stored_sha256="2",
        received_at=area.clock.now(),
    )
    with area.database.write() as connection:
        store_quarantined(connection, item, receiver="here")
    ended.close()
    assert area.recover() == 1
    assert (area.folder / kept).exists()
    assert not (area.folder / orphan).exists()


def test_a_file_that_lost_its_head_stays_if_a_row_names_it(area: Area) -> None:
    """Where the object in a file cannot be told, every row is asked before it goes."""
    ended = area.process()
    names = [area.keep(ended, f"1.2.{number}", quarantine=number > 1) for number in (1, 2)]
    area.row(names[0], "1.2.1")
    for name in names:
        (area.folder / name).write_bytes(b"")
    ended.close()
    assert area.recover() == 1
    assert (area.folder / names[0]).exists()


def test_recovery_twice_finds_nothing_the_second_time(area: Area) -> None:
    """What was recovered once is not looked at again, and an orderly end leaves nothing."""
    ended = area.process()
    area.keep(ended, "1.2.1")
    ended.close()
    assert area.recover() == 1
    assert area.recover() == 0
    orderly = area.process()
    name = area.keep(orderly, "1.2.2")
    area.row(name, "1.2.2")
    orderly.confirm(name)
    orderly.close()
    assert list((area.folder / "writers").iterdir()) == []


def test_minutes_of_work_are_listed_only_while_they_matter(area: Area) -> None:
    """An entry names the folders of files without a row, not every folder ever used."""
    files = area.process()
    names = []
    for number in range(1, 6):
        area.clock.advance(timedelta(minutes=1).total_seconds())
        names.append(area.keep(files, f"1.2.{number}"))
        if number != 2:
            files.confirm(names[-1])
    [entry] = (area.folder / "writers").iterdir()
    folders = {str(Path(name).parent) for name in (names[1], names[4])}
    assert set(entry.read_text().split()) == folders


def test_an_unreadable_leftover_does_not_keep_the_receiver_from_starting(area: Area) -> None:
    """What has no row goes though its head cannot be read; what has one stays, by its name."""
    ended = area.process()
    orphan, stored = area.keep(ended, "1.2.1"), area.keep(ended, "1.2.2")
    area.row(stored, "1.2.2")
    ended.close()

    def unreadable(self: LocalFileStore, name: str) -> BinaryIO:
        raise StoreUnavailable("Opening a stored file failed: Input/output error")

    with (
        patch.object(recovering, "newest_files", lambda *_: set()),
        patch.object(LocalFileStore, "open", unreadable),
    ):
        assert area.recover() == 1
    assert not (area.folder / orphan).exists()
    assert (area.folder / stored).exists()


def test_a_leftover_that_cannot_be_removed_is_named(area: Area) -> None:
    """The next start goes on, removes what it can, and says in the log what stays and why."""
    ended = area.process()
    spool = ended.open_spool(b"head")
    stays, goes = area.keep(ended, "1.2.1"), area.keep(ended, "1.2.2")
    ended.close()
    part = next((area.folder / "incoming").iterdir())
    unlink = os.unlink

    def stuck(path: str | Path) -> None:
        if Path(path) in {area.folder / stays, part}:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        unlink(path)

    with patch.object(os, "unlink", stuck), capture_logs() as said:
        assert area.recover() == 1
    assert not (area.folder / goes).exists()
    assert {(one["event"], one["file"]) for one in said} == {
        ("leftover_stays", part.name),
        ("leftover_stays", stays),
    }
    spool.discard()


@pytest.mark.parametrize(
    "garbage",
    [b"\xff\xfe", b"\0" * 4_096, b"../../etc\n", b"instances\n", None],
    ids=["bytes", "zeros", "elsewhere", "short", "unreadable"],
)
def test_a_garbled_entry_has_its_files_looked_for_everywhere(
    area: Area, garbage: bytes | None
) -> None:
    """Where an entry does not say which folders, no folder is left out, and nothing else goes."""
    ended, alive = area.process(), area.process()
    orphan, aside = area.keep(ended, "1.2.1"), area.keep(ended, "1.2.3", quarantine=True)
    stored, others = area.keep(ended, "1.2.2"), area.keep(alive, "1.2.4")
    area.row(stored, "1.2.2")
    ended.close()
    name = Path(orphan).name.partition("-")[0]
    entry = area.folder / "writers" / name
    if garbage is not None:
        entry.write_bytes(garbage)
    read_text = Path.read_text

    def unreadable(self: Path, *more: Any) -> str:
        if self == entry and garbage is None:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return read_text(self, *more)

    with patch.object(Path, "read_text", unreadable):
        assert area.recover() == 2
    assert not any((area.folder / one).exists() for one in (orphan, aside))
    assert all((area.folder / one).exists() for one in (stored, others))
    assert not entry.exists()
