"""N-10: SIGTERM while associations are in full flight, on both databases."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

import pytest

from intu_fhir.app.serving import Site
from intu_fhir.app.wiring import open_app
from intu_fhir.db.session import Database
from intu_fhir.settings.load import load_configuration
from tests.support.far_sides import Peer, RawServer
from tests.support.ports import free_port
from tests.support.promises import examine
from tests.support.raw_peer import RawPeer, status_of, store_command
from tests.support.site_folder import write_site
from tests.support.studies import data_set_bytes, make_instance, uid
from tests.support.waiting import wait_until

_GRACE_SECONDS = 10


@dataclass
class Modality:
    """Sends without pause until the association ends, then tries again what had no answer.

    Args:
        number: tells its instances from those of others.
    """

    number: int
    port: int
    acknowledged: dict[str, str] = field(default_factory=dict)
    unanswered: list[int] = field(default_factory=list)

    def send_without_end(self) -> None:
        """Store instances until the receiver goes away."""
        instance = 0
        with RawPeer(self.port) as peer:
            peer.associate(called="INTU_TEST")
            while True:
                instance += 1
                try:
                    self._store(peer, instance)
                except (OSError, AssertionError):
                    self.unanswered.append(instance)
                    return

    def send_again(self) -> None:
        """Store what had no answer."""
        with RawPeer(self.port) as peer:
            peer.associate(called="INTU_TEST")
            for instance in self.unanswered:
                self._store(peer, instance)

    def _store(self, peer: RawPeer, instance: int) -> None:
        data = data_set_bytes(make_instance(f"modality {self.number}", 1, instance))
        one = uid(f"modality {self.number}", 1, instance)
        assert status_of(peer.store(data, one)) == 0
        self.acknowledged[one] = sha256(data).hexdigest()


def receive(folder: Path) -> subprocess.Popen[str]:
    """Run ``receive`` in a process of its own, and return once it listens."""
    process = subprocess.Popen(
        [sys.executable, "-m", "intu_fhir.cli", "receive", "--config", str(folder)],
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    for line in process.stderr:
        if '"ready"' in line:
            return process
    raise AssertionError("it did not start")


@pytest.mark.parametrize("processes", [1, 2])
def test_termination_loses_no_answer(
    processes: int, tmp_path: Path, migrated_database_url: str
) -> None:
    """N-10: what was answered is stored; what had no answer is taken when it is sent again."""
    port = free_port()
    receiver = {"processes": processes, "shutdown_grace_seconds": _GRACE_SECONDS}
    write_site(tmp_path, database=migrated_database_url, port=port, receiver=receiver)
    modalities = [Modality(number, port) for number in range(6)]
    process = receive(tmp_path)
    try:
        threads = [threading.Thread(target=one.send_without_end) for one in modalities]
        for thread in threads:
            thread.start()
        while min(len(one.acknowledged) for one in modalities) < 3:
            threading.Event().wait(0.01)
        begun = time.monotonic()
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=_GRACE_SECONDS + 30)
        assert process.returncode == 0
        assert time.monotonic() - begun < _GRACE_SECONDS + 5
        for thread in threads:
            thread.join(30)
        look(migrated_database_url, tmp_path, modalities)
        process = receive(tmp_path)
        for one in modalities:
            one.send_again()
    finally:
        process.kill()
        process.communicate()
    look(migrated_database_url, tmp_path, modalities)


def test_what_is_in_hand_shares_one_grace(tmp_path: Path, migrated_database_url: str) -> None:
    """N-10: objects and deliveries in hand are waited for at once, not one after the other."""
    grace, port = 3.0, free_port()
    with RawServer(Peer.wait) as silent:
        ehr = {"type": "fhir", "base_url": silent.url, "release": "r4", "timeout_seconds": 60}
        write_site(
            tmp_path,
            database=migrated_database_url,
            port=port,
            destinations={"ehr": {**ehr, "subject": {"strategy": "logical"}}},
            receiver={"shutdown_grace_seconds": grace},
        )
        site = Site(open_app(load_configuration(tmp_path)))
        site.start()
        with RawPeer(port) as peer, RawPeer(port) as slow:
            peer.associate(called="INTU_TEST")
            assert status_of(peer.store(data_set_bytes(make_instance()), uid("study", 1, 1))) == 0
            peer.release()
            wait_until(lambda: silent.peers, what="a delivery in hand")
            slow.associate(called="INTU_TEST")
            slow.send_command(store_command(uid("study", 1, 2)))
            slow.send_data(data_set_bytes(make_instance(number=2))[:50], last=False)
            wait_until(lambda: any((tmp_path / "files" / "incoming").iterdir()))
            begun = time.monotonic()
            [report] = site.stop()
            assert grace <= time.monotonic() - begun < 2 * grace
        assert report.cut == 1


def look(url: str, folder: Path, modalities: list[Modality]) -> None:
    """Everything that was answered is there and whole, and nothing else is left behind."""
    database = Database(url)
    acknowledged = {uid: sha for one in modalities for uid, sha in one.acknowledged.items()}
    broken, _ = examine(database, folder / "files", acknowledged)
    database.close()
    assert not broken, broken
