"""One count of associations for several processes."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from intu_fhir.receive.ledger import Ledger, Place, make_ledger_file
from intu_fhir.receive.slots import Slots

NOW = 1_000.0


@pytest.fixture
def descriptor() -> Iterator[int]:
    """A shared file for four associations."""
    made = make_ledger_file(4)
    yield made
    os.close(made)


def taken(ledger: Ledger, peer: str, max_per_peer: int = 4, now: float = NOW) -> Place:
    """Return a place that there has to be."""
    place = ledger.take(peer, max_per_peer, now)
    assert isinstance(place, Place)
    return place


def test_limits_hold_over_processes(descriptor: int) -> None:
    """What one process has taken another one cannot take, in all and by address."""
    first, second = Ledger(descriptor, 1), Ledger(descriptor, 2)
    given = taken(first, "a", 2)
    taken(second, "a", 2)
    assert first.take("a", 2, NOW) == "max_associations_per_address"
    taken(second, "b", 2)
    taken(first, "c", 2)
    assert second.take("d", 2, NOW) == "max_associations"
    first.give(given)
    taken(second, "d", 2)
    assert first.taken() == second.taken() == 4


def test_place_is_given_back_once(descriptor: int) -> None:
    """Giving back what another one has got meanwhile changes nothing."""
    first, second = Ledger(descriptor, 1), Ledger(descriptor, 2)
    place = taken(first, "a")
    first.give(place)
    again = taken(second, "b")
    assert again.index == place.index
    first.give(place)
    assert first.taken() == 1
    assert again.is_ours


def test_place_at_rest_goes_to_a_peer_in_another_process(descriptor: int) -> None:
    """Where all are taken, whoever has most loses one, in whatever process; its owner sees it."""
    first, second = Ledger(descriptor, 1), Ledger(descriptor, 2)
    places = [taken(first, "a") for _ in range(4)]
    for place in places[1:3]:
        place.waits(NOW, inside_message=False)
    newcomer = taken(second, "b", now=NOW + 2)
    assert [place.is_ours for place in places] == [True, False, True, True]
    places[1].waits(NOW, inside_message=False)
    first.give(places[1])
    assert newcomer.is_ours
    assert second.taken() == 4
    assert not isinstance(second.take("b", 4, NOW + 2), str)
    assert second.take("b", 4, NOW + 2) == "max_associations"
    assert newcomer.is_ours


def test_entries_of_a_dead_process_are_cleared(descriptor: int) -> None:
    """What a dead process held is free again; what others hold stays."""
    first, second = Ledger(descriptor, 1), Ledger(descriptor, 2)
    taken(first, "a")
    for peer in "abc":
        taken(second, peer)
    first.clear(2)
    assert first.taken() == 1


_TAKER = """
import sys
from intu_fhir.receive.ledger import Ledger
ledger = Ledger(int(sys.argv[1]), int(sys.argv[2]))
for number in range(500):
    place = ledger.take("a", 4, 1.0)
    assert place.is_ours
    place.waits(1.0, inside_message=True)
    ledger.give(place)
"""


def test_processes_do_not_disturb_each_other(descriptor: int) -> None:
    """Four processes that take and give at the same time never find the count wrong."""
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", _TAKER, str(descriptor), str(number)], pass_fds=(descriptor,)
        )
        for number in range(1, 5)
    ]
    assert [process.wait(60) for process in processes] == [0, 0, 0, 0]
    assert Ledger(descriptor, 9).taken() == 0


def test_slots_count_in_the_ledger(descriptor: int) -> None:
    """Slots of two processes share the limits and give back what they took."""
    ledgers = Ledger(descriptor, 1), Ledger(descriptor, 2)
    one, other = (Slots(4, 3, ledger) for ledger in ledgers)
    slots = [one.enter("a", lambda: None) for _ in range(2)]
    assert [one.associate(slot, NOW) for slot in slots] == ["", ""]
    third, fourth = (other.enter("a", lambda: None) for _ in range(2))
    assert other.associate(third, NOW) == ""
    assert other.associate(fourth, NOW) == "max_associations_per_address"
    one.leave(slots[0])
    one.leave(slots[0])
    assert ledgers[0].taken() == 2
    assert other.associate(fourth, NOW) == ""
