"""From due to delivered, on an idle system and under load; and what a claim costs.

Run: ``python -m tests.benchmarks.latency [--studies N] [--rows N] [--on sqlite|postgresql]``. It
prints Markdown; ``results/latency.md`` keeps the last one.
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import sqlalchemy as sa

from intu_fhir.db import migrate, work
from intu_fhir.db.session import Database
from intu_fhir.model.work import DELIVER, DELIVERED
from tests.benchmarks.report import ground as machine
from tests.benchmarks.report import table
from tests.benchmarks.search_studies import database_of
from tests.reliability.ground import Ground, ground
from tests.support.counting import CountingEhr, CountingPacs
from tests.support.databases import KINDS
from tests.support.delivering import fhir_at, pacs_at, write_delivering_site
from tests.support.live import Live
from tests.support.many import Many
from tests.support.workers import Workers

EHR, PACS = "ehr", "pacs"
ROWS = (0, 100_000, 1_000_000)
_CLAIMS = 300
_WAITING = 2_000
_WARM_UP_SECONDS = 3.0

_N = "WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < {rows})"
_THEN = "'2024-01-01 00:00:00'"
_FILL = (
    "INSERT INTO studies (study_key, study_instance_uid, channel, first_received_at, "
    f"last_received_at, revision, generation) {_N} SELECT 10000000 + n, '1.2.3.' || n, "
    f"'radiology', {_THEN}, {_THEN}, 1, 1 FROM numbers",
    "INSERT INTO deliveries (study_key, destination, want, have, state, updated_at) "
    f"{_N} SELECT 10000000 + n, 'ehr', 1, 1, 'delivered', {_THEN} FROM numbers",
    "INSERT INTO deliveries (study_key, destination, want, state, due_at, updated_at) "
    f"{_N} SELECT 10000000 + n, 'pacs', 1, 'waiting', {_THEN}, {_THEN} FROM numbers",
)
"""Rows that are done for one destination, and rows that wait for another."""


@dataclass(frozen=True)
class Case:
    """One way to be watched.

    Args:
        woken: what delivers is woken, as by the build in the same process; else it looks by
            itself, twice a second.
        waiting: studies that wait for each destination already.
    """

    name: str
    woken: bool = True
    waiting: int = 0


CASES = (
    Case("idle, built in the same process"),
    Case("idle, built in another process", woken=False),
    Case(f"{_WAITING:,} older studies wait", waiting=_WAITING),
)


def delays_of(place: Ground, case: Case, studies: int, every: float) -> dict[str, list[float]]:
    """Return the milliseconds from due to arrived, by destination."""
    with contextlib.ExitStack() as stack:
        ehr = stack.enter_context(CountingEhr(place.folder / "ehr"))
        pacs = stack.enter_context(CountingPacs())
        order = write_delivering_site(
            place,
            {
                EHR: fhir_at(ehr.base_url, concurrency=2),
                PACS: pacs_at(pacs.port, max_associations=2),
            },
        )
        database = Database(place.url, pool_size=2)
        stack.callback(database.close)
        many, bell = Many(database, place.folder / "files"), place.folder / "bell"
        long_ago = datetime.now(UTC) - timedelta(hours=1)
        many.add(range(1, case.waiting + 1), [EHR, PACS], due=long_ago)
        live = Live(many, [EHR, PACS], bell if case.woken else None)
        stack.callback(live.close)
        workers = stack.enter_context(Workers())
        workers.start(replace(order, bell=str(bell) if case.woken else ""))
        return _watched(live, ehr, pacs, studies, every)


def _watched(
    live: Live, ehr: CountingEhr, pacs: CountingPacs, studies: int, every: float
) -> dict[str, list[float]]:
    watched = {EHR: partial(_at_ehr, ehr), PACS: partial(_at_pacs, pacs)}
    first = live.come(_WARM_UP_SECONDS, every)
    for arrivals in watched.values():
        live.delays(first, arrivals)
    came = live.come(studies * every, every)
    return {
        name: [1_000 * delay for delay in live.delays(came, arrivals)]
        for name, arrivals in watched.items()
    }


def _at_ehr(ehr: CountingEhr) -> dict[str, float]:
    return {uid: at for (uid, _), at in list(ehr.arrived.items())}


def _at_pacs(pacs: CountingPacs) -> dict[str, float]:
    return {uid.removesuffix(".1.1"): at for uid, at in list(pacs.received)}


def claim_costs(kind: str, rows: Sequence[int]) -> dict[int, list[float]]:
    """Return the milliseconds of a look, a claim and its end among so many rows of each kind."""
    found = {}
    for number in rows:
        with stocked(kind, number) as database:
            found[number] = sorted(_claims(database))
        print(f"{kind}, {number:,} rows: {_line(found[number])}", file=sys.stderr, flush=True)
    return found


@contextlib.contextmanager
def stocked(kind: str, rows: int) -> Iterator[Database]:
    """Give a database with rows that are done, rows that wait elsewhere, and some that are due."""
    with tempfile.TemporaryDirectory() as folder, database_of(kind, Path(folder)) as url:
        migrate.upgrade(url)
        with contextlib.closing(Database(url)) as database:
            for statement in _FILL if rows else ():
                with database.write() as connection:
                    connection.execute(sa.text(statement.format(rows=rows)))
            many = Many(database, Path(folder), pictures=False)
            many.add(range(1, _CLAIMS + 1), [EHR], due=datetime.now(UTC))
            with database.engine.connect() as connection:
                connection.execution_options(isolation_level="AUTOCOMMIT")
                connection.exec_driver_sql("ANALYZE")
            yield database


def _claims(database: Database) -> Iterator[float]:
    """Claim and finish what is due, as a worker does; PACS rows wait in the same table."""
    for _ in range(_CLAIMS):
        begun = time.perf_counter()
        now = datetime.now(UTC)
        with database.read() as connection:
            work.next_due_at(connection, DELIVER, EHR, now, limit=4)
        with database.write() as connection:
            claimed = work.claim(
                connection, DELIVER, EHR, holder="w", now=now, lease_seconds=60, limit=4
            )
        assert claimed is not None
        with database.write() as connection:
            work.finish(connection, claimed, state=DELIVERED, now=now)
        yield 1_000 * (time.perf_counter() - begun)


def _line(values: Sequence[float]) -> str:
    cuts = statistics.quantiles(values, n=100)
    return " | ".join(f"{cuts[n - 1]:.1f}" for n in (50, 95, 99))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--studies", type=int, default=200)
    parser.add_argument("--every", type=float, default=0.25, help="seconds between two studies")
    parser.add_argument("--rows", type=int, action="append", help="0, 100,000 and 1,000,000")
    parser.add_argument("--on", choices=KINDS, action="append")
    parser.add_argument("--only", choices=["delays", "claims"])
    options = parser.parse_args()
    print(f"{machine()}\n")
    for kind in options.on or KINDS:
        if options.only != "claims":
            _tell_delays(kind, options.studies, options.every)
        if options.only != "delays":
            _tell_claims(kind, options.rows or ROWS)


def _tell_delays(kind: str, studies: int, every: float) -> None:
    lines = []
    for case in CASES:
        with ground(kind) as place:
            found = delays_of(place, case, studies, every)
        for name, values in found.items():
            lines.append([case.name, name, *_line(values).split(" | ")])
    print(f"{kind}: from due to arrived, in milliseconds, {studies} studies\n")
    print(table(["", "at the", "p50", "p95", "p99"], lines), end="\n\n", flush=True)


def _tell_claims(kind: str, rows: Sequence[int]) -> None:
    found = claim_costs(kind, rows)
    lines = [[f"{number:,}", *_line(values).split(" | ")] for number, values in found.items()]
    print(f"{kind}: a look, a claim and its end, in milliseconds\n")
    head = ["rows done, and as many waiting elsewhere", "p50", "p95", "p99"]
    print(table(head, lines), end="\n\n", flush=True)


if __name__ == "__main__":
    main()
