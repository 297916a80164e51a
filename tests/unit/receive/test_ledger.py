"""One count of associations for several processes."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from intu_fhir.receive.ledger import Ledger, make_ledger_file
from intu_fhir.receive.slots import Slots


@pytest.fixture
def descriptor() -> Iterator[int]:
    """A shared file for four associations."""
    made = make_ledger_file(4)
    yield made
    os.close(made)


def test_limits_hold_over_processes(descriptor: int) -> None:
    """What one process has taken another one cannot take, in all and by address."""
    first, second = Ledger(descriptor, 1), Ledger(descriptor, 2)
    assert [first.take("a", 2), second.take("a", 2)] == ["", ""]
    assert first.take("a", 2) == "max_associations_per_address"
    assert [second.take("b", 2), first.take("c", 2)] == ["", ""]
    assert second.take("d", 2) == "max_associations"
    first.give("a")
    assert second.take("d", 2) == ""
    assert first.taken() == second.taken() == 4


def test_only_own_entries_are_given_back(descriptor: int) -> None:
    """A process gives back what is its own; giving back too much changes nothing."""
    first, second = Ledger(descriptor, 1), Ledger(descriptor, 2)
    first.take("a", 4)
    second.give("a")
    second.give("b")
    assert first.taken() == 1


def test_entries_of_a_dead_process_are_cleared(descriptor: int) -> None:
    """What a dead process held is free again; what others hold stays."""
    first, second = Ledger(descriptor, 1), Ledger(descriptor, 2)
    first.take("a", 4)
    for address in "abc":
        second.take(address, 4)
    first.clear(2)
    assert first.taken() == 1


_TAKER = """
import sys
from intu_fhir.receive.ledger import Ledger
ledger = Ledger(int(sys.argv[1]), int(sys.argv[2]))
for number in range(500):
    assert ledger.take("a", 4) == ""
    ledger.give("a")
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
    assert [one.associate(slot) for slot in slots] == ["", ""]
    third, fourth = (other.enter("a", lambda: None) for _ in range(2))
    assert other.associate(third) == ""
    assert other.associate(fourth) == "max_associations_per_address"
    one.leave(slots[0])
    one.leave(slots[0])
    assert ledgers[0].taken() == 2
    assert other.associate(fourth) == ""
