"""M-01: the schema is upgraded, and the upgrade killed, while programs of before go on.

``python -m tests.reliability.migrations_under_load --old REVISION [--database postgresql]``
``REVISION`` is a commit of an earlier version. Its own receiver stages images into a database with
a million instances, 50 a second, and its own worker settles and builds their studies, while this
version upgrades it: killed at random statements, then to the end. Every image that was answered
Success must be there, every one must get it at last, and the worker must be done with every study.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import random
import shutil
import socket
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import sqlalchemy as sa

from intu_fhir.db import migrate
from intu_fhir.db.session import Database
from intu_fhir.db.tables import resources, work
from tests.benchmarks.staged import fill_statements
from tests.reliability.killed_upgrade import upgrade_and_die
from tests.support.data import REPOSITORY
from tests.support.databases import PostgresCluster, sqlite_url
from tests.support.ports import free_port
from tests.support.promises import lost
from tests.support.senders import SUCCESS, Journal, Sample, Samples, Sender

_PER_SECOND = 50
_IN_STUDY = 20
_STATEMENTS = 60
_START_SECONDS = 60.0
_SETTLE_SECONDS = 60.0
_MOST_REFUSED = 100_000


@dataclass
class Modality:
    """Sends images at a steady pace until it is told to stop; what failed it sends again.

    Args:
        answers: seconds that each answer took.
        refused: answers that were not Success.
    """

    port: int
    journal: Journal
    answers: list[float] = field(default_factory=list)
    refused: int = 0
    stop: threading.Event = field(default_factory=threading.Event)
    left: list[Sample] = field(default_factory=list)

    def run(self) -> None:
        """Send until ``stop``; then until nothing is left."""
        samples, sender, number = Samples(), None, 0
        while not self.stop.is_set() or (self.left and self.refused < _MOST_REFUSED):
            begun = time.monotonic()
            sender = sender or self._associate()
            if self.left:
                sample = self.left.pop(0)
            else:
                number += 1
                sample = samples.make(1 + number // _IN_STUDY, number)
            status = sender.send(sample) if sender else None
            self.answers.append(time.monotonic() - begun)
            if status != SUCCESS:
                self.refused += 1
                self.left.append(sample)
                sender = sender if status is not None else None
            time.sleep(max(0.0, 1 / _PER_SECOND - (time.monotonic() - begun)))
        if sender:
            sender.release()

    def _associate(self) -> Sender | None:
        with contextlib.suppress(OSError):
            sender = Sender(self.port, self.journal, patience=60.0)
            if sender.associate():
                return sender
        time.sleep(0.2)
        return None


def old_version(revision: str, folder: Path) -> Path:
    """Unpack an earlier version of the program and return where it is."""
    git = shutil.which("git") or "git"
    packed = subprocess.run(
        [git, "-C", str(REPOSITORY), "archive", revision, "intu_fhir", "migrations", "mappings"],
        check=True,
        capture_output=True,
    ).stdout
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        archive.extractall(folder, filter="data")
    return folder


def _site(folder: Path, url: str, port: int) -> Path:
    """Write a configuration with nothing in it that an earlier version may not know."""
    place = folder / "channels" / "radiology"
    place.mkdir(parents=True)
    (folder / "intu.yaml").write_text(f"database: {json.dumps(url)}\nfiles: files\n")
    (place / "channel.yaml").write_text(
        f"id: radiology\nsource: {{type: dicom, host: 127.0.0.1, port: {port}}}\n"
        "settle: {quiet_seconds: 0.5}\n"
    )
    return folder


@contextlib.contextmanager
def old_program(program: Path, site: Path, command: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run a command of an earlier version; it has to be there still at the end."""
    given = [sys.executable, "-m", "intu_fhir.cli", command, "--config", str(site)]
    with (site / f"{command}.log").open("wb") as log:
        process = subprocess.Popen(given, env=_of(program), cwd=program, stdout=log, stderr=log)
    try:
        yield process
        if process.poll() is not None:
            raise RuntimeError(f"the {command} of the earlier version ended by itself")
    finally:
        process.terminate()
        process.wait(60)


def _of(program: Path) -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(program)}


def _wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + _START_SECONDS
    while time.monotonic() < until and process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.1)
    raise RuntimeError("the receiver of the earlier version does not listen")


def make_old(program: Path, url: str) -> str:
    """Make a database as an earlier version does; return its revision."""
    code = f"from intu_fhir.db.migrate import upgrade, head; upgrade({url!r}); print(head())"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=_of(program),
        cwd=program,
        check=True,
        capture_output=True,
        text=True,
    )
    return done.stdout.strip()


def stock(url: str, rows: int) -> None:
    """Stage many instances, in SQL alone."""
    database = Database(url)
    with database.write() as connection:
        if not database.is_sqlite:
            connection.exec_driver_sql("SET LOCAL statement_timeout = 0")
        for statement in fill_statements(rows):
            connection.exec_driver_sql(statement.replace("%", "%" if database.is_sqlite else "%%"))
    database.close()


@dataclass(frozen=True)
class Outcome:
    """What an upgrade cost those that went on.

    Args:
        killed: upgrades that were killed.
        took: seconds of the one that was not.
        missing: images that were acknowledged and are not there.
        settled: studies that the worker has settled and built, among those it had to.
        wanted: how many it had to.
        quiet: the longest answer before, in seconds.
        busy: and during the upgrades.
    """

    killed: int
    took: float
    acknowledged: int
    missing: int
    refused: int
    settled: int
    wanted: int
    quiet: float
    busy: float


def upgrade_under_load(
    program: Path, folder: Path, url: str, kills: int, seed: int, before: float = 3.0
) -> Outcome:
    """Upgrade a database that an earlier version made, while its receiver and worker go on."""
    port, chance = free_port(), random.Random(seed)
    site, journal = _site(folder / "site", url, port), Journal(folder / "journal")
    with old_program(program, site, "receive") as receiver, old_program(program, site, "worker"):
        _wait_for(port, receiver)
        modality = Modality(port, journal)
        sending = threading.Thread(target=modality.run)
        sending.start()
        time.sleep(before)
        quiet, modality.answers = modality.answers, []
        killed = sum(upgrade_and_die(url, chance.randint(3, _STATEMENTS)) for _ in range(kills))
        begun = time.monotonic()
        migrate.upgrade(url)
        took = time.monotonic() - begun
        time.sleep(1)
        modality.stop.set()
        sending.join()
        settled, wanted = _settled(url)
    database = Database(url)
    missing = lost(database, journal.acknowledged)
    database.close()
    journal.close()
    return Outcome(
        killed=killed,
        took=took,
        acknowledged=len(journal.acknowledged),
        missing=len(missing),
        refused=modality.refused,
        settled=settled,
        wanted=wanted,
        quiet=max(quiet),
        busy=max(modality.answers),
    )


def _settled(url: str) -> tuple[int, int]:
    """Give the worker time to be done, and return how many of the new studies it has built."""
    built = sa.select(sa.func.count(sa.distinct(resources.c.study_key)))
    undone = work.c.state != "done"
    open_studies = sa.select(sa.func.count(sa.distinct(work.c.study_key))).where(undone)
    until = time.monotonic() + _SETTLE_SECONDS
    database = Database(url)
    try:
        while True:
            with database.read() as connection:
                done = connection.execute(built).scalar_one()
                left = connection.execute(open_studies).scalar_one()
            if not left or time.monotonic() > until:
                return done, done + left
            time.sleep(0.2)
    finally:
        database.close()


def main() -> int:
    """Run it; 1 where something was lost."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--old", required=True, help="a commit of an earlier version")
    parser.add_argument("--rows", type=int, default=1_000_000, help="instances staged before")
    parser.add_argument("--kills", type=int, default=10, help="upgrades that are killed")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--database", choices=["sqlite", "postgresql"], default="postgresql")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="intu-m01-") as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        if given.database == "sqlite":
            url = sqlite_url(folder / "staging.db")
        else:
            cluster = PostgresCluster(fsync=True)
            stack.callback(cluster.stop)
            url = cluster.url(cluster.create())
        return _run(given, folder, url)


def _run(given: argparse.Namespace, folder: Path, url: str) -> int:
    program = old_version(given.old, folder / "old")
    before = make_old(program, url)
    stock(url, given.rows)
    found = upgrade_under_load(program, folder, url, given.kills, given.seed)
    print(
        f"{given.database}, {given.rows} instances, {before} to {migrate.head()}: {found.killed} "
        f"upgrades killed, the last took {found.took:.1f} s; {found.acknowledged} images "
        f"acknowledged, {found.missing} lost, {found.refused} answers that were no Success, all "
        f"sent again; {found.settled} of {found.wanted} studies built by the worker of then; "
        f"longest answer {found.quiet * 1000:.0f} ms before, {found.busy * 1000:.0f} ms during "
        "the upgrades"
    )
    return 1 if found.missing or found.settled < found.wanted else 0


if __name__ == "__main__":
    sys.exit(main())
