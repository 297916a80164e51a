"""Staging one object: file, row, answer."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from pydicom.dataset import Dataset

from intu_fhir.db.instances import NewInstance, StagedAs, store_instances
from intu_fhir.db.session import Database
from intu_fhir.db.tables import instances, quarantine, studies
from intu_fhir.errors import IdentityMismatch, IntuError, InvalidDataSet, InvalidUid
from intu_fhir.files.local import LocalFileStore
from intu_fhir.files.part10 import part10_head
from intu_fhir.model.instance import Disposition, ReceivedObject
from intu_fhir.stage.accept import Accept
from intu_fhir.stage.commit import GroupCommit
from tests.support.clock import FakeClock
from tests.support.rows import rows_of
from tests.support.staging import EXPLICIT_LITTLE, origin
from tests.support.studies import data_set_bytes, make_instance, uid


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
