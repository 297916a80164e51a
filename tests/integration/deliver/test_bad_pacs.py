"""P-01, P-03: PACS that stall, lie and break off: no call outlives its deadline, no success lies.

The peers of the battery, and more: all that were seen to hold a sender for ever, or to fool it.
"""

from __future__ import annotations

import itertools
import struct
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from intu_fhir.model.cause import cause_of, remedy_of
from intu_fhir.model.outcome import Dead, Delivered, Retry
from tests.support.certificates import Authority
from tests.support.far_sides import Behaviour, Peer, RawServer
from tests.support.outgoing import (
    Sending,
    abort,
    accept,
    associate,
    command_pdu,
    outgoing,
    read_command,
    read_data_set,
    reject,
    response,
    us,
)
from tests.support.raw_peer import DATA, LAST, P_DATA, RELEASE_RP, pdu

DEADLINE = 0.5
LIMIT = 4 * DEADLINE
"""Connect, negotiate, send and answer have one deadline each."""
PATIENT = 60.0
"""For peers that answer: how long they are let take is not what these tests are about."""

UID = "1.2.3.4"


def _associated(then: Callable[[Peer], None]) -> Behaviour:
    def behave(peer: Peer) -> None:
        associate(peer)
        then(peer)

    return behave


def _answering(make: Callable[[int, str], bytes]) -> Behaviour:
    """A PACS that reads everything and answers with these bytes, then waits."""

    def behave(peer: Peer) -> None:
        associate(peer)
        while True:
            request = read_command(peer)
            read_data_set(peer)
            peer.send(make(request.message_id, request.uid))

    return behave


def _first(data: bytes, *, then_wait: bool = True) -> Behaviour:
    """A peer that answers the association request with these bytes."""

    def behave(peer: Peer) -> None:
        peer.pdu()
        peer.send(data)
        if then_wait:
            peer.wait()

    return behave


def _accepting(data: bytes) -> Behaviour:
    """A peer that answers the association request with these bytes, and a release, too."""

    def behave(peer: Peer) -> None:
        associate(peer, data)
        peer.pdu()
        peer.send(pdu(RELEASE_RP, bytes(4)))

    return behave


def _drip(data: bytes) -> Callable[[Peer], None]:
    def behave(peer: Peer) -> None:
        for byte in itertools.cycle(data):
            peer.send(bytes([byte]))
            peer.wait(0.05)

    return behave


def _drip_reader(peer: Peer) -> None:
    while True:
        peer.receive(1)
        peer.wait(0.05)


def _early(peer: Peer) -> None:
    """Report success for the first message before a byte of it was read."""
    associate(peer, accept() + response(1, UID))
    read_command(peer)
    read_data_set(peer)
    peer.wait()


def _early_in_the_middle(peer: Peer) -> None:
    associate(peer)
    request = read_command(peer)
    peer.pdu()
    peer.send(response(request.message_id, request.uid))
    read_data_set(peer)
    peer.wait()


def _abort_in_data(peer: Peer) -> None:
    associate(peer)
    read_command(peer)
    peer.pdu()
    peer.send(abort())


def _reset_in_data(peer: Peer) -> None:
    associate(peer)
    read_command(peer)
    peer.reset()


def _close_after_data(peer: Peer) -> None:
    associate(peer)
    read_command(peer)
    read_data_set(peer)


def _endless_command(peer: Peer) -> None:
    associate(peer)
    read_command(peer)
    read_data_set(peer)
    while True:
        peer.send(command_pdu(us(0x0900, 0) * 100, flags=1))


NO_STATUS = us(0x0100, 0x8001) + us(0x0120, 1)
LYING_AC = accept()[:6] + accept()[6:100] + b"\xff" * 40

BAD_PEERS: dict[str, Behaviour] = {
    "accepts the connection only": lambda peer: peer.wait(),
    "closes at once": lambda peer: None,
    "resets at once": lambda peer: peer.reset(),
    "never answers the request": lambda peer: peer.pdu() and peer.wait(),
    "partial accept, then silence": _first(accept()[:40]),
    "accept drips": lambda peer: peer.pdu() and _drip(accept(50_000))(peer),
    "accept claims 4 GB": _first(struct.pack(">BxI", 2, 2**32 - 1)),
    "accept whose lengths lie": _first(struct.pack(">BxI", 2, 134) + LYING_AC[6:140]),
    "accept cut short": _first(pdu(2, bytes(20))),
    "accept with PDUs of one byte": _first(accept(7)),
    "aborts instead of answering": _first(abort()),
    "answers with a web page": _first(b"HTTP/1.1 400 Bad Request\r\n\r\n"),
    "answers with a release": _first(pdu(RELEASE_RP, bytes(4))),
    "answers with data": _first(response(1, UID)),
    "stops reading": _associated(lambda peer: peer.wait()),
    "reads a byte now and then": _associated(_drip_reader),
    "never answers": _answering(lambda message_id, uid: b""),
    "11 bytes of a PDU, then silence": _answering(lambda message_id, uid: response(1, uid)[:11]),
    "answer drips": _associated(
        lambda peer: read_data_set(peer) if read_command(peer) is None else _drip(b"\4\0")(peer)
    ),
    "aborts in the data": _abort_in_data,
    "aborts after the data": _answering(lambda message_id, uid: abort()),
    "resets in the data": _reset_in_data,
    "closes after the data": _close_after_data,
    "garbage for an answer": _answering(lambda message_id, uid: b"\x99" * 64),
    "answer of 4 GB": _answering(lambda message_id, uid: struct.pack(">BxI", 4, 2**32 - 1)),
    "answer without end": _endless_command,
    "answer for another message": _answering(lambda message_id, uid: response(message_id + 1, uid)),
    "answer for message 0": _answering(lambda message_id, uid: response(0, uid)),
    "answer for another instance": _answering(lambda message_id, uid: response(message_id, "1.9")),
    "answer to another command": _answering(
        lambda message_id, uid: response(message_id, uid, field=0x8030)
    ),
    "a request for an answer": _answering(
        lambda message_id, uid: response(message_id, uid, field=0x0001)
    ),
    "answer without a status": _answering(lambda message_id, uid: command_pdu(NO_STATUS)),
    "a data set for an answer": _answering(
        lambda message_id, uid: command_pdu(b"x" * 20, flags=DATA | LAST)
    ),
    "a release for an answer": _answering(lambda message_id, uid: pdu(5, bytes(4))),
    "PDV whose length lies": _answering(
        lambda message_id, uid: pdu(P_DATA, struct.pack(">IBB", 999, 1, 3) + b"xx")
    ),
    "success before the message": _early,
    "success before the end of the data": _early_in_the_middle,
}


@pytest.mark.timed
@pytest.mark.parametrize("name", BAD_PEERS)
def test_no_peer_holds_us_or_fools_us(name: str, tmp_path: Path) -> None:
    """P-01, P-03: whatever a peer does, the call ends in time, and nothing counts as delivered."""
    one = outgoing(tmp_path, UID, b"x" * 4_000_000)
    with RawServer(BAD_PEERS[name], receive_buffer=8_192) as server:
        sending = Sending(server.port, seconds=DEADLINE)
        started = time.monotonic()
        outcome = sending.send([one])
        taken = time.monotonic() - started
    assert taken < LIMIT
    assert isinstance(outcome, Retry), outcome
    assert outcome.detail
    assert sending.delivered == []


def _echoing(make: Callable[[int], bytes]) -> Behaviour:
    """A PACS that answers an echo with these bytes."""

    def behave(peer: Peer) -> None:
        associate(peer)
        _, body = peer.pdu()
        assert body[6:].count(b"\x30\x00") == 1, "a C-ECHO-RQ was expected"
        peer.send(make(1))
        peer.wait()

    return behave


BAD_ECHOES: dict[str, Behaviour] = {
    **dict(itertools.islice(BAD_PEERS.items(), 14)),
    "never answers": _echoing(lambda message_id: b""),
    "answer for another message": _echoing(
        lambda message_id: response(message_id + 1, None, field=0x8030)
    ),
    "answer to another command": _echoing(lambda message_id: response(message_id, None)),
    "an error": _echoing(
        lambda message_id: response(message_id, None, status=0x0122, field=0x8030)
    ),
    "garbage": _echoing(lambda message_id: b"x" * 100),
    "abort": _echoing(lambda message_id: abort()),
}


@pytest.mark.timed
@pytest.mark.parametrize("name", BAD_ECHOES)
def test_no_peer_holds_an_echo(name: str) -> None:
    """C-ECHO is as bounded as C-STORE, and as hard to fool."""
    with RawServer(BAD_ECHOES[name]) as server:
        started = time.monotonic()
        outcome = Sending(server.port, seconds=DEADLINE).scu.echo()
    assert time.monotonic() - started < LIMIT
    assert isinstance(outcome, (Retry, Dead))


def test_good_peer_by_hand(tmp_path: Path) -> None:
    """The peers of this module are believed once they do everything right."""
    behave = _answering(response)
    objects = [outgoing(tmp_path, f"1.2.3.{n}", b"x" * 100_000) for n in range(3)]
    with RawServer(behave) as server:
        sending = Sending(server.port, seconds=PATIENT)
        assert isinstance(sending.send(objects), Delivered)
    assert len(sending.delivered) == 3


def test_answer_without_the_instance_uid(tmp_path: Path) -> None:
    """The UID is optional in an answer (PS3.7 table 9.3-2): the message ID is enough then."""
    behave = _answering(lambda message_id, uid: response(message_id, None))
    with RawServer(behave) as server:
        sending = Sending(server.port, seconds=PATIENT)
        assert isinstance(sending.send([outgoing(tmp_path, UID, b"x")]), Delivered)


def test_refusal_before_the_end_of_the_data_counts(tmp_path: Path) -> None:
    """A PACS may say early that it will not take an instance."""

    def behave(peer: Peer) -> None:
        associate(peer)
        request = read_command(peer)
        peer.pdu()
        peer.send(response(request.message_id, request.uid, status=0xC000))
        read_data_set(peer)
        read_command(peer)

    with RawServer(behave) as server:
        outcome = Sending(server.port, seconds=PATIENT).send(
            [outgoing(tmp_path, UID, b"x" * 10**6)]
        )
    assert isinstance(outcome, Dead)
    assert outcome.status == "C000"


def test_abort_is_told_with_its_reason(tmp_path: Path) -> None:
    """The peer's own words for an abort are kept, whenever it comes."""
    for name in ("aborts after the data", "aborts instead of answering"):
        with RawServer(BAD_PEERS[name]) as server:
            outcome = Sending(server.port, seconds=PATIENT).send([outgoing(tmp_path, UID, b"x")])
        assert "A-ABORT 2/1" in outcome.detail


@pytest.mark.parametrize("name", ["aborts after the data", "aborts instead of answering"])
def test_an_abort_is_told_with_what_a_person_can_check(tmp_path: Path, name: str) -> None:
    """Who aborts before taking anything is named with its address, and whom it may not know."""
    with RawServer(BAD_PEERS[name]) as server:
        outcome = Sending(server.port, seconds=PATIENT, ae_title="OURS").send(
            [outgoing(tmp_path, UID, b"x")]
        )
    assert outcome.detail.startswith(f"PACS at 127.0.0.1:{server.port}: the PACS aborted the")
    assert "have OURS and this machine's address entered there" in remedy_of(outcome.detail)
    told = cause_of(outcome.detail)
    assert told.startswith(f"PACS at 127.0.0.1:{server.port}: the PACS aborted the association")
    assert " ," not in told
    assert UID not in told


@pytest.mark.parametrize(
    ("where", "kind"),
    [
        ((1, 1, 1), Retry), ((1, 1, 2), Dead), ((1, 1, 3), Dead), ((1, 1, 7), Dead),
        ((2, 1, 1), Retry), ((2, 1, 7), Retry), ((1, 2, 1), Retry), ((1, 2, 2), Dead),
        ((2, 3, 1), Retry), ((2, 3, 2), Retry), ((1, 3, 2), Retry), ((9, 9, 9), Retry),
    ],
)  # fmt: skip
def test_each_reject(tmp_path: Path, where: tuple[int, int, int], kind: type[Any]) -> None:
    """P-01: each reason of a reject ends as its table says, with its numbers kept."""
    with RawServer(_first(reject(*where))) as server:
        outcome = Sending(server.port, seconds=PATIENT).send([outgoing(tmp_path, UID, b"x")])
    assert isinstance(outcome, kind)
    assert outcome.status == f"A-ASSOCIATE-RJ {'/'.join(map(str, where))}"


@pytest.mark.parametrize("result", [1, 2, 3, 4, 77])
def test_each_context_result(tmp_path: Path, result: int) -> None:
    """P-01: a context that is not granted, for whatever reason, is a dead letter."""
    with RawServer(_accepting(accept(result=result))) as server:
        outcome = Sending(server.port, seconds=PATIENT).send([outgoing(tmp_path, UID, b"x")])
    assert isinstance(outcome, Dead)


def test_context_in_another_transfer_syntax(tmp_path: Path) -> None:
    """A PACS that grants a syntax which was not asked for gets nothing in it."""
    one = outgoing(tmp_path, UID, b"x", transfer_syntax_uid="1.2.840.10008.1.2.4.70")
    with RawServer(_accepting(accept())) as server:
        outcome = Sending(server.port, seconds=PATIENT).send([one])
    assert isinstance(outcome, Dead)
    assert "another syntax granted" in outcome.detail


def test_context_that_is_not_mentioned(tmp_path: Path) -> None:
    """A context that the accept leaves out is not granted."""
    with RawServer(_accepting(accept(contexts=0))) as server:
        outcome = Sending(server.port, seconds=PATIENT).send([outgoing(tmp_path, UID, b"x")])
    assert isinstance(outcome, Dead)


@pytest.mark.timed
def test_peer_that_never_ends_the_association(tmp_path: Path) -> None:
    """What was answered stands, though the release is never answered."""

    def behave(peer: Peer) -> None:
        associate(peer)
        request = read_command(peer)
        read_data_set(peer)
        peer.send(response(request.message_id, request.uid))
        peer.wait()

    with RawServer(behave) as server:
        started = time.monotonic()
        outcome = Sending(server.port, seconds=DEADLINE).send([outgoing(tmp_path, UID, b"x")])
    assert isinstance(outcome, Delivered)
    assert time.monotonic() - started < LIMIT


@pytest.mark.parametrize("size", [1, 16_378, 16_379, 262_144, 262_145, 1_000_003])
@pytest.mark.parametrize("longest", [0, 8, 4_096, 16_384, 1 << 20])
def test_fragments_fit_what_the_peer_takes(tmp_path: Path, size: int, longest: int) -> None:
    """No PDU is longer than the peer allows, and the bytes are those of the file."""
    if longest == 8 and size > 20_000:
        size = 20_000
    content = bytes(n % 251 for n in range(size))
    got = bytearray()
    lengths: list[int] = []

    def behave(peer: Peer) -> None:
        associate(peer, accept(longest))
        command, last = b"", 0
        while not last:
            _, body = peer.pdu()
            lengths.append(len(body))
            command, last = command + body[6:], body[5] & LAST
        last = 0
        while not last:
            _, body = peer.pdu()
            lengths.append(len(body))
            got.extend(body[6:])
            last = body[5] & LAST
        peer.send(response(1, UID))
        peer.pdu()

    with RawServer(behave) as server:
        outcome = Sending(server.port, seconds=PATIENT).send([outgoing(tmp_path, UID, content)])
    assert isinstance(outcome, Delivered)
    assert bytes(got) == content
    assert not longest or max(lengths) <= longest


@pytest.mark.timed
def test_tls_peer_that_says_nothing(tmp_path: Path) -> None:
    """A TLS handshake that is never answered ends in time."""
    authority = Authority(tmp_path)
    with RawServer(lambda peer: peer.wait()) as server:
        sending = Sending(server.port, seconds=DEADLINE, tls={"ca_file": authority.ca_file})
        started = time.monotonic()
        outcome = sending.send([outgoing(tmp_path, UID, b"x")])
    assert time.monotonic() - started < LIMIT
    assert isinstance(outcome, Retry)


def test_lease_is_kept_while_waiting(tmp_path: Path) -> None:
    """While a slow PACS is waited for, the caller is asked now and then, and may stop."""
    asked: list[float] = []

    def keep_going() -> bool:
        asked.append(time.monotonic())
        return len(asked) < 3

    with RawServer(_answering(lambda message_id, uid: b"")) as server:
        sending = Sending(server.port, seconds=30)
        started = time.monotonic()
        outcome = sending.send([outgoing(tmp_path, UID, b"x")], keep_going)
    assert isinstance(outcome, Retry)
    assert "stopped" in outcome.detail
    assert time.monotonic() - started < 5
