"""A study that takes long stays with its worker, on SQLite and PostgreSQL."""

from __future__ import annotations

import threading
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from intu_fhir.db import work
from intu_fhir.db.deliveries import want_delivery
from intu_fhir.db.resources import VALID, BuiltResource, store_resource
from intu_fhir.db.session import Database
from intu_fhir.db.tables import deliveries
from intu_fhir.deliver.dicom import StorageScu
from intu_fhir.deliver.lease import Lease
from intu_fhir.deliver.publish import LOST
from intu_fhir.deliver.step import DicomDelivery, FhirDelivery
from intu_fhir.demo.ehr import Fault, StandInEhr
from intu_fhir.files.local import LocalFileStore
from intu_fhir.model.companion import PROVENANCE, Companion, Identity
from intu_fhir.model.outcome import Delivered, DeliveryOutcome, Retry
from intu_fhir.model.work import DELIVER, WAITING, Claim, DeliveryWish
from intu_fhir.observe.clock import Clock, SystemClock
from intu_fhir.settings.schema import DicomDestination
from tests.integration.deliver.conftest import ConnectFhir
from tests.support.clock import FakeClock
from tests.support.far_sides import Peer, RawServer
from tests.support.publications import imaging_study
from tests.support.rows import rows_of
from tests.support.seeded import stage
from tests.support.studies import uid
from tests.support.waiting import wait_until

SHORT = 0.9
AWAY = "postgresql+psycopg://nobody@127.0.0.1:1/none"
TOLD = Companion(
    PROVENANCE,
    Identity("Provenance", "", "told"),
    {"resourceType": "Provenance", "agent": [{"who": {"display": "intu-fhir"}}]},
)


def _claim(database: Database, clock: Clock, lease_seconds: float = 60) -> Claim | None:
    with database.write() as connection:
        return work.claim(
            connection,
            DELIVER,
            "ehr",
            holder="w",
            now=clock.now(),
            lease_seconds=lease_seconds,
            limit=None,
        )


def _claimed(database: Database, clock: Clock, lease_seconds: float = 60) -> Claim:
    study = imaging_study(uid("one"))
    built = BuiltResource("r4", "1", "radiology", VALID, "", study, companions=[TOLD])
    with database.write() as connection:
        key = stage(connection, "one", at=clock.now())
        store_resource(connection, key, 1, built, clock.now())
        want_delivery(connection, key, "ehr", 1, wish=DeliveryWish(WAITING), now=clock.now())
    claim = _claim(database, clock, lease_seconds)
    assert claim is not None
    return claim


def test_a_lease_is_renewed_in_good_time(database: Database, clock: FakeClock) -> None:
    """Work that goes on for many times the lease is taken by nobody else."""
    lease = Lease(database, clock, _claimed(database, clock), 60)
    for _ in range(10):
        clock.advance(25)
        assert lease.keep()
        assert _claim(database, clock) is None


def test_a_lease_that_ran_out_is_lost(database: Database, clock: FakeClock) -> None:
    """A worker that slept too long learns that another one has the study, and is not told else."""
    lease = Lease(database, clock, _claimed(database, clock), 60)
    clock.advance(61)
    assert _claim(database, clock) is not None
    assert not lease.keep()
    assert not lease.keep()


def test_a_lease_began_with_its_claim(database: Database, clock: FakeClock) -> None:
    """What was done before somebody looked after the lease has used up a part of it."""
    claim = _claimed(database, clock)
    clock.advance(45)
    lease = Lease(database, clock, claim, 60)
    clock.advance(16)
    assert _claim(database, clock) is not None
    assert not lease.keep()


def test_without_the_database_our_own_clock_ends_a_lease(
    database: Database, clock: FakeClock
) -> None:
    """What cannot be renewed is ours until its end, and no second longer."""
    claim, away = _claimed(database, clock), Database(AWAY)
    lease = Lease(away, clock, claim, 60)
    clock.advance(59)
    assert lease.keep()
    clock.step_wall(-3_600)
    clock.advance(2)
    assert not lease.keep()
    away.close()


@pytest.mark.timed
def test_a_heartbeat_renews_while_nobody_asks(database: Database) -> None:
    """While one request takes long the lease goes on; once the work is over it ends."""
    clock = SystemClock()
    claim = _claimed(database, clock, SHORT)
    with Lease(database, clock, claim, SHORT) as lease:
        wait_until(lambda: (clock.now() - claim.lease_until).total_seconds() > 2 * SHORT)
        assert _claim(database, clock) is None
        assert lease.keep()
    wait_until(lambda: _claim(database, clock) is not None)


def test_no_heartbeat_for_a_stuck_worker(database: Database) -> None:
    """A worker that asks nothing for longer than its requests take has its study taken."""
    clock = SystemClock()
    claim = _claimed(database, clock, SHORT)
    with Lease(database, clock, claim, SHORT, request_seconds=0) as lease:
        wait_until(lambda: _claim(database, clock) is not None)
        assert not lease.keep()


def _deliver(
    database: Database, clock: Clock, connect: ConnectFhir, ehr: StandInEhr, **settings: Any
) -> FhirDelivery:
    client = connect(ehr.base_url, **settings)
    return FhirDelivery(database, client.destination, client, clock, lease_seconds=SHORT)


@pytest.mark.timed
@pytest.mark.parametrize("slow", ["POST Patient/_search", "POST ImagingStudy"])
def test_a_slow_server_costs_no_study_its_worker(
    database: Database, ehr: StandInEhr, connect: ConnectFhir, slow: str
) -> None:
    """No second worker gets a study while one request of the first takes several leases."""
    clock = SystemClock()
    claim = _claimed(database, clock, SHORT)
    ehr.fail_next(Fault(delay=3 * SHORT, on=(slow,)))
    strategy = "create" if "Patient" in slow else "logical"
    delivery = _deliver(database, clock, connect, ehr, subject={"strategy": strategy})
    outcomes: list[DeliveryOutcome] = []
    worker = threading.Thread(target=lambda: outcomes.append(delivery(claim)))
    worker.start()
    wait_until(lambda: (clock.now() - claim.lease_until).total_seconds() > SHORT)
    assert _claim(database, clock) is None
    worker.join()
    assert [type(one) for one in outcomes] == [Delivered]
    [study] = ehr.resources("ImagingStudy")
    assert len(ehr.versions("ImagingStudy", study["id"])) == 1


@pytest.mark.parametrize("publish", [{}, {"provenance": True}])
def test_who_lost_a_study_writes_nothing(
    database: Database,
    clock: FakeClock,
    ehr: StandInEhr,
    connect: ConnectFhir,
    publish: dict[str, bool],
) -> None:
    """Neither alone nor in a transaction with what goes beside it."""
    late = _claimed(database, clock)
    clock.advance(61)
    assert _claim(database, clock) is not None
    delivery = _deliver(
        database, clock, connect, ehr, publish=publish, subject={"strategy": "logical"}
    )
    assert delivery(late) == LOST
    assert [one.method for one in ehr.received if one.method != "GET"] == []


@pytest.mark.timed
def test_a_silent_pacs_costs_no_study_its_worker(database: Database, tmp_path: Path) -> None:
    """While a PACS leaves TLS unanswered for several leases, the study stays where it is."""
    clock = SystemClock()
    claim = _claimed(database, clock, SHORT)

    def silent(peer: Peer) -> None:
        peer.wait()

    with RawServer(silent) as pacs:
        destination = DicomDestination(
            type="dicom",
            host="127.0.0.1",
            port=pacs.port,
            called_ae_title="PACS",
            timeout_seconds=3 * SHORT,
            tls={},
        )
        files = LocalFileStore(tmp_path / "files")
        delivery = DicomDelivery(database, clock, files, StorageScu(destination), SHORT)
        outcomes: list[DeliveryOutcome] = []
        worker = threading.Thread(target=lambda: outcomes.append(delivery(claim)))
        worker.start()
        wait_until(lambda: (clock.now() - claim.lease_until).total_seconds() > SHORT)
        assert _claim(database, clock) is None
        worker.join()
    assert [type(one) for one in outcomes] == [Retry]


def test_a_clock_set_back_puts_no_renewal_off(database: Database, clock: FakeClock) -> None:
    """A third of the lease passes on the monotonic clock, too; the new end is by the new time."""
    lease = Lease(database, clock, _claimed(database, clock), 60)
    clock.step_wall(-3_600)
    now = clock.advance(25)
    assert lease.keep()
    (row,) = rows_of(database, deliveries)
    assert row.lease_until == now + timedelta(seconds=60)


def test_a_machine_that_slept_has_lost_its_lease(database: Database, clock: FakeClock) -> None:
    """Where the monotonic clock stood still, the wall clock says that another one has the study."""
    lease = Lease(database, clock, _claimed(database, clock), 60)
    clock.step_wall(61)
    assert _claim(database, clock) is not None
    assert not lease.keep()
