"""A site whose work somebody else does: staged studies, far sides, and what became of it all."""

from __future__ import annotations

import itertools
import os
import random
import signal
import uuid
from collections import Counter
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
from intu_fhir.demo.ehr import StandInEhr
from intu_fhir.demo.pacs import StandInPacs
from intu_fhir.files.part10 import part10_head
from intu_fhir.model.instance import Origin, ReceivedObject
from intu_fhir.settings.load import load_configuration
from tests.support.ports import free_port
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
        sent: Study Instance UIDs that have been staged.
    """

    folder: Path
    app: App
    ehr: StandInEhr
    pacs: StandInPacs
    sent: set[str] = field(default_factory=set)
    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def stage(self, count: int) -> None:
        """Stage so many studies of one instance each, as the receiver does."""
        for number in itertools.islice(self._numbers, count):
            dataset = make_instance(f"worked {number}")
            self.app.accept(self._received(dataset))
            self.sent.add(uid(f"worked {number}"))

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

    def wait(self, seconds: float = 400.0) -> None:
        """Wait until everything that was staged is recorded as delivered everywhere."""
        wait_until(lambda: self.delivered() >= 2 * len(self.sent), seconds, "all delivered")

    def holders(self) -> list[int]:
        """Return the processes that hold a lease on a delivery now."""
        held = sa.select(deliveries.c.lease_holder).where(deliveries.c.lease_holder != "")
        return [int(row[0].split(":")[1]) for row in self._rows(held)]

    def leases(self) -> int:
        """Return how many rows of the queue somebody holds."""
        queues = (steps, deliveries)
        counts = [sa.select(sa.func.count()).where(one.c.lease_holder != "") for one in queues]
        return sum(int(self._rows(one)[0][0]) for one in counts)

    def kill_a_holder(self, chance: random.Random) -> bool:
        """Kill a process that is delivering at this moment, as a power cut would.

        Returns:
            False where nobody was: what died before may still hold a lease.
        """
        holders = self.holders()
        try:
            os.kill(chance.choice(holders), signal.SIGKILL)
        except (IndexError, ProcessLookupError):
            return False
        return True

    def faults(self) -> list[str]:
        """Return all that is lost, doubled or beyond a limit; call it when all has ended."""
        return [*self._faults_at_ehr(), *self._faults_at_pacs(), *self._beyond_limits()]

    def _faults_at_ehr(self) -> Iterator[str]:
        resources = self.ehr.resources("ImagingStudy")
        found = Counter(one["identifier"][0]["value"].removeprefix("urn:oid:") for one in resources)
        yield from (f"lost at the EHR: {one}" for one in self.sent - set(found))
        yield from (
            f"{number} times at the EHR: {one}" for one, number in found.items() if number > 1
        )
        for one in resources:
            if (versions := len(self.ehr.versions("ImagingStudy", one["id"]))) != 1:
                yield f"{versions} versions at the EHR of {one['id']}"

    def _faults_at_pacs(self) -> Iterator[str]:
        found = {one.study_instance_uid for one in self.pacs.instances}
        yield from (f"lost at the PACS: {one}" for one in self.sent - found)

    def sent_again(self) -> int:
        """Return how many images the PACS got once more: whose worker died before it noted that."""
        return len(self.pacs.received) - len(self.pacs.instances)

    def _beyond_limits(self) -> Iterator[str]:
        """Count tries of a destination that overlap; one whose worker died left no row."""
        for destination in (EHR, PACS):
            most = most_at_once(self._tries(destination))
            if most > LIMIT:
                yield f"{most} tries at once at {destination}"

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
def worked_site(folder: Path, database: str, **more: Any) -> Iterator[WorkedSite]:
    """Have a site with both far sides; nothing works on what is staged."""
    folder.mkdir(parents=True, exist_ok=True)
    with StandInEhr(folder / "ehr") as ehr, StandInPacs(folder / "pacs") as pacs:
        write_site(
            folder,
            database=database,
            port=free_port(),
            destinations=_destinations(ehr, pacs),
            channel={"settle": {"quiet_seconds": 0}},
            lease_seconds=LEASE_SECONDS,
            retry={"first_seconds": 0.1, "max_seconds": 0.5, "max_attempts": 1_000},
            **more,
        )
        app = open_app(load_configuration(folder))
        app.rows.start()
        try:
            yield WorkedSite(folder, app, ehr, pacs)
        finally:
            app.rows.stop()
            app.close()


def _destinations(ehr: StandInEhr, pacs: StandInPacs) -> dict[str, dict[str, Any]]:
    return {
        EHR: {
            "type": "fhir",
            "base_url": ehr.base_url,
            "subject": {"strategy": "logical"},
            "timeout_seconds": 4,
            "concurrency": LIMIT,
        },
        PACS: {
            "type": "dicom",
            "host": "127.0.0.1",
            "port": pacs.port,
            "called_ae_title": "PACS",
            "timeout_seconds": 4,
            "max_associations": LIMIT,
        },
    }
