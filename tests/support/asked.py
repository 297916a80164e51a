"""A study that a PACS has taken, and what is done with the requests for its promise."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import sqlalchemy as sa

from intu_fhir.db import work
from intu_fhir.db.archive_answers import answer
from intu_fhir.db.archive_closing import close_overdue, find_request
from intu_fhir.db.archive_commitments import (
    asked,
    claim,
    plan,
)
from intu_fhir.db.deliveries import record_instances, want_delivery
from intu_fhir.db.instances import NewInstance
from intu_fhir.db.session import Connection, Database
from intu_fhir.db.tables import (
    archive_commitments,
    deliveries,
    instances,
    studies,
)
from intu_fhir.model.archive_commitment import AskClaim, Closed, NextTry
from intu_fhir.model.commitment import CommitmentResult, ReferencedInstance
from intu_fhir.model.outcome import InstanceOutcome
from intu_fhir.model.work import DELIVER, DELIVERED, WAITING, Claim, DeliveryWish
from tests.support.clock import FakeClock
from tests.support.staging import header, new_instance, store

THEN = NextTry(3, "no promise; look at the PACS, then replay")


@dataclass
class Sent:
    """A study of three instances that a PACS has taken."""

    database: Database
    clock: FakeClock

    def take(self) -> Claim:
        """Claim the delivery, as a worker does."""
        with self.database.write() as connection:
            claimed = work.claim(
                connection, DELIVER, "pacs", holder="w", now=self.clock.now(), lease_seconds=60
            )
        assert claimed is not None
        return claimed

    def take_late(self) -> Claim:
        """Let a late image come, and claim the delivery that it brings about."""
        store(self.database, instance(self.clock, "1.2.3.4"))
        with self.database.write() as connection:
            self.want(connection, 2, WAITING)
        return self.take()

    def want(self, connection: Connection, generation: int, state: str) -> None:
        """Wish for the delivery of a generation."""
        key = connection.execute(sa.select(studies.c.study_key)).scalar_one()
        wish = DeliveryWish(state)
        want_delivery(connection, key, "pacs", generation, wish=wish, now=self.clock.now())

    def taken(self, held: Claim) -> None:
        """Note that the PACS took everything."""
        with self.database.write() as connection:
            keys = connection.execute(sa.select(instances.c.instance_key)).scalars().all()
            taken = {key: InstanceOutcome("", "0000", delivered=True) for key in keys}
            record_instances(connection, held, taken, self.clock.now())

    def finish(self, held: Claim) -> int:
        """Note that it took everything and the delivery has ended; plan what is to be asked."""
        self.taken(held)
        return self.end(held)

    def end(self, held: Claim) -> int:
        """End a delivery and plan what is to be asked."""
        with self.database.write() as connection:
            work.finish(connection, held, state=DELIVERED, now=self.clock.now())
            return plan(connection, held.key, max_instances=10, now=self.clock.now())

    def claim(self) -> AskClaim:
        """Take the one request that is due."""
        with self.database.write() as connection:
            (held,) = claim(connection, "pacs", self.clock.now(), lease_seconds=60, limit=5)
        return held

    def asked(self, held: AskClaim) -> None:
        """Note that the PACS took the request; it has an hour."""
        with self.database.write() as connection:
            now = self.clock.now()
            asked(connection, held, now, now + timedelta(hours=1))

    def hear(self, uid: str, committed: list[str], failed: dict[str, int] | None = None) -> Closed:
        """Take an answer."""
        result = CommitmentResult(
            uid,
            tuple(ReferencedInstance("1.2", one) for one in committed),
            tuple((ReferencedInstance("1.2", one), why) for one, why in (failed or {}).items()),
        )
        with self.database.write() as connection:
            request = find_request(connection, uid)
            assert request is not None
            now = self.clock.now()
            return answer(connection, request, result, now, retry_at=now, then=THEN)

    def overdue(self) -> Closed | None:
        """End what is overdue."""
        with self.database.write() as connection:
            now = self.clock.now()
            return close_overdue(connection, "pacs", now, retry_at=now, then=THEN)

    def delivery(self) -> Any:
        """Return the row of the delivery."""
        with self.database.read() as connection:
            return connection.execute(sa.select(deliveries)).one()

    def states(self) -> list[tuple[str, int]]:
        """Return state and number of all requests."""
        r = archive_commitments.c
        with self.database.read() as connection:
            found = connection.execute(sa.select(r.state, r.number).order_by(r.request_key))
            return [(row.state, row.number) for row in found]


UIDS = ["1.2.3.1", "1.2.3.2", "1.2.3.3"]


def instance(clock: FakeClock, uid: str) -> NewInstance:
    """Return an instance of the study."""
    return new_instance(clock.now(), header(instance=uid), quiet_seconds=0)


def stage_and_send(database: Database, clock: FakeClock) -> Sent:
    """Stage a study of three instances and note that the PACS took it."""
    store(database, *(instance(clock, one) for one in UIDS))
    with database.write() as connection:
        key = connection.execute(sa.select(studies.c.study_key)).scalar_one()
        wish = DeliveryWish(WAITING)
        want_delivery(connection, key, "pacs", 1, wish=wish, now=clock.now())
    made = Sent(database, clock)
    assert made.finish(made.take()) == 3
    return made
