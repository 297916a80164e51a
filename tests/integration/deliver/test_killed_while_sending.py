"""P-02: our process is killed while it sends; what it noted before is not sent again.

What may be sent again, and why that harms nobody, is decision 0020.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
import sqlalchemy as sa

from intu_fhir.db.deliveries import want_delivery
from intu_fhir.db.session import Database
from intu_fhir.db.tables import instance_deliveries, instances, studies
from intu_fhir.deliver.step import FLUSH_EVERY
from intu_fhir.files.local import LocalFileStore
from intu_fhir.model.work import WAITING, DeliveryWish
from tests.support.clock import FakeClock
from tests.support.far_sides import Gone, Peer, RawServer
from tests.support.outgoing import associate, read_command, read_data_set, response
from tests.support.staging import header, new_instance, store

SMALL = 6
EACH, SOME = 1, 4


def _uids(number: int) -> list[str]:
    return [f"1.2.3.1.{one}" for one in range(1, number + 1)]


def _stage(
    database: Database, files: LocalFileStore, clock: FakeClock, uids: Sequence[str]
) -> None:
    staged = [
        new_instance(
            clock.now(), header(instance=uid), sha256=hashlib.sha256(uid.encode()).hexdigest()
        )
        for uid in uids
    ]
    for one in staged:
        path = files.path(one.file)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes(one.data_set_offset) + one.header.sop_instance_uid.encode())
    store(database, *staged)
    with database.write() as connection:
        key = connection.execute(sa.select(studies.c.study_key)).scalar_one()
        want_delivery(connection, key, "pacs", 1, wish=DeliveryWish(WAITING), now=clock.now())


def _run(order: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "tests.support.forwarding_process", str(order)],
        stdout=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize(
    ("number", "taken", "flush_every"),
    [
        *((SMALL, taken, SOME) for taken in range(1, SMALL + 1)),
        (SMALL, 3, EACH),
        (60, 60, FLUSH_EVERY),
    ],
)
def test_killed_after_each(
    database: Database,
    clock: FakeClock,
    tmp_path: Path,
    number: int,
    taken: int,
    flush_every: int,
) -> None:
    """P-02: killed with any image in hand, it goes on with what is not on disk as confirmed.

    Those are the images that the PACS lacks, fewer than are noted at a time, and the one in hand.
    What comes twice has the same bytes under the same SOP Instance UID.
    """
    uids, files = _uids(number), LocalFileStore(tmp_path / "files")
    _stage(database, files, clock, uids)
    received: list[tuple[str, bytes]] = []
    processes: list[subprocess.Popen[str]] = []

    def behave(peer: Peer) -> None:
        associate(peer)
        while True:
            request = read_command(peer)
            received.append((request.uid, read_data_set(peer)))
            if peer.number == 1 and len(received) == taken:
                os.kill(processes[0].pid, signal.SIGKILL)
                raise Gone
            peer.send(response(request.message_id, request.uid))

    with RawServer(behave) as server:
        order = tmp_path / "order.json"
        place = {"database": database.url, "files": str(files.root), "port": server.port}
        order.write_text(json.dumps({**place, "flush_every": flush_every}), encoding="utf-8")
        with _run(order) as first:
            processes.append(first)
            assert first.wait(60) == -signal.SIGKILL
        noted = _noted(database)
        with _run(order) as second:
            said, _ = second.communicate(timeout=60)
    assert said == "Delivered"
    sent = [uid for uid, _ in received]
    assert sorted(sent[taken:]) == sorted(set(uids) - noted)
    assert noted | set(sent[taken:]) == set(uids)
    assert len(sent) - number <= (taken - 1) % flush_every + 1
    assert len(set(received)) == number


def _noted(database: Database) -> set[str]:
    """Return what is on disk as confirmed."""
    c = instance_deliveries.c
    joined = instances.join(instance_deliveries, c.instance_key == instances.c.instance_key)
    with database.read() as connection:
        found = sa.select(instances.c.sop_instance_uid).select_from(joined).where(c.delivered)
        return set(connection.execute(found).scalars())
