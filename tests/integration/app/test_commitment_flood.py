"""Who asks for storage commitment without end stops neither images nor the asking of others."""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from intu_fhir.app.serving import ALL_ROLES, Site
from intu_fhir.app.wiring import open_app
from intu_fhir.model.commitment import ReferencedInstance
from intu_fhir.settings.load import load_configuration
from intu_fhir.stage.commitment_answer import encode_action_information
from tests.support.asking import COMMITMENT_ID, WITH_COMMITMENT, action
from tests.support.ports import free_port
from tests.support.raw_peer import CT_IMAGE_STORAGE, IMPLICIT, STATUS, RawPeer, status_of
from tests.support.site_folder import write_site
from tests.support.studies import data_set_bytes, make_instance, uid

PIECE = 60_000
INSTANCES = 20_000
PEERS = 4


@pytest.fixture
def port(tmp_path: Path, migrated_database_url: str) -> Iterator[int]:
    """A running site."""
    port = free_port()
    write_site(tmp_path, database=migrated_database_url, port=port, receiver={"min_free_bytes": 0})
    site = Site(open_app(load_configuration(tmp_path)), ALL_ROLES)
    site.start()
    yield port
    site.stop()


@dataclass
class Flood:
    """Peers that ask for as much as they may, one request after another.

    Args:
        repeats: with the same Transaction UID.
    """

    port: int
    repeats: bool
    stopping: threading.Event = field(default_factory=threading.Event)
    statuses: list[int] = field(default_factory=list)
    _information: bytes = b""

    def __enter__(self) -> Flood:
        # Written once, since peers that compute leave the receiver no time in one process.
        asked = [ReferencedInstance(CT_IMAGE_STORAGE, f"1.2.3.{one}") for one in range(INSTANCES)]
        self._information = encode_action_information(_transaction(0), asked, IMPLICIT)
        self._threads = [threading.Thread(target=self._run, args=(n,)) for n in range(PEERS)]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stopping.set()
        for thread in self._threads:
            thread.join(60)

    def _run(self, number: int) -> None:
        with RawPeer(self.port) as peer:
            peer.socket.settimeout(60)
            peer.associate(WITH_COMMITMENT, called="INTU_TEST", calling=f"EVIL{number}")
            turn = 0
            while not self.stopping.is_set():
                turn += 1
                peer.send_command(action(), COMMITMENT_ID)
                information = self._asking_for(turn)
                for begin in range(0, len(information), PIECE):
                    piece = information[begin : begin + PIECE]
                    peer.send_data(piece, COMMITMENT_ID, last=False)
                peer.send_data(b"", COMMITMENT_ID)
                self.statuses.append(status_of(_response(peer)))

    def _asking_for(self, turn: int) -> bytes:
        """Return another transaction, or other instances under the same Transaction UID."""
        if self.repeats:
            return self._information.replace(b"1.2.3.19999", f"1.2.3.{turn + 20_000}".encode())
        return self._information.replace(_transaction(0).encode(), _transaction(turn).encode())


def _response(peer: RawPeer) -> dict[int, bytes]:
    """Return the next response; results that come in between are read, and never answered."""
    while STATUS not in (elements := peer.response()):
        peer.message()
    return elements


def _transaction(number: int) -> str:
    return f"1.2.9.{number + 100_000}"


def store(port: int, first: int, count: int) -> list[float]:
    """Store images and return how long each took."""
    took = []
    with RawPeer(port) as peer:
        peer.socket.settimeout(60)
        peer.associate(called="INTU_TEST")
        for number in range(first, first + count):
            data = data_set_bytes(make_instance(number=number))
            begun = time.monotonic()
            assert status_of(peer.store(data, uid("study", 1, number))) == 0x0000
            took.append(time.monotonic() - begun)
    return took


@pytest.mark.timed
@pytest.mark.parametrize("repeats", [False, True])
def test_flood_of_requests_stops_no_image(port: int, repeats: bool) -> None:
    """Four peers that ask without end, and every image is stored in about a second."""
    with Flood(port, repeats) as flood:
        threading.Event().wait(2.0)
        took = store(port, 0, 15)
    assert statistics.median(took) < 1.0
    assert max(took) < 4.0
    assert 0x0000 in flood.statuses  # else it was no flood
    assert set(flood.statuses) <= {0x0000, 0x0213}
