"""K-03: was everything on disk when Success was sent?

``python -m tests.reliability.sync_order --answers 1000 [--senders 4] [--database postgresql]``
strace writes down what the receiver (and PostgreSQL) asked of the disk. For each Success the log
must show, before the answer was sent: the file synced after its last byte, its folder synced
after the rename, new folders synced into theirs, and the write-ahead log synced after it had
taken the row. SQLite's log takes a row when it is committed: by then file and folder must have been
synced.
"""

from __future__ import annotations

import argparse
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import sqlalchemy as sa
from pydicom import dcmread

from intu_fhir.db.file_tables import removals
from intu_fhir.db.session import Database
from intu_fhir.db.tables import instances
from tests.reliability.ground import ground
from tests.support.databases import KINDS
from tests.support.mutants import SYNC_MUTANTS
from tests.support.receiver_process import Order
from tests.support.receivers import Receivers
from tests.support.senders import Journal, Samples, Sender
from tests.support.strace import traced
from tests.support.sync_log import CALLS, TEXT_BYTES, Verdict, judge

_SAMPLES = Samples(12_000)


def watch(
    receivers: Receivers,
    order: Order,
    *,
    answers: int,
    senders: int = 1,
    also: Callable[[], tuple[int, ...]] = tuple,
    inject: tuple[str, ...] = (),
) -> Verdict:
    """Receive under strace and judge the order.

    Args:
        also: gives the processes of the database server.
    """
    place = Path(order.log).parent
    receiver = receivers.start(order)
    journal = Journal(place / "journal")
    log = place / "trace"
    try:
        with traced(
            [receiver.pid, *also()],
            log,
            calls=CALLS,
            inject=inject,
            follow=True,
            text_bytes=TEXT_BYTES,
        ):
            _send(receiver.port, journal, answers, senders)
    finally:
        receiver.kill()
        journal.close()
    return judge([log], files_by_uid(order))


def _send(port: int, journal: Journal, answers: int, senders: int) -> None:
    def one(number: int) -> None:
        sender = Sender(port, journal)
        if sender.associate():
            sender.send_all(_SAMPLES.make(number, n) for n in range(answers // senders))
            sender.release()
        sender.close()

    threads = [threading.Thread(target=one, args=(n,)) for n in range(1, senders + 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def files_by_uid(order: Order) -> dict[str, list[Path]]:
    """Return the files that staging names for each object, or has named before one of now.

    A file that was replaced waits for its removal without a UID beside it; its own header has it.
    """
    database = Database(order.database, pool_size=1)
    found: dict[str, list[Path]] = defaultdict(list)
    with database.read() as connection:
        for uid, file in connection.execute(
            sa.select(instances.c.sop_instance_uid, instances.c.file)
        ):
            found[uid].append(Path(order.files) / file)
        for file in connection.execute(sa.select(removals.c.file)).scalars():
            replaced = Path(order.files) / file
            header = dcmread(replaced, specific_tags=["SOPInstanceUID"], stop_before_pixels=True)
            found[header.SOPInstanceUID].append(replaced)
    database.close()
    return found


def main() -> int:
    """Watch; exit 1 if an answer came too early, or too few came to say so."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--answers", type=int, default=1_000)
    parser.add_argument("--senders", type=int, default=1)
    parser.add_argument("--database", choices=KINDS, default="sqlite")
    parser.add_argument("--mutant", choices=SYNC_MUTANTS, default="")
    options = parser.parse_args()
    begun = time.monotonic()
    with Receivers() as receivers, ground(options.database) as place:
        order = place.order(options.mutant)
        verdict = watch(
            receivers,
            order,
            answers=options.answers,
            senders=options.senders,
            also=place.server_processes,
        )
    print(
        f"{options.database}, {options.senders} senders: {verdict.answers} answers, "
        f"too early {verdict.counts()}, {time.monotonic() - begun:.0f} s"
    )
    return (
        bool(verdict.early)
        or verdict.answers < options.answers // options.senders * options.senders
    )


if __name__ == "__main__":
    sys.exit(main())
