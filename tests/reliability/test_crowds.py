"""N-01 to N-05 at once, in small: ``python -m tests.reliability.crowds`` has the whole crowds."""

from __future__ import annotations

import pytest

from tests.reliability.crowds import CROWDS, bear, site

_BUSY_MACHINE_SECONDS = 4.0
"""Less than the honest peer waits; the command asks for an answer within a second."""


@pytest.mark.timed
def test_an_honest_peer_is_served_whatever_others_do() -> None:
    """During each attack a C-ECHO is answered, and nothing is left behind."""
    with site() as one:
        felt = [bear(one, name, 1.0) for name in CROWDS]
    assert [one.line() for one in felt if one.is_bad(_BUSY_MACHINE_SECONDS)] == []


def test_a_crowd_that_keeps_others_out_is_seen() -> None:
    """With slots for fewer associations than the crowd holds, the honest peer is rejected."""
    with site(max_associations=20, max_associations_per_address=20) as one:
        felt = bear(one, "N-01 200 idle associations", 1.0)
    assert felt.failed > 0
    assert felt.is_bad()
