"""A machine that uploads to an object store is killed at random moments.

``python -m tests.reliability.spool_kills --kills 200 [--answer uploaded] [--database postgresql]``
Afterwards every object that was answered for has to be read with its digest, and the bucket has
to hold the files of the staged instances and no other.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from intu_fhir.db.session import Database
from intu_fhir.db.tables import instances, uploads
from intu_fhir.observe.clock import SystemClock
from tests.reliability.ground import Ground, ground
from tests.support.databases import KINDS
from tests.support.object_stores import ObjectStoreServer, start_object_store
from tests.support.spooling import machine

_SENDERS = 4
_PREFIX = "kills"


@dataclass(frozen=True)
class Found:
    """What is there in the end.

    Args:
        lost: objects that were answered for and cannot be read as they were sent.
        astray: files in the bucket, the spool or the ledger that should not be there.
    """

    kills: int
    acknowledged: int
    staged: int
    lost: int
    astray: int

    def line(self) -> str:
        """Return the run in one line."""
        return (
            f"{self.kills} kills, {self.acknowledged} acknowledged, {self.staged} staged, "
            f"{self.lost} lost, {self.astray} astray"
        )


def kill_often(
    place: Ground, server: ObjectStoreServer, *, kills: int, seed: int, answer: str
) -> Found:
    """Kill a machine again and again, let the next one finish, and look."""
    chance, acknowledged = random.Random(seed), set[str]()
    settings = {"answer": answer, "cache_bytes": chance.choice([0, 1 << 30])}
    for run in range(kills):
        order = {
            "database": place.url,
            "endpoint": server.endpoint,
            "spool": str(place.folder / "spool"),
            "prefix": _PREFIX,
            "senders": _SENDERS,
            "run": run,
            "settings": settings,
        }
        acknowledged |= _run(place.folder, order, chance)
    return _look(place, server, acknowledged, kills, settings)


def _run(folder: Path, order: dict[str, object], chance: random.Random) -> set[str]:
    file = folder / "order.json"
    file.write_text(json.dumps(order))
    answers, moment = chance.randint(1, 60), chance.random() * 0.02
    with subprocess.Popen(
        [sys.executable, "-m", "tests.support.spooling_process", str(file)],
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        heard = {line.strip() for line, _ in zip(process.stdout, range(answers), strict=False)}
        time.sleep(moment)
        process.kill()
        rest = process.stdout.read().splitlines(keepends=True)
        return heard | {line.strip() for line in rest if line.endswith("\n")}


def _look(
    place: Ground,
    server: ObjectStoreServer,
    acknowledged: set[str],
    kills: int,
    settings: dict[str, object],
) -> Found:
    database = Database(place.url)
    spool = place.folder / "spool"
    with machine(database, SystemClock(), server, spool, _PREFIX, **settings) as here:
        here.recover()
        while here.uploader.upload_some():
            pass
        whole = here.digests_read()
        files = {row.file for row in here.rows(instances)}
        astray = (files ^ here.bucket().keys()) | set(here.spooled())
        waiting = here.rows(uploads)
    database.close()
    lost = sum(not whole.get(one, False) for one in acknowledged)
    return Found(kills, len(acknowledged), len(files), lost, len(astray) + len(waiting))


def main() -> int:
    """Kill; exit 1 if something is lost or astray."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--answer", choices=["spooled", "uploaded"], default="spooled")
    parser.add_argument("--database", choices=KINDS, default="sqlite")
    options = parser.parse_args()
    with ground(options.database) as place:
        server = start_object_store("versitygw", place.folder / "store")
        try:
            how = {"kills": options.kills, "seed": options.seed, "answer": options.answer}
            found = kill_often(place, server, **how)
        finally:
            server.stop()
    print(f"{options.database}, {options.answer}: {found.line()}")
    return int(bool(found.lost or found.astray))


if __name__ == "__main__":
    sys.exit(main())
