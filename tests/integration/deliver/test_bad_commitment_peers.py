"""PACS that stall, lie and break off while they are asked for storage commitment."""

from __future__ import annotations

import struct
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from intu_fhir.deliver.commitment_scu import CommitmentScu, Conversation
from intu_fhir.model.archive_commitment import AskClaim
from intu_fhir.model.outcome import Dead, Delivered, Retry
from intu_fhir.settings.schema import Commitment, DicomDestination
from tests.support.far_sides import Behaviour, Gone, Peer, RawServer
from tests.support.outgoing import abort, accept, associate, reject
from tests.support.raw_peer import (
    COMMAND,
    DATA,
    IMPLICIT,
    LAST,
    P_DATA,
    RELEASE_RP,
    command,
    element,
    elements_of,
    pdu,
    us,
)

DEADLINE = 0.5
LIMIT = 4 * DEADLINE
COMMITMENT, WELL_KNOWN = "1.2.840.10008.1.20.1", "1.2.840.10008.1.20.1.1"
INFORMATION = bytes(range(200)) * 2
REQUESTS = [AskClaim(key, 1, f"1.2.3.{key}", 1, 0, 1) for key in (1, 2)]


@dataclass
class Noted:
    """Notes what came of each request."""

    outcomes: list[Delivered | Retry | Dead] = field(default_factory=list)
    heard: list[bytes] = field(default_factory=list)

    def information(self, request: AskClaim, transfer_syntax_uid: str) -> bytes:
        """Return something to send."""
        assert transfer_syntax_uid == IMPLICIT
        return INFORMATION

    def answered(self, request: AskClaim, outcome: Delivered | Retry | Dead) -> None:
        """Note an answer."""
        self.outcomes.append(outcome)

    def hear(self, event_information: bytes) -> int:
        """Note a result."""
        self.heard.append(event_information)
        return 0x0000

    def waits(self) -> bool:
        """Wait until every request has its result."""
        return len(self.heard) < len(REQUESTS)


def ask(behaviour: Behaviour) -> tuple[Conversation, Noted, RawServer]:
    """Ask a PACS that behaves so; it may not take longer than its deadlines."""
    noted = Noted()
    with RawServer(behaviour) as server:
        to = DicomDestination(
            type="dicom",
            host="127.0.0.1",
            port=server.port,
            called_ae_title="PACS",
            timeout_seconds=DEADLINE,
        )
        scu = CommitmentScu(to, Commitment(wait_seconds=DEADLINE))
        begun = time.monotonic()
        conversation = scu.ask(REQUESTS, noted)
        assert time.monotonic() - begun < 2 * LIMIT
    return conversation, noted, server


def uid(number: int, value: str) -> bytes:
    """Return an element of VR UI."""
    return element(number, value.encode() + b"\0" * (len(value) % 2))


def pdv(flags: int, data: bytes) -> bytes:
    """Return one fragment on the only context."""
    return struct.pack(">IBB", len(data) + 2, 1, flags) + data


def action_answer(message_id: int, status: int = 0x0000, field_: int = 0x8130) -> bytes:
    """Return an N-ACTION-RSP."""
    answer = command(
        us(0x0100, field_), us(0x0120, message_id), us(0x0800, 0x0101), us(0x0900, status)
    )
    return pdu(P_DATA, pdv(COMMAND | LAST, answer))


def event(
    message_id: int = 7,
    kind: int = 1,
    sop_class: str = COMMITMENT,
    sop: str = WELL_KNOWN,
    data_set: int = 1,
) -> bytes:
    """Return the command set of an N-EVENT-REPORT-RQ."""
    return command(
        uid(0x0002, sop_class),
        us(0x0100, 0x0100),
        us(0x0110, message_id),
        us(0x0800, data_set),
        uid(0x1000, sop),
        us(0x1002, kind),
    )


def result(data: bytes = b"result") -> bytes:
    """Return a whole N-EVENT-REPORT-RQ, command and data set in one PDU."""
    return pdu(P_DATA, pdv(COMMAND | LAST, event()) + pdv(DATA | LAST, data))


def read_message(peer: Peer) -> dict[int, bytes]:
    """Read a command and, if it has one, its data set; a release is answered and ends the peer."""
    kind, body = peer.pdu()
    if kind != P_DATA:
        peer.send(pdu(RELEASE_RP, bytes(4)))
        raise Gone
    elements = elements_of(body[6:])
    if elements[0x0800] != b"\x01\x01":
        while not peer.pdu()[1][5] & LAST:
            pass
    return elements


def message_id(elements: dict[int, bytes]) -> int:
    """Return the id of a message."""
    return int.from_bytes(elements[0x0110], "little")


@dataclass
class Talking:
    """A PACS that takes the association, and does ``then`` with every request.

    Args:
        statuses: what its own results are answered with.
    """

    then: Callable[[Peer, int], object]
    statuses: list[int] = field(default_factory=list)

    def __call__(self, peer: Peer) -> None:
        """Serve one association."""
        associate(peer, accept(syntax=IMPLICIT))
        while True:
            elements = read_message(peer)
            if 0x0110 in elements:
                self.then(peer, message_id(elements))
            else:
                self.statuses.append(int.from_bytes(elements[0x0900], "little"))


def test_results_before_the_answers() -> None:
    """Results may come before the answer to their request, command and data set in one PDU."""

    def then(peer: Peer, number: int) -> None:
        peer.send(result(b"1" * number) + action_answer(number))

    conversation, noted, _ = ask(Talking(then))
    assert conversation.ended is None
    assert noted.heard == [b"1", b"11"]
    assert noted.outcomes == [Delivered("0000")] * 2


def test_pacs_that_answers_nothing_in_time() -> None:
    """A PACS that takes requests and tells nothing holds nobody; both requests stand."""
    conversation, noted, _ = ask(Talking(lambda peer, number: peer.send(action_answer(number))))
    assert conversation == Conversation()
    assert len(noted.outcomes) == 2
    assert noted.heard == []


def endless(first: bytes, more: bytes) -> Callable[[Peer, int], None]:
    """A message that goes on for 12 MB."""

    def send(peer: Peer, number: int) -> None:
        peer.send(first)
        for _ in range(12_000_000 // len(more)):
            peer.send(more)

    return send


ANNOUNCED = pdu(P_DATA, pdv(COMMAND | LAST, event()))
BROKEN: dict[str, Callable[[Peer, int], object]] = {
    "silent": lambda peer, number: peer.wait(),
    "aborts": lambda peer, number: peer.send(abort()),
    "closes": lambda peer, number: peer.reset(),
    "answers another message": lambda peer, number: peer.send(action_answer(number + 1)),
    "answers another command": lambda peer, number: peer.send(action_answer(number, field_=0x8001)),
    "a command without end": endless(b"", pdu(P_DATA, pdv(COMMAND, bytes(16_000)))),
    "a result without end": endless(ANNOUNCED, pdu(P_DATA, pdv(DATA, bytes(60_000)))),
    "a result cut short": lambda peer, number: (peer.send(ANNOUNCED), peer.wait()),
    "a data set alone": lambda peer, number: peer.send(pdu(P_DATA, pdv(DATA | LAST, b"x"))),
    "a command inside a data set": lambda peer, number: peer.send(ANNOUNCED * 2),
    "nonsense": lambda peer, number: peer.send(pdu(P_DATA, pdv(COMMAND | LAST, b"\xff" * 30))),
}


@pytest.mark.parametrize("name", BROKEN)
def test_association_that_breaks(name: str) -> None:
    """Whatever ends it, the request in hand is known as one that the PACS may have, or not."""
    conversation, noted, _ = ask(Talking(BROKEN[name]))
    assert isinstance(conversation.ended, Retry)
    assert conversation.in_hand == REQUESTS[0]
    assert noted.outcomes == []


@pytest.mark.parametrize("name", [name for name in BROKEN if "without end" in name])
def test_message_without_end(name: str) -> None:
    """It is cut off at a cap, long before all of it came."""
    conversation, _, _ = ask(Talking(BROKEN[name]))
    assert isinstance(conversation.ended, Retry)
    assert "a message without end" in conversation.ended.detail


@pytest.mark.parametrize(
    ("command_set", "status"),
    [
        (event(sop_class="1.2.3"), 0x0118),
        (event(sop="1.2.3"), 0x0112),
        (event(kind=3), 0x0113),
        (event(data_set=0x0101), 0x0115),
    ],
)
def test_results_of_something_else(command_set: bytes, status: int) -> None:
    """They are answered with why they are none, and the conversation goes on."""

    def then(peer: Peer, number: int) -> None:
        data = b"" if elements_of(command_set)[0x0800] == b"\x01\x01" else pdv(DATA | LAST, b"x")
        peer.send(pdu(P_DATA, pdv(COMMAND | LAST, command_set) + data) + action_answer(number))

    behaviour = Talking(then)
    conversation, noted, _ = ask(behaviour)
    assert conversation.ended is None
    assert behaviour.statuses == [status] * 2
    assert noted.heard == []


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (accept(result=3), Dead),
        (accept(), Dead),
        (accept(contexts=0), Dead),
        (reject(1, 1, 3), Dead),
        (reject(2, 3, 1), Retry),
        (abort(), Retry),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", Retry),
    ],
)
def test_association_that_does_not_come_about(answer: bytes, kind: type) -> None:
    """Nothing was sent: what is for good needs a person, the rest is tried again."""
    conversation, noted, _ = ask(lambda peer: associate(peer, answer))
    assert isinstance(conversation.ended, kind)
    assert conversation.in_hand is None
    assert noted.outcomes == []


@pytest.mark.parametrize(("status", "kind"), [(0x0213, Retry), (0x0211, Dead), (0xC123, Retry)])
def test_each_request_has_its_own_answer(status: int, kind: type) -> None:
    """One request that the PACS does not take leaves the next one alone."""

    def then(peer: Peer, number: int) -> None:
        peer.send(action_answer(number, status if number == 1 else 0x0000))

    conversation, noted, _ = ask(Talking(then))
    assert conversation.ended is None
    assert [type(one) for one in noted.outcomes] == [kind, Delivered]
