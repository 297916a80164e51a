"""Senders that leave Nagle's algorithm on are not made to wait for acknowledgements."""

from __future__ import annotations

import socket
import time

import pytest

from tests.support.raw_peer import (
    COMMAND,
    CT_ID,
    LAST,
    P_DATA,
    RawPeer,
    pdu,
    pdv,
    status_of,
    store_command,
)
from tests.support.receiving import Receiving
from tests.support.studies import data_set_bytes, make_instance, uid

OBJECT = data_set_bytes(make_instance())
OBJECTS = 200


@pytest.mark.timed
@pytest.mark.skipif(not hasattr(socket, "TCP_QUICKACK"), reason="needs TCP_QUICKACK (Linux)")
def test_header_and_body_written_apart_cost_no_delay(receiving: Receiving) -> None:
    """Two hundred objects, each PDU in two writes with Nagle on, take far less than 40 ms each."""
    command = pdu(P_DATA, pdv(CT_ID, COMMAND | LAST, store_command(uid("study", 1, 1))))
    data = pdu(P_DATA, pdv(CT_ID, LAST, OBJECT))
    with RawPeer(receiving.port) as peer:
        peer.associate()
        peer.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 0)
        begun = time.monotonic()
        for _ in range(OBJECTS):
            for part in (command, data):
                peer.send(part[:12])
                peer.send(part[12:])
            assert status_of(peer.response()) == 0x0000
        assert time.monotonic() - begun < OBJECTS * 0.010
