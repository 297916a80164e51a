"""Delivery of staged studies to a PACS, on SQLite and PostgreSQL."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Literal

import pytest
import sqlalchemy as sa
from pydicom.uid import RLELossless

from intu_fhir.db import work
from intu_fhir.db.deliveries import record_instances, want_delivery
from intu_fhir.db.session import Database
from intu_fhir.db.tables import generations, instance_deliveries, instances, studies
from intu_fhir.deliver.dicom import StorageScu
from intu_fhir.deliver.step import DicomDelivery
from intu_fhir.demo.pacs import ABORT, StandInPacs
from intu_fhir.files.local import LocalFileStore
from intu_fhir.model.outcome import Delivered, InstanceOutcome, Retry
from intu_fhir.model.work import DELIVER, WAITING, Claim, DeliveryWish, NotYet
from intu_fhir.settings.schema import DicomDestination
from tests.support.clock import FakeClock
from tests.support.compressed import compress
from tests.support.outgoing import path_of
from tests.support.raw_peer import EXPLICIT
from tests.support.staging import header, new_instance, store
from tests.support.studies import make_instance

UIDS = [f"1.2.3.1.{number}" for number in range(1, 6)]


@pytest.fixture
def files(tmp_path: Path) -> LocalFileStore:
    """An empty file store."""
    return LocalFileStore(tmp_path / "files")


@pytest.fixture
def claim(database: Database, files: LocalFileStore, clock: FakeClock) -> Claim:
    """The delivery of a study of five instances, claimed."""
    _stage(database, files, clock.now(), UIDS)
    return _claimed(database, clock)


def _stage(database: Database, files: LocalFileStore, now: datetime, uids: list[str]) -> None:
    staged = [
        new_instance(now, header(instance=uid), sha256=hashlib.sha256(uid.encode()).hexdigest())
        for uid in uids
    ]
    for one in staged:
        path = files.path(one.file)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes(one.data_set_offset) + one.header.sop_instance_uid.encode())
    store(database, *staged)


def _settle(database: Database, now: datetime, number: int) -> None:
    """Record that the first generation is what has been staged."""
    with database.write() as connection:
        study = connection.execute(sa.select(studies)).one()
        assert study.revision == number
        connection.execute(
            sa.insert(generations).values(
                study_key=study.study_key,
                generation=1,
                revision=study.revision,
                settled_at=now,
                evidence="quiet",
                evidence_detail="",
                number_of_series=1,
                number_of_instances=number,
            )
        )


def _claimed(database: Database, clock: FakeClock) -> Claim:
    with database.write() as connection:
        key = connection.execute(sa.select(studies.c.study_key)).scalar_one()
        wish = DeliveryWish(WAITING)
        want_delivery(connection, key, "pacs", 1, wish=wish, now=clock.now())
        claimed = work.claim(
            connection, DELIVER, "pacs", holder="w", now=clock.now(), lease_seconds=60, limit=None
        )
    assert claimed is not None
    return claimed


def _delivery(
    database: Database,
    clock: FakeClock,
    files: LocalFileStore,
    pacs: StandInPacs,
    transcode: Literal["never", "uncompressed"] = "never",
) -> DicomDelivery:
    destination = DicomDestination(
        type="dicom",
        host="127.0.0.1",
        port=pacs.port,
        called_ae_title="PACS",
        timeout_seconds=5,
        transcode=transcode,
    )
    return DicomDelivery(database, clock, files, StorageScu(destination), 60)


def test_only_what_was_not_confirmed_is_sent_again(
    database: Database, clock: FakeClock, files: LocalFileStore, claim: Claim, tmp_path: Path
) -> None:
    """After an abort the answers are in SQL, and the next try sends the rest alone."""
    with StandInPacs(tmp_path / "pacs") as pacs:
        deliver = _delivery(database, clock, files, pacs)
        pacs.abort_after(2)
        assert isinstance(deliver(claim), Retry)
        with database.read() as connection:
            rows = connection.execute(
                sa.select(instance_deliveries).order_by(instance_deliveries.c.instance_key)
            ).all()
        assert [row.status for row in rows] == ["0000", "0000", "no answer"]
        assert isinstance(deliver(claim), Delivered)
        assert sorted(pacs.received) == UIDS
        assert deliver(claim) == Delivered("0000", "every instance was confirmed", unchanged=True)
        assert len(pacs.received) == 5


def test_a_warning_outlives_the_try_that_brought_it(
    database: Database, clock: FakeClock, files: LocalFileStore, claim: Claim, tmp_path: Path
) -> None:
    """The study is delivered with the warnings of all its images, whichever try sent them."""
    with StandInPacs(tmp_path / "pacs") as pacs:
        deliver = _delivery(database, clock, files, pacs)
        pacs.answer_for(UIDS[0], 0xB000)
        pacs.abort_after(2)
        assert isinstance(deliver(claim), Retry)
        rest, again = deliver(claim), deliver(claim)
    assert isinstance(rest, Delivered)
    assert isinstance(again, Delivered)
    assert rest.warning.startswith("1 instance: B000 ")
    assert (again.warning, again.unchanged) == (rest.warning, True)


def test_what_was_decompressed_is_on_record(
    database: Database, clock: FakeClock, files: LocalFileStore, tmp_path: Path
) -> None:
    """The ledger says in SQL which instances a PACS got in which other transfer syntax."""
    one = compress(make_instance("packed"), RLELossless, tmp_path / "one.dcm")
    content = path_of(one).read_bytes()
    head = replace(
        header(instance=one.sop_instance_uid),
        sop_class_uid=one.sop_class_uid,
        transfer_syntax_uid=one.transfer_syntax_uid,
    )
    staged = new_instance(
        clock.now(),
        head,
        sha256=hashlib.sha256(content[one.data_set_offset :]).hexdigest(),
    )
    staged = replace(staged, data_set_offset=one.data_set_offset)
    path = files.path(staged.file)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    store(database, staged)
    claimed = _claimed(database, clock)
    takes = {one.sop_class_uid: [EXPLICIT]}
    with StandInPacs(tmp_path / "pacs", contexts=takes) as pacs:
        outcome = _delivery(database, clock, files, pacs, transcode="uncompressed")(claimed)
    assert outcome == Delivered("0000", "1 instance, 1 of them decompressed")
    with database.read() as connection:
        rows = connection.execute(sa.select(instance_deliveries)).all()
    assert [(row.delivered, row.transcoded_to) for row in rows] == [(True, EXPLICIT)]
    assert path.read_bytes() == content


def test_poison_instance_keeps_no_other_back(
    database: Database, clock: FakeClock, files: LocalFileStore, claim: Claim, tmp_path: Path
) -> None:
    """An instance that makes the PACS abort every time is tried last, after all the others."""
    with StandInPacs(tmp_path / "pacs") as pacs:
        deliver = _delivery(database, clock, files, pacs)
        pacs.answer_for(UIDS[0], ABORT)
        assert isinstance(deliver(claim), Retry)
        assert pacs.received == []
        assert isinstance(deliver(claim), Retry)
        assert pacs.received == UIDS[1:]
        assert isinstance(deliver(claim), Retry)
        assert pacs.received == UIDS[1:]
        pacs.answer_for(UIDS[0], 0)
        assert isinstance(deliver(claim), Delivered)


def test_what_a_pacs_has_is_not_taken_back_by_who_lost_the_study(
    database: Database, clock: FakeClock, files: LocalFileStore, claim: Claim, tmp_path: Path
) -> None:
    """A worker whose lease is over heard no answer; the next one did, and nothing goes twice."""
    with StandInPacs(tmp_path / "pacs") as pacs:
        deliver = _delivery(database, clock, files, pacs)
        with database.read() as connection:
            first, *_ = connection.execute(sa.select(instances.c.instance_key)).scalars()
        assert isinstance(deliver(claim), Delivered)
        silence = InstanceOutcome(UIDS[0], "no answer", False, False, "sending was stopped")
        with database.write() as connection:
            record_instances(connection, claim, {first: silence}, clock.now())
        assert isinstance(deliver(claim), Delivered)
        assert sorted(pacs.received) == UIDS


LATE = [f"1.2.3.2.{number}" for number in range(1, 4)]


def test_what_was_not_judged_is_not_sent(
    database: Database, clock: FakeClock, files: LocalFileStore, claim: Claim, tmp_path: Path
) -> None:
    """Images that came after a study had settled wait until it has settled with them."""
    _settle(database, clock.now(), len(UIDS))
    clock.advance(1)
    _stage(database, files, clock.now(), LATE)
    with StandInPacs(tmp_path / "pacs") as pacs:
        deliver = _delivery(database, clock, files, pacs)
        assert isinstance(deliver(claim), Delivered)
        assert sorted(pacs.received) == UIDS


def test_nothing_is_sent_while_nobody_can_tell_what_was_judged(
    database: Database, clock: FakeClock, files: LocalFileStore, claim: Claim, tmp_path: Path
) -> None:
    """An image stored after settling that was received before it keeps all of them for the next."""
    _settle(database, clock.now(), len(UIDS))
    _stage(database, files, clock.now(), LATE[:1])
    with StandInPacs(tmp_path / "pacs") as pacs:
        outcome = _delivery(database, clock, files, pacs)(claim)
    assert isinstance(outcome, NotYet)
    assert "settle" in outcome.reason
    assert pacs.received == []
