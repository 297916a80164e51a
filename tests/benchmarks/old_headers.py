"""How long anybody waits while a large part of complete headers is removed (PostgreSQL).

Run: ``python -m tests.benchmarks.old_headers [--rows N]``. A receiver, a describer and a viewer
of the part itself go on all the time; it prints the longest wait of each, before and meanwhile.
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta

from intu_fhir.db.image_files import headers_of
from intu_fhir.db.session import Database
from intu_fhir.observe.clock import SystemClock
from intu_fhir.observe.logging import configure_logging
from tests.benchmarks.report import ground, table
from tests.benchmarks.stocked_site import fill
from tests.support.databases import PostgresCluster
from tests.support.old_headers import end_part, removal
from tests.support.staging import describe_all, header, new_instance, store

ROWS = 1_000_000
SECONDS_BEFORE = 20.0
_WHEN = ("before", "meanwhile")
Waits = dict[str, list[float]]

_LARGE = (
    "TRUNCATE headers",
    "INSERT INTO headers (instance_key, dicom_json) SELECT n, json_build_object('00080060', "
    "(SELECT string_agg(md5(n::text || m::text), '') FROM generate_series(1, 60) AS m)) "
    "FROM generate_series(1, {rows}) AS n",
)
"""Headers of two kilobytes each that do not compress, as a CT image has them."""


def make_part(database: Database, rows: int) -> None:
    """Stage so many old instances in a part that has an end, and one behind it."""
    fill(str(database.url), rows)
    for statement in _LARGE:
        with database.write() as connection:
            connection.exec_driver_sql("SET LOCAL session_replication_role = replica")
            connection.exec_driver_sql("SET LOCAL statement_timeout = 0")
            connection.exec_driver_sql(statement.format(rows=rows))
    end_part(database)
    store(database, new_instance(SystemClock().now(), header()))


@contextlib.contextmanager
def waiting(database: Database, waits: Waits) -> Iterator[None]:
    """Let others work meanwhile, and note how many milliseconds each thing took them."""

    def view() -> None:
        with database.read() as connection:
            headers_of(connection, [1])

    now = SystemClock().now
    doing: dict[str, Callable[[], object]] = {
        "receiver": lambda: store(database, new_instance(now(), header())),
        "describer": lambda: describe_all(database, now()),
        "viewer of the part": view,
    }
    done = threading.Event()

    def go_on(name: str) -> None:
        while not done.is_set():
            began = time.perf_counter()
            doing[name]()
            waits.setdefault(name, []).append(1_000 * (time.perf_counter() - began))

    threads = [threading.Thread(target=go_on, args=(name,)) for name in doing]
    for one in threads:
        one.start()
    try:
        yield
    finally:
        done.set()
        for one in threads:
            one.join()


def measure(database: Database, rows: int) -> tuple[Waits, Waits, str]:
    """Return the waits before and while a part goes, and what went in how many seconds."""
    make_part(database, rows)
    before, meanwhile = Waits(), Waits()
    with waiting(database, before):
        time.sleep(SECONDS_BEFORE)
    clock = SystemClock()
    with waiting(database, meanwhile):
        began = time.perf_counter()
        removing, limit = removal(database), clock.now() + timedelta(days=1)
        [old] = removing.find(limit)
        [gone] = removing.remove([old], limit)
        took = time.perf_counter() - began
    assert gone, "something kept it"
    size = (old.bytes or 0) / 1024**3
    return before, meanwhile, f"{gone:,} headers ({size:.1f} GiB) went in {took:.1f} s"


def _line(name: str, before: list[float], meanwhile: list[float]) -> list[str]:
    cells = [name]
    for some in (before, meanwhile):
        middle, longest = statistics.median(some), max(some)
        cells += [f"{len(some):,}", f"{middle:.1f} ms", f"{longest:.1f} ms"]
    return cells


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rows", type=int, default=ROWS)
    rows = parser.parse_args().rows
    configure_logging(level="WARNING")
    cluster = PostgresCluster(fsync=True)
    try:
        with contextlib.closing(Database(cluster.url(cluster.create()))) as database:
            before, meanwhile, went = measure(database, rows)
    finally:
        cluster.stop()
    head = ["", *(f"{when}: {what}" for when in _WHEN for what in ("times", "middle", "longest"))]
    lines = [_line(name, before[name], meanwhile[name]) for name in sorted(before)]
    print(f"{ground()}\n\n{went}.\n\n{table(head, lines)}")


if __name__ == "__main__":
    main()
