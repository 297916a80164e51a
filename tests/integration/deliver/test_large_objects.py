"""How much memory an object takes that is larger than memory should be asked for."""

from __future__ import annotations

import hashlib
import tracemalloc
from dataclasses import replace
from pathlib import Path

from intu_fhir.model.outcome import Delivered
from tests.support.far_sides import Gone, Peer, RawServer
from tests.support.outgoing import Sending, associate, outgoing, path_of, read_command, response
from tests.support.raw_peer import LAST

UID = "1.2.826.0.1.3680043.2.1125.1"
OBJECT_BYTES = 128 << 20
MOST_BYTES = 4 << 20


def _read_and_forget(peer: Peer) -> int:
    """Read a data set to its last fragment and return how long it was."""
    size, last = 0, False
    with peer.socket.makefile("rb", buffering=65_536) as stream:
        while not last:
            head = stream.read(12)
            if len(head) < 12:
                raise Gone
            left = int.from_bytes(head[2:6], "big") - 6
            size, last = size + left, bool(head[11] & LAST)
            stream.read(left)
    return size


def test_an_object_is_never_whole_in_memory(tmp_path: Path) -> None:
    """Comparing and sending 128 MB takes less than 4 MB, with the peer in the same process."""
    sizes: list[int] = []

    def behave(peer: Peer) -> None:
        associate(peer)
        request = read_command(peer)
        sizes.append(_read_and_forget(peer))
        peer.send(response(request.message_id, UID))
        peer.pdu()

    one = outgoing(tmp_path, UID, b"")
    with path_of(one).open("r+b") as file:
        file.truncate(one.data_set_offset + OBJECT_BYTES)
    digest = hashlib.sha256()
    for _ in range(OBJECT_BYTES >> 20):
        digest.update(bytes(1 << 20))
    one = replace(one, sha256=digest.hexdigest())
    with RawServer(behave) as server:
        sending = Sending(server.port, seconds=30)
        tracemalloc.start()
        try:
            outcome = sending.send([one])
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert isinstance(outcome, Delivered)
    assert sizes == [OBJECT_BYTES]
    assert peak < MOST_BYTES
