"""Slots and deadlines by themselves."""

from __future__ import annotations

import pytest

from intu_fhir.receive.deadlines import Deadlines, Overdue
from intu_fhir.receive.slots import Slots
from intu_fhir.settings.schema import Receiver

LIMITS = Receiver(handshake_seconds=10, pdu_seconds=30, idle_seconds=300, association_seconds=1_000)


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
    crowd = Crowd(Slots(3, 3))
    honest = crowd.enter("honest", "10.0.0.1")
    crowd.enter("first", "10.6.6.6")
    crowd.enter("second", "10.6.6.6")
    crowd.enter("third", "10.6.6.6")
    assert crowd.closed == ["first"]
    assert crowd.slots.associate(honest) == ""
    assert crowd.slots.pending == 2


def test_evicted_connection_gets_no_association() -> None:
    """Who was evicted cannot associate any more, and leaving twice is harmless."""
    crowd = Crowd(Slots(1, 1))
    first = crowd.enter("first", "10.0.0.1")
    second = crowd.enter("second", "10.0.0.1")
    assert crowd.slots.associate(first) == "max_associations"
    assert crowd.slots.associate(second) == ""
    for _ in range(2):
        crowd.slots.leave(first)
        crowd.slots.leave(second)
    assert (crowd.slots.pending, crowd.slots.associations) == (0, 0)


@pytest.mark.parametrize(("addresses", "granted"), [("aaaa", 2), ("aabbcc", 5), ("abcdefg", 5)])
def test_associations_are_limited_in_all_and_by_address(addresses: str, granted: int) -> None:
    """Five in all and two of one address are granted, no more."""
    crowd = Crowd(Slots(5, 2))
    answers = []
    for name in addresses:
        slot = crowd.enter(name, name)
        answers.append(crowd.slots.associate(slot) == "")
        if not answers[-1]:
            crowd.slots.leave(slot)
    assert sum(answers) == granted
    assert crowd.slots.associations == granted
