"""What an object store costs: ``python -m tests.benchmarks.object_store [--rounds N]``.

The receiver on SQLite with a folder, with a spool from which files go to a bucket after the answer,
and with answers that wait for the bucket. Beside them a client that only puts the same bytes into
the same server and reads them back: what the server leaves. The server is versitygw where it is
installed, else moto's. Prints Markdown and writes it to ``results/object_store.md``.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import obstore
import sqlalchemy as sa
from obstore.store import S3Store

from intu_fhir.db.session import Database
from intu_fhir.db.tables import uploads
from tests.benchmarks import report
from tests.benchmarks.objects import Kind, data_set
from tests.benchmarks.rates import CELLS, Cell, Rates, plan
from tests.benchmarks.receivers import CALLED, Receiver, ours, ours_sqlite
from tests.benchmarks.sender import Job, rate
from tests.support.databases import sqlite_url
from tests.support.object_stores import (
    BUCKET,
    KINDS,
    ObjectStoreServer,
    start_object_store,
    versitygw,
)
from tests.support.waiting import wait_until

RESULT = Path(__file__).parent / "results" / "object_store.md"
FOLDER, SPOOLED, IN_BUCKET, UPLOADED, CLIENT = (
    "a folder",
    "spool, answer, then bucket",
    "the same, until all is in the bucket",
    "bucket, then answer",
    "a client that puts and reads back",
)
_PAIRS = ((SPOOLED, FOLDER), (IN_BUCKET, CLIENT), (UPLOADED, CLIENT))
_UPLOAD_SECONDS = 300.0


@dataclass(frozen=True)
class Bench:
    """Receivers and a client on one server.

    Args:
        instances: about so many at a time.
    """

    server: ObjectStoreServer
    instances: int

    def ways(self) -> dict[str, Callable[[Cell, int], dict[str, float]]]:
        """Return what measures each way, by its name."""
        spooled = self._receiver("spooled")
        return {
            FOLDER: partial(self._answered, FOLDER, ours_sqlite()),
            SPOOLED: partial(self._until_uploaded, spooled),
            UPLOADED: partial(self._answered, UPLOADED, self._receiver("uploaded")),
            CLIENT: self._put,
        }

    def _receiver(self, answer: str) -> Receiver:
        def more(folder: Path) -> dict[str, Any]:
            section = self.server.settings(folder / "spool", answer=answer, timeout_seconds=30)
            return {"files": f"s3://{BUCKET}/{folder.parent.name}", "object_store": section}

        return ours("SQLite", lambda folder: sqlite_url(folder / "staging.db"), more=more)

    def _count(self, cell: Cell) -> int:
        return max(1, int(self.instances * cell.share / cell.associations))

    def _answered(self, name: str, receiver: Receiver, cell: Cell, run: int) -> dict[str, float]:
        with receiver.running() as running:
            return {name: rate(self._job(running.port, cell, run))}

    def _until_uploaded(self, receiver: Receiver, cell: Cell, run: int) -> dict[str, float]:
        """Return the rate of answers, and that until nothing waits for the bucket any more."""
        with receiver.running() as running:
            answered = rate(self._job(running.port, cell, run))
            ended = time.monotonic()
            place = next(running.folder.glob("*/staging.db"))
            with closing(Database(sqlite_url(place))) as database:
                wait_until(lambda: not _waiting(database), _UPLOAD_SECONDS, "all uploads")
            number = self._count(cell) * cell.associations
            seconds = number / answered + time.monotonic() - ended
        return {SPOOLED: answered, IN_BUCKET: number / seconds}

    def _job(self, port: int, cell: Cell, run: int) -> Job:
        return Job(port, CALLED, cell.kind, cell.associations, self._count(cell), run)

    def _put(self, cell: Cell, run: int) -> dict[str, float]:
        store, count = self.server.store(), self._count(cell)
        begun = time.monotonic()
        with ThreadPoolExecutor(cell.associations) as pool:
            hands = range(cell.associations)
            list(pool.map(lambda hand: _put_and_read(store, cell.kind, hand, run, count), hands))
        return {CLIENT: count * cell.associations / (time.monotonic() - begun)}


def _waiting(database: Database) -> int:
    with database.read() as connection:
        found = connection.execute(sa.select(sa.func.count()).select_from(uploads))
        return int(found.scalar_one())


def _put_and_read(store: S3Store, kind: Kind, hand: int, run: int, count: int) -> None:
    content = data_set(kind)
    for number in range(count):
        path = f"client/{run}/{hand}/{number}"
        obstore.put(store, path, content, use_multipart=False)
        assert bytes(obstore.get(store, path).bytes()) == content


def measure(bench: Bench, rounds: int) -> Rates:
    """Measure each way in each column, in another order in each round."""
    rates, ways = Rates(), bench.ways()
    for run, (cell, name) in enumerate(plan(list(ways), CELLS, rounds)):
        for what, found in ways[name](cell, run).items():
            rates.by_place[what, str(cell)].append(found)
            print(f"{what}: {cell}: {found:.0f}/s", file=sys.stderr, flush=True)
        bench.server.clear()  # what was measured must not fill the disk
    return rates


def page(rates: Rates, kind: str, rounds: int) -> str:
    """Return all of it as a page."""
    head = [str(cell) for cell in CELLS]
    rows = [
        [name, *(f"{rates.median(name, cell):,.0f}" for cell in CELLS)]
        for name in (FOLDER, SPOOLED, IN_BUCKET, UPLOADED, CLIENT)
    ]
    ratios = [
        [f"{one} : {two}", *(f"{rates.ratio(one, two, cell):.2f}" for cell in CELLS)]
        for one, two in _PAIRS
    ]
    return "\n\n".join(
        (
            "# What an object store costs",
            f"{report.ground()}. The object store is {kind}, on the same machine; so are senders "
            f"and receiver. Middle of {rounds} rounds. CT is 512 by 512 pixels of 16 bits, small "
            "is 64 by 64. Every object is read back before it counts.",
            report.table(["images per second", *head], rows),
            report.table(["ratio, middle of the rounds", *head], ratios),
        )
    )


@contextmanager
def _server() -> Iterator[tuple[str, ObjectStoreServer]]:
    moto, versity = KINDS
    kind = versity if versitygw() else moto
    with tempfile.TemporaryDirectory(prefix="intu-bench-") as folder:
        server = start_object_store(kind, Path(folder))
        try:
            yield kind, server
        finally:
            server.stop()


def main() -> None:
    """Measure, print, keep."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--instances", type=int, default=300, help="about so many at a time")
    parser.add_argument("--rounds", type=int, default=3, help="how often everything is measured")
    given = parser.parse_args()
    with _server() as (kind, server):
        rates = measure(Bench(server, given.instances), given.rounds)
    text = page(rates, kind, given.rounds)
    print(text)
    RESULT.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
