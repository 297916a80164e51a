"""Slots and deadlines by themselves."""

from __future__ import annotations

import pytest

from intu_fhir.receive.deadlines import PROGRESS_BYTES, Deadlines, Overdue
from intu_fhir.receive.ledger import STALLED_SECONDS
from intu_fhir.receive.slots import Slot, Slots
from intu_fhir.settings.schema import Receiver

NOW = 1_000.0
LIMITS = Receiver(
    handshake_seconds=10,
    pdu_seconds=30,
    message_seconds=60,
    idle_seconds=300,
    association_seconds=1_000,
)


def test_request_has_to_come_in_time() -> None:
    """Without an association a connection lasts for ``handshake_seconds``, whatever it sends."""
    deadlines = Deadlines(LIMITS, opened=100.0)
    deadlines.heard(109.0, open_pdu=1)
    assert deadlines.overdue(110.0) is None
    assert deadlines.overdue(110.1) is Overdue.ASSOCIATE


def test_pdu_has_to_end_in_time() -> None:
    """Bytes of the same PDU do not put its deadline off; the next PDU has its own."""
    deadlines = Deadlines(LIMITS, opened=0.0)
    deadlines.associated(0.0)
    for now in (10.0, 20.0, 30.0, 39.0):
        deadlines.heard(now, open_pdu=1)
    assert deadlines.overdue(40.1) is Overdue.PDU
    deadlines.heard(40.2, open_pdu=2)
    assert deadlines.overdue(70.0) is None
    deadlines.heard(70.0, open_pdu=0)
    assert deadlines.overdue(200.0) is None


def inside_a_message() -> Deadlines:
    """Return the deadlines of an association whose message has begun."""
    deadlines = Deadlines(LIMITS, opened=0.0)
    deadlines.associated(0.0)
    deadlines.message_begun()
    deadlines.heard(0.0, open_pdu=0, inside_message=True)
    return deadlines


def bring(deadlines: Deadlines, now: float, count: int, *, inside_message: bool = True) -> None:
    """Let bytes come that are dealt with at once."""
    deadlines.arrived(now, count)
    deadlines.heard(now, open_pdu=0, inside_message=inside_message)


def test_message_has_to_make_progress() -> None:
    """Whole PDUs of some bytes put nothing off; 64 KB do, at whatever pace they come."""
    deadlines = inside_a_message()
    for now in (20.0, 40.0, 59.0):
        bring(deadlines, now, PROGRESS_BYTES // 4)
        assert deadlines.overdue(60.0) is None
    assert deadlines.overdue(60.1) is Overdue.MESSAGE
    bring(deadlines, 60.0, PROGRESS_BYTES // 4)
    assert deadlines.overdue(120.0) is None
    assert deadlines.overdue(120.1) is Overdue.MESSAGE


def test_end_of_a_message_is_progress() -> None:
    """Small messages, one after another or with a part of the next one, are not held to a rate."""
    deadlines = inside_a_message()
    bring(deadlines, 50.0, 100, inside_message=False)
    bring(deadlines, 100.0, 100)
    assert deadlines.overdue(155.0) is Overdue.MESSAGE
    deadlines.message_begun()
    deadlines.heard(100.0, open_pdu=0, inside_message=True)
    assert deadlines.overdue(155.0) is None


def test_time_that_we_take_is_not_the_peers() -> None:
    """A disk that hangs for minutes inside a message ends no association."""
    deadlines = inside_a_message()
    deadlines.arrived(10.0, 1_000)
    deadlines.heard(500.0, open_pdu=0, inside_message=True)
    assert deadlines.overdue(550.0) is None
    assert deadlines.overdue(550.1) is Overdue.MESSAGE


def test_silence_and_age_end_an_association() -> None:
    """Idle time counts from the last bytes, lifetime from the association."""
    deadlines = Deadlines(LIMITS, opened=0.0)
    deadlines.associated(5.0)
    assert deadlines.overdue(305.0) is None
    assert deadlines.overdue(305.1) is Overdue.IDLE
    deadlines.heard(1_000.0, open_pdu=0)
    assert deadlines.overdue(1_005.1) is Overdue.LIFETIME


class Crowd:
    """Connections that note by name who was closed."""

    def __init__(self, slots: Slots) -> None:
        self.slots, self.closed = slots, list[str]()

    def enter(self, name: str, address: str):  # type: ignore[no-untyped-def]
        """Admit one."""
        return self.slots.enter(address, lambda: self.closed.append(name))


def test_oldest_of_the_most_crowded_address_is_evicted() -> None:
    """A newcomer is always admitted, at the cost of the address that waits most."""
    crowd = Crowd(Slots(20, 20))
    honest = crowd.enter("honest", "10.0.0.1")
    for number in range(20):
        crowd.enter(f"silent {number}", "10.6.6.6")
    assert crowd.closed == ["silent 0"]
    assert crowd.slots.associate(honest, NOW) == ""
    assert crowd.slots.pending == 19


def test_evicted_connection_gets_no_association() -> None:
    """Who was evicted cannot associate any more, and leaving twice is harmless."""
    crowd = Crowd(Slots(1, 1))
    waiting = [crowd.enter(f"waiting {number}", "10.0.0.1") for number in range(17)]
    assert crowd.slots.associate(waiting[0], NOW) == "max_associations"
    assert crowd.slots.associate(waiting[1], NOW) == ""
    for slot in waiting * 2:
        crowd.slots.leave(slot)
    assert (crowd.slots.pending, crowd.slots.associations) == (0, 0)


def test_ended_association_gives_its_place_back_before_its_peer_has_closed() -> None:
    """Who lingers after the release keeps a newcomer from no place, and has to go for one."""
    crowd = Crowd(Slots(1, 1))
    released = crowd.enter("released", "10.0.0.1")
    assert crowd.slots.associate(released, NOW) == ""
    crowd.slots.linger(released)
    newcomer = crowd.enter("newcomer", "10.0.0.2")
    assert crowd.slots.associate(newcomer, NOW) == ""
    assert (crowd.slots.pending, crowd.slots.associations) == (1, 1)
    for number in range(16):
        crowd.enter(f"silent {number}", "10.0.0.1")
    assert crowd.closed == ["released"]
    crowd.slots.leave(released)
    assert (crowd.slots.pending, crowd.slots.associations) == (16, 1)


@pytest.mark.parametrize(("addresses", "granted"), [("aaaa", 2), ("aabbcc", 5), ("abcdefg", 5)])
def test_associations_are_limited_in_all_and_by_address(addresses: str, granted: int) -> None:
    """Five in all and two of one address are granted, no more."""
    crowd = Crowd(Slots(5, 2))
    answers = []
    for name in addresses:
        slot = crowd.enter(name, name)
        answers.append(crowd.slots.associate(slot, NOW) == "")
        if not answers[-1]:
            crowd.slots.leave(slot)
    assert sum(answers) == granted
    assert crowd.slots.associations == granted


def associated(slots: Slots, *addresses: str) -> list[Slot]:
    """Let one association of each address take a place, and then be quiet, one after another."""
    taken = []
    for second, address in enumerate(addresses):
        slot = slots.enter(address, lambda: None)
        assert slots.associate(slot, NOW) == ""
        assert slot.place is not None
        slot.place.waits(NOW + second, inside_message=False)
        taken.append(slot)
    return taken


def test_newcomer_gets_the_place_that_rests_longest_of_the_peer_with_most() -> None:
    """Who holds fewer is let in at the cost of who holds most; who holds as many is not."""
    slots = Slots(5, 3)
    first, second, third, *others = associated(slots, *("10.6.6.6",) * 3, "10.0.0.1", "10.0.0.2")
    newcomer = slots.enter("10.0.0.3", lambda: None)
    assert slots.associate(newcomer, NOW + 10) == ""
    assert first.is_lost
    assert not any(slot.is_lost for slot in (second, third, newcomer, *others))
    again = slots.enter("10.0.0.3", lambda: None)
    assert slots.associate(again, NOW + 10) == "max_associations"
    slots.leave(first)
    assert not newcomer.is_lost


def test_peer_without_a_place_gets_one_of_as_many_peers_as_there_are_places() -> None:
    """Where every peer has one place, the one that rests longest goes to a newcomer."""
    slots = Slots(3, 3)
    taken = associated(slots, "10.0.0.1", "10.0.0.2", "10.0.0.3")
    assert slots.associate(slots.enter("10.0.0.4", lambda: None), NOW + 10) == ""
    assert [slot.is_lost for slot in taken] == [True, False, False]


def test_association_at_work_keeps_its_place() -> None:
    """What is being dealt with, and a message on its way, is not torn; one that stalls is."""
    slots = Slots(2, 2)
    works, sends = associated(slots, "10.6.6.6", "10.6.6.6")
    assert works.place is not None
    assert sends.place is not None
    works.place.works()
    sends.place.waits(NOW, inside_message=True)
    newcomer = slots.enter("10.0.0.1", lambda: None)
    assert slots.associate(newcomer, NOW + STALLED_SECONDS - 0.1) == "max_associations"
    assert slots.associate(newcomer, NOW + STALLED_SECONDS + 0.1) == ""
    assert (works.is_lost, sends.is_lost) == (False, True)


def test_pause_between_two_objects_is_no_rest() -> None:
    """A busy sender with many places keeps them while others have rested for long."""
    slots = Slots(3, 3)
    *busy, resting = associated(slots, "10.0.0.1", "10.0.0.1", "10.0.0.2")
    for slot in busy:
        assert slot.place is not None
        slot.place.waits(NOW + 9.9, inside_message=False)
    assert slots.associate(slots.enter("10.0.0.3", lambda: None), NOW + 10) == ""
    assert resting.is_lost
    assert not any(slot.is_lost for slot in busy)


@pytest.mark.parametrize(
    ("form", "granted"),
    [("2001:db8:1:2::{:x}", 50), ("2001:db8:1:{:x}::1", 51), ("::ffff:10.0.0.{}", 51)],
)
def test_one_network_of_version_6_is_one_peer(form: str, granted: int) -> None:
    """A host that takes address after address of its network gets the places of one address."""
    slots = Slots(100, 50)
    waiting = [slots.enter(form.format(number), lambda: None) for number in range(51)]
    assert [slots.associate(slot, NOW) for slot in waiting].count("") == granted


def test_mapped_and_plain_form_of_an_address_are_one_peer() -> None:
    """An IPv4 peer is the same on a socket of version 6."""
    slots = Slots(100, 50)
    associated(slots, *("::ffff:10.0.0.1",) * 50)
    last = slots.enter("10.0.0.1", lambda: None)
    assert slots.associate(last, NOW) == "max_associations_per_address"


@pytest.mark.parametrize(("processes", "pending"), [(1, 100), (2, 50), (3, 34), (64, 16)])
def test_processes_share_those_that_wait(processes: int, pending: int) -> None:
    """All receiving processes together let about as many wait as one would."""
    slots = Slots(100, 50, processes=processes)
    for number in range(150):
        slots.enter(f"10.0.0.{number}", lambda: None)
    assert slots.pending == pending
