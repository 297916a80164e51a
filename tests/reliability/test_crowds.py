"""N-01 to N-05 at once, in small: ``python -m tests.reliability.crowds`` has the whole crowds."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.reliability import crowds
from tests.reliability.crowds import CROWDS, LIMITS, SHIPPED, Felt, Site, bear, site

_TRIES = 3
"""A machine that has other work may be slow once; who keeps others out does it each time."""

OF_ASSOCIATIONS = "N-01 200 idle associations"
WELL = Felt("N-03 PDUs of 500 MB", echoes=20, failed=0, slowest=0.9, megabytes=4.9, spooled=0)


def borne(one: Site, name: str) -> Felt:
    """Return what a crowd cost at its best."""
    for _ in range(_TRIES):
        felt = bear(one, name, 1.0)
        if not felt.is_bad():
            break
    return felt


@pytest.mark.timed
def test_an_honest_peer_is_served_whatever_others_do() -> None:
    """During each attack a C-ECHO is answered within a second, and nothing is left behind."""
    with site() as one:
        felt = [borne(one, name) for name in CROWDS]
    assert [one.line() for one in felt if one.is_bad()] == []


@pytest.mark.timed
def test_an_honest_peer_is_served_with_limits_as_shipped() -> None:
    """Idle peers of two or four addresses keep nobody out of a receiver that nobody has tuned."""
    with site(SHIPPED) as one:
        felt = [borne(one, name) for name in CROWDS if name.startswith("N-01")]
    assert [one.line() for one in felt if one.is_bad()] == []


def test_a_crowd_that_keeps_others_out_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who shares an address with a crowd that has all its places is rejected: that is told."""
    monkeypatch.setattr(crowds, "SOURCES", ("127.0.0.1",))
    with site(LIMITS | {"max_associations_per_address": 20}) as one:
        felt = bear(one, OF_ASSOCIATIONS, 1.0)
    assert felt.failed > 0
    assert felt.is_bad()


@pytest.mark.parametrize(
    "changes",
    [{"failed": 1}, {"spooled": 1}, {"slowest": 1.0}, {"echoes": 0}, {"megabytes": 5.0}],
)
def test_each_cost_is_judged(changes: dict[str, float]) -> None:
    """A second, a file or a megabyte too much is bad, and so is a test that asked nothing."""
    assert not WELL.is_bad()
    assert replace(WELL, **changes).is_bad()  # type: ignore[arg-type]


def test_each_crowd_has_its_bound() -> None:
    """No crowd may make the process grow without one."""
    assert all(crowds.bound(name) <= 100 for name in CROWDS)
