"""Whether a site gets slower the more is staged: ``python -m tests.benchmarks.scale``.

Receives, settles, builds and delivers the same studies with nothing, a million and five million
instances staged on PostgreSQL, in turn, round after round. Prints Markdown and writes it to
``tests/benchmarks/results/scale.md``. It needs 10 GB of disk and twenty minutes, some of them to
fill the databases. With ``--server URL`` they are made on a server that runs already, and stay
there for the next time.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import statistics
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import psycopg
from psycopg import sql

from intu_fhir.db.session import Database
from intu_fhir.observe.logging import configure_logging
from tests.benchmarks import report
from tests.benchmarks.objects import SMALL
from tests.benchmarks.receivers import CALLED, ours
from tests.benchmarks.sender import Job, rate
from tests.benchmarks.stages import Load, forget_what_waits, next_number, stage_rates
from tests.benchmarks.stocked_site import fill, spread
from tests.support.databases import PostgresCluster, PostgresServer

RESULT = Path(__file__).parent / "results" / "scale.md"
STAGED = (0, 1_000_000, 5_000_000)
RECEIVER = "whole receiver, small images"
_ASSOCIATIONS = 4
_RUNS = 1_000_000_000
"""UIDs of what the receiver gets begin here, beyond all others."""

Rates = dict[tuple[int, str], list[float]]
Measure = Callable[[str, Load], dict[str, float]]


def filled(server: PostgresServer, rows: int) -> str:
    """Return the URL of the database with so many instances; fill it where it is not there."""
    name, address = f"intu_scale_{rows}", server.url("postgres").replace("+psycopg", "", 1)
    with psycopg.connect(address, autocommit=True, connect_timeout=5) as connection:
        found = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name])
        if found.fetchone() is None:
            draft = f"{name}_draft"
            _name(connection, "DROP DATABASE IF EXISTS {}", draft)
            _name(connection, "CREATE DATABASE {} TEMPLATE template0", draft)
            _say(f"fills a database with {rows:,} instances")
            fill(server.url(draft), rows)
            _name(connection, "ALTER DATABASE {} RENAME TO {}", draft, name)
    return server.url(name)


def _name(connection: psycopg.Connection, statement: str, *names: str) -> None:
    connection.execute(sql.SQL(statement).format(*map(sql.Identifier, names)))


def measure(urls: dict[int, str], load: Load, rounds: int) -> Rates:
    """Measure each database in turn; the first round only warms up.

    What a round adds is little beside what is there, so it stays. The receiver has rounds of its
    own: what the stages leave the disk to do would slow now one database, now another.
    """
    return _rounds(urls, load, rounds, _stages) | _rounds(urls, load, rounds, _received)


def _rounds(urls: dict[int, str], load: Load, rounds: int, one: Measure) -> Rates:
    rates: Rates = defaultdict(list)
    for number in range(rounds + 1):
        for rows in _in_turn(list(urls), number):
            found = one(urls[rows], load)
            os.sync()  # what it left for the disk to do must not slow the next one
            _say(
                f"{rows:,}: " + ", ".join(f"{name} {value:.0f}/s" for name, value in found.items())
            )
            for name, value in found.items() if number else ():
                rates[rows, name].append(value)
    return rates


def _in_turn(sizes: Sequence[int], number: int) -> Sequence[int]:
    turn = number % len(sizes)
    return (*sizes[turn:], *sizes[:turn])


def _stages(url: str, load: Load) -> dict[str, float]:
    with tempfile.TemporaryDirectory(prefix="intu-bench-") as folder:
        return stage_rates(url, Path(folder), load)


def _received(url: str, load: Load) -> dict[str, float]:
    """Return images per second of the receiver as a process, with its files."""
    count = load.studies * load.images // _ASSOCIATIONS
    with contextlib.closing(Database(url)) as database:
        run = spread(next_number(database))
        with ours("PostgreSQL", lambda _: url).running() as running:
            job = Job(running.port, CALLED, SMALL, _ASSOCIATIONS, count, _RUNS + run)
            found = rate(job)
        forget_what_waits(database)
    return {RECEIVER: found}


def tables(rates: Rates, sizes: Sequence[int]) -> str:
    """Return the middle rates, and those beside the first size's, round by round."""
    names = list(dict.fromkeys(name for _, name in rates))
    middle = [
        [name, *(f"{statistics.median(rates[rows, name]):,.0f}" for rows in sizes)]
        for name in names
    ]
    ratios = [
        [name, *(_ratio(rates, name, rows, sizes[0]) for rows in sizes[1:])] for name in names
    ]
    staged = [f"{rows:,} staged" for rows in sizes]
    return "\n\n".join(
        (
            report.table(["each second", *staged], middle),
            report.table([f"beside {staged[0]}, middle (least to most)", *staged[1:]], ratios),
        )
    )


def _ratio(rates: Rates, name: str, rows: int, least: int) -> str:
    pairs = zip(rates[rows, name], rates[least, name], strict=True)
    found = sorted(one / two for one, two in pairs)
    return f"{statistics.median(found):.2f} ({found[0]:.2f} to {found[-1]:.2f})"


def page(rates: Rates, sizes: Sequence[int], load: Load, rounds: int) -> str:
    """Return all of it as a page."""
    return "\n\n".join(
        (
            "# Rates beside what is staged",
            f"{report.ground()}. PostgreSQL with its own defaults and with fsync.",
            f"Middle of {rounds} rounds, the databases in turn. In each round {load.studies} new "
            f"studies of {load.images} images come: {load.at_once} images to a transaction; "
            "settled, built and delivered by one thread each, one study at a time, to a FHIR "
            "server that counts. The receiver runs as a process, with its files, in rounds of its "
            f"own, and gets as many images of 64 by 64 pixels over {_ASSOCIATIONS} associations; "
            "sender, receiver and database share the cores. What is staged before are studies of "
            "200 images, built and delivered to two destinations, with rows in every table; "
            "complete headers and resources are small ones there.",
            tables(rates, sizes),
        )
    )


@contextlib.contextmanager
def _server(url: str) -> Iterator[PostgresServer]:
    server = PostgresServer(url) if url else PostgresCluster(fsync=True)
    try:
        yield server
    finally:
        server.stop()


def main() -> None:
    """Fill, measure, print, keep."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    configure_logging(level="WARNING")
    parser.add_argument("--rounds", type=int, default=7, help="how often everything is measured")
    parser.add_argument("--studies", type=int, default=60, help="new ones in each round")
    parser.add_argument("--images", type=int, default=40, help="of each of them")
    parser.add_argument("--at-once", type=int, default=10, help="images to a transaction")
    parser.add_argument("--staged", type=int, nargs="+", default=STAGED, help="images before")
    parser.add_argument("--server", default="", help="postgresql:// of a superuser")
    given = parser.parse_args()
    load = Load(given.studies, given.images, given.at_once)
    with _server(given.server) as server:
        urls = {rows: filled(server, rows) for rows in given.staged}
        rates = measure(urls, load, given.rounds)
    text = page(rates, given.staged, load, given.rounds)
    print(text)
    RESULT.write_text(text + "\n", encoding="utf-8")


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
