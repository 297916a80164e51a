"""Requesters of storage commitment that grant something else than they are asked for."""

from __future__ import annotations

import struct

import pytest

from intu_fhir.deliver.commitment import CommitmentReporter, NotTaken
from intu_fhir.settings.schema import CommitmentRequester
from tests.support.far_sides import Peer, RawServer
from tests.support.outgoing import command_pdu, element, us
from tests.support.raw_peer import ASSOCIATE_AC, RELEASE_RP, item, pdu

COMMITMENT = b"1.2.840.10008.1.20.1"
IMPLICIT, BIG_ENDIAN = b"1.2.840.10008.1.2", b"1.2.840.10008.1.2.2"


def role(scu: int, scp: int) -> bytes:
    """Return a role selection item (PS3.7 D.3.3.4.2)."""
    return item(0x54, struct.pack(">H", len(COMMITMENT)) + COMMITMENT + bytes((scu, scp)))


def accept(syntax: bytes, user: bytes) -> bytes:
    """Return an A-ASSOCIATE-AC."""
    fixed = struct.pack(">HH", 1, 0) + b"CT1".ljust(16) + b"US".ljust(16) + bytes(32)
    context = item(0x21, bytes((1, 0, 0, 0)) + item(0x40, syntax))
    information = item(0x50, item(0x51, struct.pack(">I", 16_384)) + user)
    return pdu(ASSOCIATE_AC, fixed + item(0x10, b"1.2.840.10008.3.1.1.1") + context + information)


def report(syntax: bytes, user: bytes) -> list[int]:
    """Tell a result to a peer that accepts so; return the PDUs that it got after that."""
    got: list[int] = []

    def behave(peer: Peer) -> None:
        peer.pdu()
        peer.send(accept(syntax, user))
        while (kind := peer.pdu()[0]) != 7:
            got.append(kind)
            if len(got) == 2:
                body = us(0x0100, 0x8100) + us(0x0120, 1) + us(0x0800, 0x0101) + us(0x0900, 0)
                peer.send(command_pdu(element(0, struct.pack("<I", len(body))) + body))
            if kind == 5:
                peer.send(pdu(RELEASE_RP, bytes(4)))
                return

    with RawServer(behave) as server:
        requester = CommitmentRequester(host="127.0.0.1", port=server.port)
        CommitmentReporter(requester, 5).report("US", "CT1", 1, lambda _: b"information!")
    return got


@pytest.mark.parametrize("user", [b"", role(0, 1), role(1, 1)], ids=["silent", "scp", "both"])
def test_willing_requester_is_told(user: bytes) -> None:
    """One that grants our role, or says nothing of roles, is told."""
    assert report(IMPLICIT, user) == [4, 4, 5]


def test_role_that_is_not_granted_is_not_taken() -> None:
    """Where we may not be the provider nothing is sent (PS3.7 D.3.3.4)."""
    with pytest.raises(NotTaken, match="provider"):
        report(IMPLICIT, role(1, 0))


def test_syntax_that_was_not_proposed_is_not_used() -> None:
    """Data in a transfer syntax of the requester's own choice would be read wrongly."""
    with pytest.raises(NotTaken, match="not proposed"):
        report(BIG_ENDIAN, b"")


def test_role_selection_that_does_not_fit_is_refused() -> None:
    """An item whose lengths contradict each other is no grant."""
    with pytest.raises(NotTaken, match="role selection"):
        report(IMPLICIT, item(0x54, b"\0\7short"))
