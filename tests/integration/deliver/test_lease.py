"""A study that takes long stays with its worker, on SQLite and PostgreSQL."""

from __future__ import annotations

from intu_fhir.db import work
from intu_fhir.db.deliveries import want_delivery
from intu_fhir.db.session import Database
from intu_fhir.deliver.lease import Lease
from intu_fhir.model.work import DELIVER, WAITING, Claim, DeliveryWish
from tests.support.clock import FakeClock
from tests.support.seeded import stage


def _claim(database: Database, clock: FakeClock) -> Claim | None:
    with database.write() as connection:
        return work.claim(
            connection, DELIVER, "ehr", holder="w", now=clock.now(), lease_seconds=60, limit=None
        )


def _claimed(database: Database, clock: FakeClock) -> Claim:
    with database.write() as connection:
        key = stage(connection, "one", at=clock.now())
        want_delivery(connection, key, "ehr", 1, wish=DeliveryWish(WAITING), now=clock.now())
    claim = _claim(database, clock)
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
    """A worker that slept too long learns that another one has the study."""
    lease = Lease(database, clock, _claimed(database, clock), 60)
    clock.advance(61)
    assert _claim(database, clock) is not None
    assert not lease.keep()
