"""Delivery to a PACS where the file store fails, on SQLite and PostgreSQL."""

from __future__ import annotations

import hashlib
from collections import Counter
from pathlib import Path

import pytest
import sqlalchemy as sa

from intu_fhir.db import work
from intu_fhir.db.deliveries import want_delivery
from intu_fhir.db.session import Database
from intu_fhir.db.tables import instance_deliveries, studies
from intu_fhir.deliver.dicom import FILE_AWAY, NO_FILE, StorageScu
from intu_fhir.deliver.step import DicomDelivery
from intu_fhir.demo.pacs import StandInPacs
from intu_fhir.files.local import LocalFileStore
from intu_fhir.model.outcome import Dead, Delivered, Retry
from intu_fhir.model.work import DELIVER, WAITING, Claim, DeliveryWish
from intu_fhir.settings.schema import DicomDestination
from tests.support.clock import FakeClock
from tests.support.staging import header, new_instance, store

UIDS = [f"1.2.3.1.{number}" for number in range(1, 6)]


@pytest.fixture
def files(tmp_path: Path) -> LocalFileStore:
    """An empty file store."""
    return LocalFileStore(tmp_path / "files")


@pytest.fixture
def places(database: Database, files: LocalFileStore, clock: FakeClock) -> list[Path]:
    """The files of a study of five instances."""
    staged = [
        new_instance(
            clock.now(), header(instance=uid), sha256=hashlib.sha256(uid.encode()).hexdigest()
        )
        for uid in UIDS
    ]
    for one in staged:
        path = files.path(one.file)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes(one.data_set_offset) + one.header.sop_instance_uid.encode())
    store(database, *staged)
    return [files.path(one.file) for one in staged]


def _claimed(database: Database, clock: FakeClock) -> Claim:
    with database.write() as connection:
        key = connection.execute(sa.select(studies.c.study_key)).scalar_one()
        want_delivery(connection, key, "pacs", 1, wish=DeliveryWish(WAITING), now=clock.now())
        claimed = work.claim(
            connection, DELIVER, "pacs", holder="w", now=clock.now(), lease_seconds=60, limit=None
        )
    assert claimed is not None
    return claimed


def _delivery(
    database: Database, clock: FakeClock, files: LocalFileStore, pacs: StandInPacs
) -> DicomDelivery:
    destination = DicomDestination(
        type="dicom", host="127.0.0.1", port=pacs.port, called_ae_title="PACS", timeout_seconds=5
    )
    return DicomDelivery(database, clock, files, StorageScu(destination), 60)


def _break(place: Path, failing: str) -> None:
    """Let a file be one that cannot be opened, or that opens and cannot be read."""
    place.unlink()
    if failing == "open":
        place.mkdir()
    else:
        place.symlink_to("/proc/self/mem")  # nothing is mapped at its beginning: EIO


def _mend(place: Path, content: bytes) -> None:
    if place.is_symlink():
        place.unlink()
    else:
        place.rmdir()
    place.write_bytes(content)


@pytest.mark.parametrize("failing", ["open", "read"])
def test_a_file_that_cannot_be_read_keeps_no_other_back(
    database: Database,
    clock: FakeClock,
    files: LocalFileStore,
    places: list[Path],
    tmp_path: Path,
    failing: str,
) -> None:
    """The other images go out, and what the disk fails at says nothing of the PACS."""
    claim = _claimed(database, clock)
    with StandInPacs(tmp_path / "pacs") as pacs:
        deliver = _delivery(database, clock, files, pacs)
        content = places[1].read_bytes()
        _break(places[1], failing)
        outcome = deliver(claim)
        assert isinstance(outcome, Retry)
        assert not outcome.silent
        assert "see to the disk" in outcome.detail
        assert pacs.received == [UIDS[0], *UIDS[2:]]
        with database.read() as connection:
            rows = connection.execute(sa.select(instance_deliveries)).all()
        assert Counter(row.status for row in rows) == {"0000": 4, FILE_AWAY: 1}
        _mend(places[1], content)
        assert isinstance(deliver(claim), Delivered)
        assert sorted(pacs.received) == UIDS


def test_a_store_that_is_not_there_makes_no_dead_letter(
    database: Database,
    clock: FakeClock,
    files: LocalFileStore,
    places: list[Path],
    tmp_path: Path,
) -> None:
    """Where its disk is not mounted no image counts as gone; all go out once it is."""
    claim = _claimed(database, clock)
    files.root.rename(tmp_path / "unmounted")
    files.root.mkdir()
    with StandInPacs(tmp_path / "pacs") as pacs:
        deliver = _delivery(database, clock, files, pacs)
        outcome = deliver(claim)
        assert isinstance(outcome, Retry)
        assert "mount its disk" in outcome.detail
        files.root.rmdir()
        (tmp_path / "unmounted").rename(files.root)
        assert isinstance(deliver(claim), Delivered)
        assert sorted(pacs.received) == UIDS


def test_a_file_that_is_gone_is_a_dead_letter(
    database: Database,
    clock: FakeClock,
    files: LocalFileStore,
    places: list[Path],
    tmp_path: Path,
) -> None:
    """Where the store is there and lacks a file, a person is told at once."""
    claim = _claimed(database, clock)
    places[0].unlink()
    with StandInPacs(tmp_path / "pacs") as pacs:
        outcome = _delivery(database, clock, files, pacs)(claim)
    assert isinstance(outcome, Dead)
    assert outcome.status == NO_FILE
    assert pacs.received == UIDS[1:]
