"""Each test of a fault finds a receiver that has it: a proof that cannot fail proves nothing."""

from __future__ import annotations

import pytest

from tests.reliability.wrong_receivers import CASES, Case, caught

pytestmark = [pytest.mark.slow, pytest.mark.timeout(330)]


@pytest.fixture(scope="module")
def found() -> dict[str, bool]:
    """Which faults were found when all cases ran."""
    return caught()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.fault)
def test_a_wrong_receiver_is_caught(case: Case, found: dict[str, bool]) -> None:
    """The test of a fault fails on a receiver that is wrong in just that."""
    assert found.get(case.fault) is True, f"{case.wrong} was not caught by {case.test}"
