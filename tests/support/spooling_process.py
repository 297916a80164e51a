"""A receiving machine to be killed: ``python -m tests.support.spooling_process ORDER``.

ORDER is a file of JSON. Prints the SOP Instance UID of each object once it is durable.
"""

from __future__ import annotations

import itertools
import json
import sys
import threading
from pathlib import Path

from intu_fhir.db.session import Database
from intu_fhir.observe.clock import SystemClock
from tests.support.object_stores import Running
from tests.support.spooling import Machine, machine
from tests.support.studies import make_instance, uid


def main(order_file: str) -> None:
    """Receive and upload until killed."""
    order = json.loads(Path(order_file).read_text())
    database = Database(order["database"])
    server = Running(order["endpoint"])
    place = (server, Path(order["spool"]), order["prefix"])
    with machine(database, SystemClock(), *place, **order["settings"]) as here:
        here.recover()
        for number in range(order["senders"]):
            args = (here, order["run"], number)
            threading.Thread(target=_receive, args=args, daemon=True).start()
        while True:
            here.uploader.upload_some()


def _receive(here: Machine, run: int, sender: int) -> None:
    for number in itertools.count():
        one = uid("kills", run, sender, number)
        here.receive(make_instance(f"{run}-{sender}", SOPInstanceUID=one))
        sys.stdout.write(f"{one}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1])
