"""K-07: the disk fills up within an object, and has space again later.

``python -m tests.reliability.full_disk`` needs root, for a small disk in memory.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from intu_fhir.db import migrate
from intu_fhir.db.session import Database
from tests.support.databases import sqlite_url
from tests.support.programs import require
from tests.support.promises import Broken, examine
from tests.support.receiver_process import Order
from tests.support.receivers import Receivers
from tests.support.senders import SUCCESS, Journal, Samples, Sender

FRACTIONS = (0.0, 0.25, 0.5, 0.75, 0.99)
SAMPLES = Samples(1_000_000)
_DISK_BYTES = 24_000_000
_RESERVE_BYTES = 64_000


@contextlib.contextmanager
def small_disk() -> Iterator[Path]:
    """Give a disk of some megabytes, in memory."""
    mount, umount = require("mount"), require("umount")
    folder = Path(tempfile.mkdtemp(prefix="intu-disk-"))
    size = f"size={_DISK_BYTES}"
    subprocess.run([mount, "-t", "tmpfs", "-o", size, "tmpfs", str(folder)], check=True)
    try:
        yield folder
    finally:
        subprocess.run([umount, "-l", str(folder)], check=True)
        folder.rmdir()


@dataclass
class Filled:
    """What happened on the full disk.

    Args:
        refused: the status that the object was answered.
        left_bytes: what was left of it.
        later: the status of the same object, on the same association, with space again.
        seconds: how long that took.
    """

    refused: int | None
    left_bytes: int
    later: int | None
    seconds: float
    broken: Broken


def fill(
    receivers: Receivers,
    disk: Path,
    elsewhere: Path,
    fraction: float,
    *,
    whole: bool,
    mutant: str = "",
) -> Filled:
    """Let a disk run full at a fraction of an object.

    Args:
        elsewhere: a folder on another disk.
        whole: the database is on the full disk as well.
    """
    place = Path(tempfile.mkdtemp(dir=disk if whole else elsewhere))
    files = Path(tempfile.mkdtemp(dir=disk))
    url = sqlite_url(place / "staging.db")
    migrate.upgrade(url)
    receiver = receivers.start(Order(url, str(files), str(elsewhere / "log"), mutant))
    journal = Journal(elsewhere / f"journal-{place.name}")
    sender = Sender(receiver.port, journal)
    database = Database(url, pool_size=1)
    try:
        assert sender.associate()
        assert sender.send(SAMPLES.make(1, 1)) == SUCCESS
        ballast = _fill(disk, round(len(SAMPLES.make(1, 2).data) * fraction))
        before = _used(files)
        refused = sender.send(SAMPLES.make(1, 2))
        left = _used(files) - before
        ballast.unlink()
        begun = time.monotonic()
        later = sender.send(SAMPLES.make(1, 2))
        seconds = time.monotonic() - begun
        broken, _ = examine(database, files, journal.acknowledged)
    finally:
        receiver.kill()
        database.close()
        journal.close()
        sender.close()
    return Filled(refused, left, later, seconds, broken)


def _fill(disk: Path, leave: int) -> Path:
    """Fill the disk up to some bytes, and return the file to remove for space."""
    ballast = disk / "ballast"
    free = os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize
    with ballast.open("wb") as file:
        file.write(bytes(max(0, free - leave)))
    return ballast


def _used(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def main() -> int:
    """Fill; exit 1 if a promise broke."""
    bad = False
    with Receivers() as receivers, small_disk() as disk, tempfile.TemporaryDirectory() as folder:
        for whole in (False, True):
            for fraction in FRACTIONS:
                found = fill(receivers, disk, Path(folder), fraction, whole=whole)
                where = "files and database" if whole else "files"
                print(f"{where} full at {fraction:.0%}: {found}")
                bad = bad or found.refused == SUCCESS or found.later != SUCCESS
                bad = bad or bool(found.broken) or found.left_bytes > 0
    return bad


if __name__ == "__main__":
    sys.exit(main())
