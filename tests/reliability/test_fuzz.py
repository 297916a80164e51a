"""N-07 and F-01 in small; the commands of ``fuzz_pdus`` and ``fuzz_data_sets`` run at length."""

from __future__ import annotations

import pytest

from tests.reliability.fuzz_data_sets import dcmdump_says, fuzz
from tests.reliability.fuzz_pdus import fuzz_inside, fuzz_sockets
from tests.reliability.ground import ground
from tests.support.damaged import Original, originals
from tests.support.mutants import OPTIMIST, TRUSTING, trust_lengths
from tests.support.programs import require
from tests.support.receivers import Receivers


@pytest.fixture(scope="module")
def sources() -> list[Original]:
    """Originals that DCMTK reads, too."""
    require("dcmdump")
    return [one for one in originals() if not dcmdump_says(one)]


def test_damaged_pdus_raise_our_own_error_only() -> None:
    """N-07: whatever a conversation holds, the protocol modules go on or say violation."""
    tally = fuzz_inside(20_000, seed=3)
    assert tally.wrong == []
    assert tally.outcomes["violation"] > 500
    assert tally.outcomes["released"] > 50


def test_trusted_lengths_are_found_out() -> None:
    """N-07 can fail: a reader that trusts the length of a PDV raises a foreign error."""
    with trust_lengths():
        assert fuzz_inside(20_000, seed=3).wrong


@pytest.mark.timed
@pytest.mark.parametrize("mutant", ["", TRUSTING])
def test_receiver_survives_damaged_pdus(receivers: Receivers, mutant: str) -> None:
    """N-07: over sockets it lives, serves others and leaves nothing; a trusting one is found."""
    with ground("sqlite") as place:
        *_, tally = fuzz_sockets(receivers, place, 6_000, seed=3, peers=4, mutant=mutant)
    assert bool(tally.wrong) is bool(mutant), tally.wrong
    assert tally.pdus >= 6_000 or mutant
    assert tally.requests > 10 or mutant


def test_damaged_data_sets_have_their_status(
    receivers: Receivers, sources: list[Original], database_kind: str
) -> None:
    """F-01: damaged data sets are refused by the table, or are whole and staged."""
    with ground(database_kind) as place:
        tally = fuzz(receivers, place, sources, 400, seed=3, ask=40)
    assert tally.wrong == []
    assert tally.statuses[0xC000] > 50
    assert tally.statuses[0x0000] > 50
    assert tally.asked > 10


def test_accepted_cuts_are_found_out(receivers: Receivers, sources: list[Original]) -> None:
    """F-01 can fail: a receiver that takes what is cut off is contradicted by dcmdump."""
    with ground("sqlite") as place:
        tally = fuzz(receivers, place, sources, 300, seed=3, ask=150, mutant=OPTIMIST)
    assert any("dcmdump says" in wrong for wrong in tally.wrong)
