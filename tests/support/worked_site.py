"""A site whose work somebody else does: staged studies, far sides, and what became of it all."""

from __future__ import annotations

import itertools
import os
import random
import signal
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from intu_fhir.app.wiring import App, open_app
from intu_fhir.db.tables import attempts, deliveries
from intu_fhir.db.tables import work as steps
from intu_fhir.files.part10 import part10_head
from intu_fhir.model.instance import Origin, ReceivedObject
from intu_fhir.settings.load import load_configuration
from tests.support.counting import CountingEhr, VisitedPacs
from tests.support.ports import free_port
from tests.support.processes import is_running
from tests.support.site_folder import write_site
from tests.support.staging import CT_STORAGE, EXPLICIT_LITTLE
from tests.support.studies import data_set_bytes, make_instance, uid
from tests.support.waiting import wait_until

LEASE_SECONDS, LIMIT = 5.0, 2
EHR, PACS = "ehr", "pacs"


@dataclass
class WorkedSite:
    """A site that is received for here; settling, building and delivering is the engine's.

    Args:
        limit: studies on their way at the same time, for each of both far sides.
        sent: name by Study Instance UID of what has been staged.
        grown: those of them that got another image later.
    """

    folder: Path
    app: App
    ehr: CountingEhr
    pacs: VisitedPacs
    limit: int
    sent: dict[str, str] = field(default_factory=dict)
    grown: set[str] = field(default_factory=set)
    _images: set[str] = field(default_factory=set)
    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def stage(self, count: int) -> None:
        """Stage so many studies of one instance each, as the receiver does."""
        for number in itertools.islice(self._numbers, count):
            self._accept(name := f"worked {number}", 1)
            self.sent[uid(name)] = name

    def grow(self, chance: random.Random) -> bool:
        """Let a late image come to a study that the EHR has; False where there is none left."""
        there = {study for study, _ in list(self.ehr.arrived)}
        if not (able := sorted(there - self.grown)):
            return False
        study = chance.choice(able)
        self.grown.add(study)
        self._accept(self.sent[study], 2)
        return True

    def _accept(self, name: str, number: int) -> None:
        dataset = make_instance(name, number=number)
        self._images.add(str(dataset.SOPInstanceUID))
        self.app.accept(self._received(dataset))

    def _received(self, dataset: Any) -> ReceivedObject:
        uids = (CT_STORAGE, str(dataset.SOPInstanceUID), EXPLICIT_LITTLE)
        head, data = part10_head(*uids), data_set_bytes(dataset)
        spool = self.app.files.open_spool(head)
        spool.write(data)
        spooled = spool.finish()
        return ReceivedObject(
            spooled.path,
            spooled.data_set_offset,
            spooled.size,
            spooled.sha256,
            *uids,
            Origin(uuid.uuid4().hex, "radiology", calling_ae_title="CT1"),
        )

    # ---- what became of it

    def _rows(self, query: sa.Select[Any]) -> list[Any]:
        with self.app.database.read() as connection:
            return list(connection.execute(query))

    def delivered(self) -> int:
        """Return how many deliveries have been recorded as done."""
        counted = sa.select(sa.func.count()).where(deliveries.c.state == "delivered")
        return int(self._rows(counted)[0][0])

    def confirmed(self) -> int:
        """Return how many generations both far sides together have confirmed."""
        counted = sa.select(sa.func.count()).where(attempts.c.outcome == "delivered")
        return int(self._rows(counted)[0][0])

    def is_done(self) -> bool:
        """Say whether nothing that was staged waits for anything."""
        undone = sa.select(sa.func.count()).where(steps.c.state != "done")
        return self.delivered() >= 2 * len(self.sent) and not self._rows(undone)[0][0]

    def wait(self, seconds: float = 400.0) -> None:
        """Wait until everything that was staged is recorded as delivered everywhere."""
        wait_until(lambda: self.delivered() >= 2 * len(self.sent), seconds, "all delivered")

    def holders(self) -> list[int]:
        """Return the processes that hold a lease now, on a delivery or a step before it."""
        queues = (steps, deliveries)
        held = [sa.select(one.c.lease_holder).where(one.c.lease_holder != "") for one in queues]
        return [int(row[0].split(":")[1]) for one in held for row in self._rows(one)]

    def leases(self) -> int:
        """Return how many rows of the queue somebody holds."""
        queues = (steps, deliveries)
        counts = [sa.select(sa.func.count()).where(one.c.lease_holder != "") for one in queues]
        return sum(int(self._rows(one)[0][0]) for one in counts)

    def kill_a_holder(self, chance: random.Random) -> int | None:
        """Kill a process that has work in hand at this moment, as a power cut would.

        Returns:
            None where nobody had: what died before may still hold a lease.
        """
        holders = self.holders()
        try:
            os.kill(victim := chance.choice(holders), signal.SIGKILL)
            wait_until(lambda: not is_running(victim), what=f"the end of process {victim}")
        except (IndexError, ProcessLookupError):
            return None
        return victim

    def faults(self) -> list[str]:
        """Return all that is lost, doubled or beyond a limit; call it when all has ended."""
        return [*self._faults_at_ehr(), *self._faults_at_pacs(), *self._beyond_limits()]

    def _faults_at_ehr(self) -> Iterator[str]:
        """Each study has one resource; each of its versions holds more than the one before."""
        found = self.ehr.generations()
        yield from (f"lost at the EHR: {one}" for one in set(self.sent) - set(found))
        for study, resources in found.items():
            if len(resources) > 1:
                yield f"{len(resources)} times at the EHR: {study}"
            told = resources[0]
            if told != sorted(set(told)):
                yield f"twice or out of order at the EHR: {study}, images {told}"
            if told[-1:] != [2 if study in self.grown else 1]:
                yield f"not the newest at the EHR: {study}, images {told}"

    def _faults_at_pacs(self) -> Iterator[str]:
        found = {one.sop_instance_uid for one in self.pacs.instances}
        yield from (f"lost at the PACS: {one}" for one in self._images - found)

    def sent_again(self) -> int:
        """Return how many images the PACS got once more: whose worker died before it noted that."""
        return len(self.pacs.received) - len(self.pacs.instances)

    def _beyond_limits(self) -> Iterator[str]:
        """Count tries of a destination that overlap; one whose worker died left no row."""
        for destination in (EHR, PACS):
            most = most_at_once(self._tries(destination))
            if most > self.limit:
                yield f"{most} tries at once at {destination}"
        for destination, visits in ((EHR, self.ehr.visits), (PACS, self.pacs.visits)):
            if visits.most > self.limit:
                yield f"{visits.most} requests at once at {destination}"

    def _tries(self, destination: str) -> list[tuple[datetime, datetime]]:
        query = sa.select(attempts.c.started_at, attempts.c.ended_at).join_from(
            attempts, deliveries, attempts.c.delivery_key == deliveries.c.delivery_key
        )
        return [(a, b) for a, b in self._rows(query.where(deliveries.c.destination == destination))]


def most_at_once(spans: list[tuple[datetime, datetime]]) -> int:
    """Return how many spans of time share a moment at most; one may begin as another ends."""
    moments = sorted([(begin, 1) for begin, _ in spans] + [(end, -1) for _, end in spans])
    now = most = 0
    for _, change in moments:
        now += change
        most = max(most, now)
    return most


@contextmanager
def worked_site(
    folder: Path,
    database: str,
    *,
    lease_seconds: float = LEASE_SECONDS,
    limit: int = LIMIT,
    **more: Any,
) -> Iterator[WorkedSite]:
    """Have a site with both far sides; nothing works on what is staged."""
    folder.mkdir(parents=True, exist_ok=True)
    with CountingEhr(folder / "ehr") as ehr, VisitedPacs(folder / "pacs") as pacs:
        write_site(
            folder,
            database=database,
            port=free_port(),
            destinations=_destinations(ehr, pacs, limit),
            channel={"settle": {"quiet_seconds": 0}},
            lease_seconds=lease_seconds,
            retry={"first_seconds": 0.1, "max_seconds": 0.5, "max_attempts": 1_000},
            **more,
        )
        app = open_app(load_configuration(folder))
        app.rows.start()
        try:
            yield WorkedSite(folder, app, ehr, pacs, limit)
        finally:
            app.rows.stop()
            app.close()


def _destinations(ehr: CountingEhr, pacs: VisitedPacs, limit: int) -> dict[str, dict[str, Any]]:
    return {
        EHR: {
            "type": "fhir",
            "base_url": ehr.base_url,
            "subject": {"strategy": "logical"},
            "timeout_seconds": 4,
            "concurrency": limit,
        },
        PACS: {
            "type": "dicom",
            "host": "127.0.0.1",
            "port": pacs.port,
            "called_ae_title": "PACS",
            "timeout_seconds": 4,
            "max_associations": limit,
        },
    }
