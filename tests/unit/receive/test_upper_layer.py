"""The upper layer without sockets: how bytes are cut does not matter, what they claim does."""

from __future__ import annotations

import struct
import tracemalloc

import pytest

from intu_fhir.receive.associate import AssociateRequest, UserIdentity
from intu_fhir.receive.upper_layer import (
    Abort,
    Event,
    Fragment,
    PduReader,
    ReleaseRequest,
    encode_abort,
    encode_associate_reject,
    encode_command,
    encode_data_set,
    encode_release_response,
)
from intu_fhir.receive.violation import AbortReason, ProtocolViolation
from intu_fhir.settings.schema import Receiver
from tests.support.raw_peer import CONTEXTS, P_DATA, associate_request, item, pdu, pdv

RELEASE, ABORT = pdu(5, bytes(4)), pdu(7, bytes((0, 0, 2, 6)))


def reader_in_data(max_pdu_bytes: int = 16_384) -> PduReader:
    """Return a reader whose association is established."""
    reader = PduReader(max_pdu_bytes)
    reader.established()
    return reader


def kept(event: Event) -> tuple[object, ...]:
    """Return a fragment with its data copied, since its buffer is used again."""
    if isinstance(event, Fragment):
        return (event.context_id, event.is_command, event.is_last, bytes(event.data))
    return (event,)


@pytest.mark.parametrize("step", [1, 2, 5, 6, 7, 100, 10_000_000])
def test_events_do_not_depend_on_how_bytes_arrive(step: int) -> None:
    """The same events come whether bytes arrive one by one or all at once."""
    data = bytes(range(256)) * 50
    stream = pdu(P_DATA, pdv(1, 3, b"command") + pdv(1, 0, data)) * 3 + pdu(P_DATA, pdv(1, 2, b""))
    stream += RELEASE
    reader = reader_in_data()
    events = [
        kept(event)
        for begin in range(0, len(stream), step)
        for event in reader.feed(stream[begin : begin + step])
    ]
    pair = [(1, True, True, b"command"), (1, False, False, data)]
    assert events == [*pair * 3, (1, False, True, b""), (ReleaseRequest(),)]


def test_buffer_grows_with_what_came_not_with_what_is_claimed() -> None:
    """A header that claims the longest PDU allowed makes nobody set memory aside."""
    reader = reader_in_data(1_048_576)
    list(reader.feed(struct.pack(">BxI", P_DATA, 1_048_576)))
    assert len(reader.space()) < 20_000


def test_buffer_stays_bounded_for_any_stream() -> None:
    """However much comes, the room to receive into stays below two PDUs."""
    reader = reader_in_data(16_384)
    stream = pdu(P_DATA, pdv(1, 0, bytes(16_000))) * 100
    for begin in range(0, len(stream), 7_001):
        list(reader.feed(stream[begin : begin + 7_001]))
        assert 0 < len(reader.space()) <= 2 * (16_384 + 6)


def test_request_is_read_with_all_its_items() -> None:
    """AE titles, contexts and user information of an A-ASSOCIATE-RQ are read."""
    identity = item(0x58, b"\2\1\0\4user\0\6secret")
    role = item(0x54, struct.pack(">H", 5) + b"1.2.3" + b"\1\1")
    window = item(0x53, struct.pack(">HH", 3, 4))
    extended = item(0x56, struct.pack(">H", 5) + b"1.2.3" + b"\2\0\3\0\0\0")
    version = item(0x55, b"PEER_1")
    reader = PduReader(16_384)
    (request,) = reader.feed(
        associate_request(user_items=identity + role + window + extended + version)
    )
    assert isinstance(request, AssociateRequest)
    assert (request.called_ae_title, request.calling_ae_title) == ("INTU_SCP", "PEER")
    assert [
        (c.context_id, c.abstract_syntax, c.transfer_syntaxes) for c in request.contexts
    ] == list(CONTEXTS)
    user = request.user
    assert user.max_pdu_bytes == 16_384
    assert (user.implementation_class_uid, user.implementation_version_name) == (
        "1.2.3.4",
        "PEER_1",
    )
    assert user.asynchronous_operations == (3, 4)
    assert [(r.sop_class_uid, r.scu, r.scp) for r in user.roles] == [("1.2.3", True, True)]
    assert user.extended == ["1.2.3"]
    assert user.positive_response_requested
    assert user.user_identity == UserIdentity(2, b"user", b"secret")
    assert "secret" not in repr(request)


BEFORE = {2, 3, 4, 5, 6}
LATER = {1, 2, 3, 6}


@pytest.mark.parametrize("kind", sorted(BEFORE))
def test_only_request_and_abort_begin_a_connection(kind: int) -> None:
    """Before the association any other PDU is unexpected (PS3.8 9.2, state 2)."""
    with pytest.raises(ProtocolViolation) as caught:
        list(PduReader(16_384).feed(pdu(kind, bytes(4))))
    assert caught.value.reason == AbortReason.UNEXPECTED_PDU


@pytest.mark.parametrize("kind", sorted(LATER))
def test_only_data_release_and_abort_follow(kind: int) -> None:
    """Within the association any other PDU is unexpected (PS3.8 9.2, state 6)."""
    with pytest.raises(ProtocolViolation) as caught:
        list(reader_in_data().feed(pdu(kind, bytes(4))))
    assert caught.value.reason == AbortReason.UNEXPECTED_PDU


@pytest.mark.parametrize("kind", [0, 8, 0x16, 0x47, 255])
def test_unknown_pdu_is_named_as_such(kind: int) -> None:
    """A type that PS3.8 does not know is unrecognized."""
    with pytest.raises(ProtocolViolation) as caught:
        list(PduReader(16_384).feed(bytes((kind,)) + bytes(9)))
    assert caught.value.reason == AbortReason.UNRECOGNIZED_PDU


def test_abort_gives_source_and_reason() -> None:
    """An A-ABORT is taken at any time."""
    assert list(PduReader(16_384).feed(ABORT)) == [Abort(2, 6)]
    assert list(reader_in_data().feed(ABORT)) == [Abort(2, 6)]


@pytest.mark.parametrize("claimed", [0, 1, 7, 2**32 - 1])
def test_pdv_that_does_not_fit_its_pdu_gives_nothing(claimed: int) -> None:
    """A PDV longer than what is left of its PDU, or shorter than its header, is no fragment."""
    reader = reader_in_data()
    with pytest.raises(ProtocolViolation, match="PDV of"):
        list(reader.feed(pdu(P_DATA, struct.pack(">IBB", claimed, 1, 0) + b"four")))


def test_request_that_real_peers_send_is_taken() -> None:
    """128 presentation contexts of 28 transfer syntaxes each are within the limits as shipped."""
    syntaxes = tuple(f"1.2.840.10008.1.2.4.{n}" for n in range(100, 128))
    contexts = tuple((n, f"1.2.840.10008.5.1.4.1.1.{n}", syntaxes) for n in range(1, 256, 2))
    limits = Receiver()
    reader = PduReader(16_384, limits.max_associate_bytes, limits.max_associate_items)
    (read,) = reader.feed(associate_request(contexts))
    assert isinstance(read, AssociateRequest)
    assert len(read.contexts) == 128


def test_items_of_a_request_are_bounded() -> None:
    """A request ends at its last item that is allowed, wherever the items stand in it."""
    request = associate_request()
    (read,) = PduReader(16_384, 1 << 18, 13).feed(request)
    assert isinstance(read, AssociateRequest)
    with pytest.raises(ProtocolViolation, match="more than 12 items") as caught:
        list(PduReader(16_384, 1 << 18, 12).feed(request))
    assert caught.value.limit == "max_associate_items"


def test_long_requests_take_turns() -> None:
    """What takes milliseconds to read waits until the one before is read; a usual one does not."""
    held = 0

    class Turn:
        def __enter__(self) -> None:
            nonlocal held
            held += 1

        def __exit__(self, *_: object) -> None:
            pass

    for size, turns in ((7_000, 0), (9_000, 1)):
        held = 0
        reader = PduReader(16_384, turn=Turn())
        (read,) = reader.feed(associate_request(user_items=item(0x60, bytes(size))))
        assert isinstance(read, AssociateRequest)
        assert (held, read.is_long) == (turns, bool(turns))


def test_open_pdu_is_numbered() -> None:
    """A PDU that has begun has a number of its own until it ends."""
    reader = reader_in_data()
    assert reader.open_pdu == 0
    one = pdu(P_DATA, pdv(1, 0, b"abcd"))
    list(reader.feed(one[:3]))
    assert reader.open_pdu == 1
    list(reader.feed(one[3:] + one[:3]))
    assert reader.open_pdu == 2
    list(reader.feed(one[3:]))
    assert reader.open_pdu == 0


def test_short_pdus_are_encoded() -> None:
    """The PDUs without items have the bytes of PS3.8."""
    assert encode_abort(AbortReason.UNEXPECTED_PDU) == bytes.fromhex("07000000000400000202")
    assert encode_release_response() == bytes.fromhex("06000000000400000000")
    assert encode_associate_reject(1, 1, 7) == bytes.fromhex("03000000000400010107")


@pytest.mark.parametrize("longest", [8, 20, 100, 0])
def test_command_is_cut_to_what_the_peer_takes(longest: int) -> None:
    """An answer comes in PDUs no longer than agreed, and only the last is marked so."""
    command = bytes(range(100))
    reader = reader_in_data()
    events = [kept(e) for e in reader.feed(encode_command(5, command, longest))]
    assert b"".join(data for *_, data in events) == command  # type: ignore[misc]
    assert [last for _, _, last, _ in events] == [False] * (len(events) - 1) + [True]
    stream = encode_command(5, command, longest)
    while stream:
        (length,) = struct.unpack_from(">I", stream, 2)
        assert not longest or length <= longest
        stream = stream[6 + length :]


@pytest.mark.parametrize("longest", [128, 129, 16_384, 0])
def test_data_set_is_cut_into_even_pieces(longest: int) -> None:
    """Every PDU fits, every fragment is even, the last one alone says so, and nothing is lost."""
    data = bytes(range(256)) * 300
    reader = reader_in_data(1 << 17)
    got, lasts = b"", []
    for pdus in encode_data_set(5, data, longest):
        for event in reader.feed(pdus):
            assert isinstance(event, Fragment)
            assert not event.is_command
            assert len(event.data) % 2 == 0
            assert not longest or len(event.data) + 6 <= longest
            got += event.data
            lasts.append(event.is_last)
    assert got == data
    assert lasts[-1]
    assert not any(lasts[:-1])


def test_short_pdus_of_the_peer_take_no_memory() -> None:
    """Two megabytes in PDUs of 128 bytes are made while they are sent."""
    data = bytes(2 << 20)
    tracemalloc.start()
    total = sum(map(len, encode_data_set(1, data, 128)))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert total > len(data)
    assert peak < 1 << 20
