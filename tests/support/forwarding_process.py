"""A worker to be killed: ``python -m tests.support.forwarding_process ORDER``.

ORDER is a file of JSON. It claims the one delivery there is, once nobody else has it, and sends it.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from intu_fhir.db import work
from intu_fhir.db.session import Database
from intu_fhir.deliver.dicom import StorageScu
from intu_fhir.deliver.step import DicomDelivery
from intu_fhir.files.local import LocalFileStore
from intu_fhir.model.work import DELIVER, Claim
from intu_fhir.observe.clock import Clock, SystemClock
from intu_fhir.settings.schema import DicomDestination
from tests.support.waiting import wait_until

LEASE_SECONDS = 1.0


def _claim(database: Database, clock: Clock) -> Claim | None:
    with database.write() as connection:
        return work.claim(
            connection,
            DELIVER,
            "pacs",
            holder="w",
            now=clock.now(),
            lease_seconds=LEASE_SECONDS,
            limit=None,
        )


def main(order_file: str) -> None:
    """Send until done, or killed."""
    order = json.loads(Path(order_file).read_text(encoding="utf-8"))
    database, clock = Database(order["database"]), SystemClock()
    claim = wait_until(lambda: _claim(database, clock), what="a delivery that is free")
    assert claim is not None
    destination = DicomDestination(
        type="dicom", host="127.0.0.1", port=order["port"], called_ae_title="PACS"
    )
    files = LocalFileStore(Path(order["files"]))
    scu, flush_every = StorageScu(destination), order["flush_every"]
    deliver = DicomDelivery(database, clock, files, scu, LEASE_SECONDS, flush_every=flush_every)
    outcome = deliver(claim)
    sys.stdout.write(type(outcome).__name__)


if __name__ == "__main__":
    main(sys.argv[1])
