"""Staging one object: file, row, answer."""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from threading import Barrier
from typing import Any
from unittest.mock import Mock, patch

import pytest
import sqlalchemy as sa
from pydicom.dataset import Dataset

from intu_fhir.db.instances import NewInstance, StagedAs, store_instances
from intu_fhir.db.session import Database
from intu_fhir.db.tables import headers, instances, quarantine, removals, studies, work
from intu_fhir.errors import (
    IdentityMismatch,
    IntuError,
    InvalidDataSet,
    InvalidUid,
    OutcomeUnknown,
    StoreUnavailable,
)
from intu_fhir.files.local import LocalFileStore
from intu_fhir.files.part10 import part10_head
from intu_fhir.model.instance import Disposition, ReceivedObject
from intu_fhir.stage import accept as accepting
from intu_fhir.stage.accept import RESTORED, Accept
from intu_fhir.stage.commit import GroupCommit
from intu_fhir.stage.describer import Describer
from tests.support.clock import FakeClock
from tests.support.rows import rows_of
from tests.support.staging import EXPLICIT_LITTLE, origin
from tests.support.studies import data_set_bytes, make_instance, uid
from tests.support.waiting import wait_until


@dataclass
class Staging:
    """A file store and a database that objects can be handed to."""

    accept: Accept
    files: LocalFileStore
    database: Database

    def receive(self, dataset: Dataset, body: bytes | None = None, **told: str) -> ReceivedObject:
        """Spool a data set as the network does; ``told`` replaces what the command says."""
        command = {
            "sop_class_uid": str(dataset.SOPClassUID),
            "sop_instance_uid": str(dataset.SOPInstanceUID),
            "transfer_syntax_uid": EXPLICIT_LITTLE,
            **told,
        }
        spool = self.files.open_spool(part10_head(**command))
        spool.write(data_set_bytes(dataset) if body is None else body)
        done = spool.finish()
        return ReceivedObject(
            path=done.path,
            data_set_offset=done.data_set_offset,
            size=done.size,
            sha256=done.sha256,
            origin=origin(),
            data_set=done.data_set,
            **command,
        )

    def rows(self, table: sa.Table) -> list[Any]:
        """Return all rows of a table, by their keys."""
        return rows_of(self.database, table)

    def kept(self) -> list[Path]:
        """Return every object in the store."""
        parts = ("incoming", "instances", "quarantine")
        every = (path for part in parts for path in (self.files.root / part).rglob("*"))
        return sorted(path for path in every if path.is_file())


@pytest.fixture
def staging(database: Database, clock: FakeClock, tmp_path: Path) -> Iterator[Staging]:
    """An empty staging area."""

    def store(items: Any, before_commit: Callable[[], None]) -> list[StagedAs]:
        with database.write() as connection:
            staged = store_instances(connection, items, receiver="here")
            before_commit()
            return staged

    rows: GroupCommit[NewInstance, StagedAs] = GroupCommit(store)
    rows.start()
    files = LocalFileStore(tmp_path / "files")
    accept = Accept(files, database, rows, clock, "here", {"radiology": 30.0})
    yield Staging(accept, files, database)
    rows.stop()


def test_a_stored_object_is_its_bytes_and_a_row(staging: Staging) -> None:
    """After STORED the file holds the data set as received and the row its hash."""
    dataset = make_instance()
    body = data_set_bytes(dataset)
    accepted = staging.accept(staging.receive(dataset))
    assert accepted.disposition is Disposition.STORED
    [row] = staging.rows(instances)
    stored = staging.files.path(row.file).read_bytes()[row.data_set_offset :]
    assert stored == body
    assert row.sha256 == hashlib.sha256(body).hexdigest()
    assert staging.kept() == [staging.files.path(row.file)]


def test_the_same_object_again_leaves_one_row_and_one_file(staging: Staging) -> None:
    """A repeated object is ALREADY_STORED, and its second copy does not stay."""
    staging.accept(staging.receive(make_instance()))
    again = staging.accept(staging.receive(make_instance()))
    assert again.disposition is Disposition.ALREADY_STORED
    assert len(staging.rows(instances)) == len(staging.kept()) == 1


def unlinked(path: Path) -> None:
    """Lose a file."""
    path.unlink()


def flipped(path: Path) -> None:
    """Change the last byte of a file."""
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))


def cut(path: Path) -> None:
    """Lose the end of a file."""
    path.write_bytes(path.read_bytes()[:-2])


def folder(path: Path) -> None:
    """Put something in the place of a file that cannot be read at all."""
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize("harm", [unlinked, flipped, cut, folder])
def test_what_is_not_there_any_more_is_taken_again(
    staging: Staging, harm: Callable[[Path], None]
) -> None:
    """Success for an object that came before is given for its bytes, not for its row (I1)."""
    body = data_set_bytes(make_instance())
    staging.accept(staging.receive(make_instance()))
    [before] = staging.rows(instances)
    harm(staging.files.path(before.file))
    again = staging.accept(staging.receive(make_instance()))
    assert (again.disposition, again.reason) == (Disposition.ALREADY_STORED, RESTORED)
    [row] = staging.rows(instances)
    assert staging.files.path(row.file).read_bytes()[row.data_set_offset :] == body
    assert [one.file for one in staging.rows(removals)] == [before.file]
    assert not staging.files.without_row()
    third = staging.accept(staging.receive(make_instance()))
    assert third.reason == "same_bytes"
    assert staging.rows(instances) == [row]


def test_a_header_that_had_no_file_to_be_read_from_is_read_from_the_next(staging: Staging) -> None:
    """Described as unreadable, then sent again: the study is looked at once more, with it."""
    staging.accept(staging.receive(make_instance()))
    [before] = staging.rows(instances)
    [study] = staging.rows(studies)
    unlinked(staging.files.path(before.file))
    describer = Describer(staging.database, staging.files, staging.accept.clock, {})
    describer.describe_all()
    [unread] = staging.rows(headers)
    assert (unread.dicom_json, unread.findings[0]["code"]) == ({}, "file_unreadable")
    for _ in range(2):  # the second time there is nothing to mend
        staging.accept(staging.receive(make_instance()))
        describer.describe_all()
    [header] = staging.rows(headers)
    assert header.dicom_json["00080018"]["Value"] == [uid("study", 1, 1)]
    assert (header.findings, staging.rows(studies)[0].revision) == (None, study.revision + 1)
    assert [row.want for row in staging.rows(work)] == [study.revision + 1]


def test_of_two_that_come_again_one_is_taken(staging: Staging) -> None:
    """Two associations find the file gone; one file is kept, and both are told the truth."""
    staging.accept(staging.receive(make_instance()))
    [before] = staging.rows(instances)
    unlinked(staging.files.path(before.file))
    objects = [staging.receive(make_instance()) for _ in range(2)]
    both = Barrier(2)
    holds = staging.files.holds

    def together(name: str, offset: int, sha256: str) -> bool:
        answer = holds(name, offset, sha256)
        if name == before.file:
            both.wait(10)
        return answer

    with patch.object(staging.files, "holds", together), ThreadPoolExecutor(2) as pool:
        answers = list(pool.map(staging.accept, objects))
    assert sorted(one.reason for one in answers) == [RESTORED, "same_bytes"]
    [row] = staging.rows(instances)
    assert staging.kept() == [staging.files.path(row.file)]
    assert staging.files.holds(row.file, row.data_set_offset, row.sha256)


def test_what_comes_again_is_not_answered_for_while_its_row_cannot_be_written(
    staging: Staging,
) -> None:
    """The file is gone and the new one gets no row: no Success, and no file that nobody knows."""
    staging.accept(staging.receive(make_instance()))
    [before] = staging.rows(instances)
    unlinked(staging.files.path(before.file))
    received = staging.receive(make_instance())
    with (
        patch.object(accepting, "restore_file", side_effect=StoreUnavailable("busy")),
        pytest.raises(StoreUnavailable),
    ):
        staging.accept(received)
    assert (staging.kept(), staging.files.without_row()) == ([], 0)
    assert staging.rows(instances) == [before]


@pytest.mark.parametrize("together", [1, 2])
def test_a_row_whose_commit_was_told_by_an_error_keeps_its_file(
    staging: Staging, database: Database, clock: FakeClock, together: int
) -> None:
    """An error after the commit costs no file: the row is found to be there, or is asked for."""
    failing = iter([MemoryError])

    def store(items: Any, before_commit: Callable[[], None]) -> list[StagedAs]:
        with database.write() as connection:
            staged = store_instances(connection, items, receiver="here")
            before_commit()
        for error in failing:
            raise error
        return staged

    rows: GroupCommit[NewInstance, StagedAs] = GroupCommit(store)
    accept = Accept(staging.files, database, rows, clock, "here", {"radiology": 30.0})
    received = [staging.receive(make_instance(number=number)) for number in range(together)]
    with ThreadPoolExecutor() as pool:
        answers = [pool.submit(accept, one) for one in received]
        wait_until(lambda: rows.waiting() == together)
        rows.start()
        failed = [answer.exception(timeout=20) for answer in answers]
    if together == 1:
        assert isinstance(failed[0], MemoryError)
        again = accept(staging.receive(make_instance(number=0)))
        assert (again.disposition, again.reason) == (Disposition.ALREADY_STORED, "same_bytes")
    else:
        assert [answer.result().disposition for answer in answers] == [Disposition.STORED] * 2
    rows.stop()
    files = [staging.files.path(row.file) for row in staging.rows(instances)]
    assert len(files) == together
    assert staging.kept() == sorted(files)
    assert staging.files.without_row() == 0


def test_a_commit_that_fails_for_lack_of_memory_is_one_in_doubt(database: Database) -> None:
    """Whatever comes out of a commit, it may have been carried out."""
    with (
        pytest.raises(OutcomeUnknown, match="MemoryError"),
        database.write() as connection,
    ):
        connection.commit = Mock(side_effect=MemoryError)  # type: ignore[method-assign]


def test_other_bytes_under_a_known_uid_are_quarantined(staging: Staging) -> None:
    """The first object stays as it was, the second is kept aside with both hashes (D-02, E05)."""
    first = make_instance()
    staging.accept(staging.receive(first))
    changed = make_instance(StudyDescription="Altered")
    for _ in range(2):
        accepted = staging.accept(staging.receive(changed))
        assert accepted.disposition is Disposition.QUARANTINED
        assert accepted.reason == "different_bytes"
    [row] = staging.rows(instances)
    [aside] = staging.rows(quarantine)
    assert staging.files.path(row.file).read_bytes()[row.data_set_offset :] == data_set_bytes(first)
    assert aside.stored_sha256 == row.sha256 != aside.sha256
    assert len(staging.kept()) == 2
    again = staging.accept(staging.receive(first))
    assert again.disposition is Disposition.ALREADY_STORED


def test_a_known_uid_in_another_study_is_quarantined(staging: Staging) -> None:
    """The same SOP Instance UID in another study never moves there."""
    staging.accept(staging.receive(make_instance()))
    moved = make_instance(StudyInstanceUID=uid("other"))
    assert staging.accept(staging.receive(moved)).reason == "other_study_or_series"
    assert len(staging.rows(studies)) == 1


REFUSED = [
    (InvalidDataSet, {"body": b"GET / HTTP/1.1\r\n\r\n"}, {}),
    (InvalidUid, {"body": b""}, {}),
    (IdentityMismatch, {"sop_instance_uid": "1.2.3.4"}, {}),
    (IdentityMismatch, {"sop_class_uid": "1.2.840.10008.5.1.4.1.1.4"}, {}),
    (InvalidUid, {}, {"StudyInstanceUID": None}),
    (InvalidUid, {}, {"SeriesInstanceUID": ""}),
]


@pytest.mark.parametrize(("error", "told", "attributes"), REFUSED)
def test_a_bad_object_is_refused_and_leaves_no_row(
    staging: Staging, error: type[IntuError], told: dict[str, Any], attributes: dict[str, Any]
) -> None:
    """What cannot be read, or is not what was announced, is refused with the right error (E07)."""
    received = staging.receive(make_instance(**attributes), **told)
    with pytest.raises(error):
        staging.accept(received)
    assert staging.rows(instances) == staging.rows(studies) == []
    assert staging.kept() == [received.path]


def test_a_disk_that_cannot_be_read_is_no_end_of_the_process(
    staging: Staging, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A read error under the header of a large object says that the store is not there now."""
    received = staging.receive(make_instance(Rows=512, Columns=512, PixelData=bytes(524_288)))
    assert received.data_set is None

    def fail(*_: int) -> bytes:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as broken:
        broken.setattr(os, "pread", fail)
        with pytest.raises(StoreUnavailable, match="Input/output error"):
            staging.accept(received)
    assert staging.accept(received).disposition is Disposition.STORED
