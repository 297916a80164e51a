"""Every limit: refuses clearly, and is counted under the name of its setting."""

from __future__ import annotations

import select
import struct
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from intu_fhir.errors import Busy, LimitPassed
from intu_fhir.model.instance import Accepted, ReceivedObject
from intu_fhir.observe.metrics import (
    RECEIVE_ASSOCIATIONS,
    RECEIVE_CONNECTIONS,
    RECEIVE_LIMITS,
)
from intu_fhir.receive.ports import EndReason
from intu_fhir.settings.receiver import StorageCommitment
from intu_fhir.settings.schema import Receiver, ServerTls
from tests.integration.receive.conftest import StartReceiving
from tests.support.certificates import Authority
from tests.support.clock import FakeClock
from tests.support.raw_peer import (
    ABORT,
    ASSOCIATE_RJ,
    COMMAND,
    CT_ID,
    IMPLICIT,
    P_DATA,
    RELEASE_RP,
    VERIFICATION,
    RawPeer,
    associate_request,
    item,
    pdu,
    pdv,
    status_of,
    store_command,
)
from tests.support.receiving import Receiving, Recorder, limits
from tests.support.studies import data_set_bytes, make_instance, uid
from tests.support.waiting import wait_until

UID = uid("study", 1, 1)
OBJECT = data_set_bytes(make_instance())
Attack = Callable[[Receiving], None]
NO_LIMITS = {"character_sets"}
REJECTED = "connection_without_association"


def too_long_pdu(receiving: Receiving) -> None:
    """Claim a P-DATA-TF that is longer than agreed."""
    with RawPeer(receiving.port) as peer:
        peer.associate()
        peer.send(struct.pack(">BxI", P_DATA, 16_385))
        assert peer.read() == (ABORT, bytes((0, 0, 2, 6)))


def too_large_object(receiving: Receiving) -> None:
    """Send more than an object may have."""
    with RawPeer(receiving.port) as peer:
        peer.associate()
        assert status_of(peer.store(OBJECT + bytes(9_000), UID)) == 0xA700


def too_long_command(receiving: Receiving) -> None:
    """Send a command set without end."""
    with RawPeer(receiving.port) as peer:
        peer.associate()
        for _ in range(3):
            peer.send_pdvs(pdv(CT_ID, COMMAND, bytes(8_000)))
        assert peer.is_ended()


def _associate_twice(receiving: Receiving) -> None:
    with ExitStack() as stack:
        stack.enter_context(RawPeer(receiving.port)).associate()
        second = stack.enter_context(RawPeer(receiving.port))
        second.send(associate_request())
        assert second.read() == (ASSOCIATE_RJ, bytes((0, 2, 3, 2)))


def too_many_contexts(receiving: Receiving) -> None:
    """Propose more contexts than are taken."""
    with RawPeer(receiving.port) as peer:
        peer.send(associate_request())
        assert peer.read() == (ASSOCIATE_RJ, bytes((0, 1, 3, 2)))


def too_many_contexts_to_count(receiving: Receiving) -> None:
    """Propose more contexts than there are numbers for."""
    contexts = tuple((n % 256, VERIFICATION, (IMPLICIT,)) for n in range(1, 2 * 129, 2))
    with RawPeer(receiving.port) as peer:
        peer.send(associate_request(contexts))
        assert peer.read() == (ASSOCIATE_RJ, bytes((0, 1, 3, 2)))


def too_long_request(receiving: Receiving) -> None:
    """Claim an A-ASSOCIATE-RQ that is longer than taken."""
    with RawPeer(receiving.port) as peer:
        peer.send(struct.pack(">BxI", 1, 131_073))
        assert peer.read() == (ABORT, bytes((0, 0, 2, 6)))


def too_many_items(receiving: Receiving) -> None:
    """Fill an A-ASSOCIATE-RQ with the smallest items there are."""
    with RawPeer(receiving.port) as peer:
        peer.send(associate_request(user_items=item(0x60, b"") * 4_096))
        assert peer.read() == (ABORT, bytes((0, 0, 2, 6)))


def silence_before_the_request(receiving: Receiving) -> None:
    """Connect and say nothing."""
    with RawPeer(receiving.port) as peer:
        assert peer.is_ended()


def silence_inside_a_pdu(receiving: Receiving) -> None:
    """Stop inside of a PDU."""
    with RawPeer(receiving.port) as peer:
        peer.associate()
        peer.send(struct.pack(">BxI", P_DATA, 16_000))
        assert peer.is_ended()


def drip_inside_a_message(receiving: Receiving) -> None:
    """Send whole PDUs of a byte each, far more often than idle time or a PDU's would end."""
    with RawPeer(receiving.port) as peer:
        peer.associate()
        peer.send_command(store_command(UID))
        with suppress(OSError):
            while not select.select([peer.socket], [], [], 0.05)[0]:
                peer.send_data(b"1", last=False)
        assert peer.is_ended()


def silence_between_messages(receiving: Receiving) -> None:
    """Associate and say nothing more."""
    with RawPeer(receiving.port) as peer:
        peer.associate()
        assert peer.is_ended()


def no_space(receiving: Receiving) -> None:
    """Send where the disk is too full."""
    with RawPeer(receiving.port) as peer:
        peer.associate()
        assert status_of(peer.store(OBJECT, UID)) == 0xA700


ATTACKS: dict[str, tuple[dict[str, Any], Attack]] = {
    "max_pdu_bytes": ({}, too_long_pdu),
    "max_object_bytes": ({"max_object_bytes": 8_000}, too_large_object),
    "max_command_bytes": ({}, too_long_command),
    "max_associations": ({"max_associations": 1, "idle_seconds": 60}, _associate_twice),
    "max_associations_per_address": (
        {"max_associations_per_address": 1, "idle_seconds": 60},
        _associate_twice,
    ),
    "max_contexts": ({"max_contexts": 2}, too_many_contexts),
    "max_contexts as shipped": ({}, too_many_contexts_to_count),
    "max_associate_bytes": ({}, too_long_request),
    "max_associate_items": ({}, too_many_items),
    "handshake_seconds": ({"handshake_seconds": 0.2}, silence_before_the_request),
    "pdu_seconds": ({"pdu_seconds": 0.2}, silence_inside_a_pdu),
    "message_seconds": ({"message_seconds": 0.4}, drip_inside_a_message),
    "idle_seconds": ({"idle_seconds": 0.2}, silence_between_messages),
    "min_free_bytes": ({"min_free_bytes": 1 << 60}, no_space),
}
BEHIND_ACCEPT = {"max_nesting", "max_inflated_bytes", "max_inflating", "max_elements"}
ON_THE_CLOCK = {"association_seconds"}
OF_THE_PROGRAM = {"shutdown_grace_seconds", "storage_commitment", "processes"}


OF_COMMITMENT = {
    "max_instances",
    "max_waiting",
    "max_waiting_of_one",
    "max_waiting_instances",
    "max_waiting_instances_of_one",
}


def counted(limit: str) -> float:
    """Return how often a limit was passed."""
    return float(RECEIVE_LIMITS.labels("test", limit)._value.get())


@pytest.mark.parametrize("name", ATTACKS)
def test_limit_refuses_and_is_counted(name: str, start_receiving: StartReceiving) -> None:
    """Whoever passes a limit is refused as the standard says, and the limit is counted."""
    (changes, attack), limit = ATTACKS[name], name.split()[0]
    receiving = start_receiving(receiver=limits(**changes))
    before = counted(limit)
    attack(receiving)
    wait_until(lambda: counted(limit) == before + 1)


def test_limits_are_counted_from_zero(start_receiving: StartReceiving) -> None:
    """Before anything happens each limit, end and outcome stands at 0: so its first one rises."""
    start_receiving(channel_id="untouched")
    told = {
        (sample.name, *sample.labels.values()): sample.value
        for metric in (RECEIVE_LIMITS, RECEIVE_CONNECTIONS, RECEIVE_ASSOCIATIONS)
        for family in metric.collect()
        for sample in family.samples
        if sample.name.endswith("_total") and sample.labels["channel"] == "untouched"
    }
    settings = set(Receiver.model_fields) - NO_LIMITS - OF_THE_PROGRAM
    of_commitment = set(StorageCommitment.model_fields) & OF_COMMITMENT
    assert of_commitment == OF_COMMITMENT
    settings |= {f"storage_commitment.{name}" for name in of_commitment}
    ends = {end.value for end in EndReason}
    assert told == {
        **{("intu_receive_limits_total", "untouched", name): 0 for name in settings},
        **{("intu_receive_associations_total", "untouched", name): 0 for name in ends},
        **{
            ("intu_receive_connections_total", "untouched", name): 0
            for name in ends | {"address_refused", "accept_failed", "no_thread"}
        },
    }


@pytest.mark.parametrize("limit", ["max_associations", "max_associations_per_address"])
def test_rejection_names_its_limit_in_the_log(limit: str, start_receiving: StartReceiving) -> None:
    """A warning says which of the two settings kept a peer out."""
    receiving = start_receiving(receiver=limits(**{limit: 1, "idle_seconds": 60}))
    with capture_logs() as logs:
        _associate_twice(receiving)
        wait_until(lambda: any(line["event"] == REJECTED for line in logs))
    (line,) = (line for line in logs if line["event"] == REJECTED)
    assert (line["log_level"], line["limit"]) == ("warning", limit)


def test_eviction_is_counted(start_receiving: StartReceiving) -> None:
    """A silent connection that has to make room is closed and counted as what it is."""
    receiver = limits(max_associations=1, handshake_seconds=60)
    receiving = start_receiving(receiver=receiver)
    before = counted("max_associations")
    with capture_logs() as logs, ExitStack() as stack:
        silent = [stack.enter_context(RawPeer(receiving.port)) for _ in range(17)]
        silent[-1].associate()
        assert silent[0].is_ended()
        wait_until(lambda: counted("max_associations") == before + 1)
        wait_until(lambda: any(line.get("detail") == "evicted" for line in logs))


def test_released_association_frees_its_place_at_once(start_receiving: StartReceiving) -> None:
    """A peer that has got its A-RELEASE-RP and does not close keeps nobody out."""
    receiving = start_receiving(receiver=limits(max_associations=1, idle_seconds=60))
    with RawPeer(receiving.port) as released:
        released.associate()
        released.send(pdu(5, bytes(4)))
        assert released.read()[0] == RELEASE_RP
        receiving.recorder.wait_for_ends()
        with RawPeer(receiving.port) as peer:
            peer.associate()


def test_lost_place_is_counted(start_receiving: StartReceiving, clock: FakeClock) -> None:
    """An idle association that gives way to another peer's is counted and logged as what it is."""
    receiving = start_receiving(clock=clock, receiver=limits(max_associations=1, idle_seconds=60))
    before = counted("max_associations")
    with capture_logs() as logs, RawPeer(receiving.port) as idle:
        idle.associate()
        assert status_of(idle.echo()) == 0x0000
        wait_until(lambda: receiving.resting() == 1)
        with RawPeer(receiving.port, source="127.0.0.2") as peer:
            peer.associate()
            assert idle.is_ended()
            wait_until(lambda: counted("max_associations") == before + 1)
        ends = [line for line in logs if line["event"] == "association_ended"]
        assert (ends[0]["detail"], ends[0]["limit"]) == ("evicted", "max_associations")


def test_tls_eviction_is_counted(start_receiving: StartReceiving, tmp_path: Path) -> None:
    """A silent TLS client that has to make room is counted so, and not as a broken handshake."""
    server = Authority(tmp_path / "ca").issue("server")
    tls = ServerTls(cert_file=server.cert_file, key_file=server.key_file)
    receiver = limits(max_associations=2, handshake_seconds=60)
    receiving = start_receiving(receiver=receiver, tls=tls)
    before = counted("max_associations")
    with capture_logs() as logs, ExitStack() as stack:
        silent = [stack.enter_context(RawPeer(receiving.port)) for _ in range(20)]
        assert silent[0].is_ended()
        wait_until(lambda: counted("max_associations") == before + 4)
        details = [line.get("detail") for line in logs if "detail" in line]
    assert details == ["evicted"] * 4


def test_lifetime_is_counted(start_receiving: StartReceiving, clock: FakeClock) -> None:
    """An association that outlives ``association_seconds`` is aborted and counted."""
    receiving = start_receiving(clock=clock, receiver=limits(association_seconds=1.5))
    before = counted("association_seconds")
    with RawPeer(receiving.port) as peer:
        peer.associate()
        clock.advance(1.6)
        assert peer.is_ended()
    wait_until(lambda: counted("association_seconds") == before + 1)


@pytest.mark.parametrize("limit", sorted(BEHIND_ACCEPT))
def test_limit_of_reading_is_counted(limit: str, start_receiving: StartReceiving) -> None:
    """What is too much to read is answered and counted by the limit that says so."""
    busy = limit == "max_inflating"

    def refuse(received: ReceivedObject, data: bytes) -> Accepted:
        raise (Busy if busy else LimitPassed)("too much", limit)

    receiving = start_receiving(recorder=Recorder(refuse))
    before = counted(limit)
    with RawPeer(receiving.port) as peer:
        peer.associate()
        answer = peer.store(OBJECT, UID)
        assert status_of(answer) == (0xA700 if busy else 0xC000)
        words = b"long objects at once" if busy else limit.encode()
        assert words in answer[0x0902]
        peer.send(pdu(5, bytes(4)))
    assert counted(limit) == before + 1


def test_every_setting_is_shown_here() -> None:
    """A limit that is added to the settings has to be added to this file."""
    shown = {*(name.split()[0] for name in ATTACKS), *BEHIND_ACCEPT, *ON_THE_CLOCK, *OF_THE_PROGRAM}
    assert set(Receiver.model_fields) - NO_LIMITS == shown
