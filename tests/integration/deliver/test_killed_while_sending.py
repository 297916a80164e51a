"""P-02: our process is killed while it sends; what the PACS confirmed before is not sent again."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import sqlalchemy as sa

from intu_fhir.db.deliveries import want_delivery
from intu_fhir.db.session import Database
from intu_fhir.db.tables import studies
from intu_fhir.deliver.step import FLUSH_EVERY
from intu_fhir.files.local import LocalFileStore
from intu_fhir.model.work import WAITING, DeliveryWish
from tests.support.clock import FakeClock
from tests.support.far_sides import Gone, Peer, RawServer
from tests.support.outgoing import associate, read_command, read_data_set, response
from tests.support.staging import header, new_instance, store

UIDS = [f"1.2.3.1.{number}" for number in range(1, 61)]


def _stage(database: Database, files: LocalFileStore, clock: FakeClock) -> None:
    staged = [
        new_instance(
            clock.now(), header(instance=uid), sha256=hashlib.sha256(uid.encode()).hexdigest()
        )
        for uid in UIDS
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


@pytest.mark.parametrize("confirmed", [1, 25, 59])
def test_killed_after_each(
    database: Database, clock: FakeClock, tmp_path: Path, confirmed: int
) -> None:
    """P-02: after a kill at most the answers that were not on disk yet are asked for again."""
    files = LocalFileStore(tmp_path / "files")
    _stage(database, files, clock)
    received: list[str] = []
    processes: list[subprocess.Popen[str]] = []

    def behave(peer: Peer) -> None:
        associate(peer)
        while True:
            request = read_command(peer)
            if peer.number == 1 and len(received) == confirmed:
                os.kill(processes[0].pid, signal.SIGKILL)
                raise Gone
            read_data_set(peer)
            received.append(request.uid)
            peer.send(response(request.message_id, request.uid))

    with RawServer(behave) as server:
        order = tmp_path / "order.json"
        place = {"database": database.url, "files": str(files.root), "port": server.port}
        order.write_text(json.dumps(place), encoding="utf-8")
        with _run(order) as first:
            processes.append(first)
            assert first.wait(60) == -signal.SIGKILL
        with _run(order) as second:
            said, _ = second.communicate(timeout=60)
    assert said == "Delivered"
    assert sorted(set(received)) == sorted(UIDS)
    assert len(received) - len(UIDS) <= confirmed % FLUSH_EVERY
