"""Who may connect at all."""

from __future__ import annotations

import pytest

from intu_fhir.receive.door import Door

DOOR = Door(("10.1.0.0/16", "192.168.7.5/32", "fd00:1::/32"))


@pytest.mark.parametrize(
    ("address", "admitted"),
    [
        ("10.1.255.3", True),
        ("10.2.0.1", False),
        ("192.168.7.5", True),
        ("192.168.7.6", False),
        ("::ffff:10.1.2.3", True),
        ("::ffff:10.2.2.3", False),
        ("fd00:1::7", True),
        ("fd00:1::7%eth0", True),
        ("fd00:2::7", False),
        ("", False),
        ("scanner", False),
    ],
)
def test_addresses_are_admitted_by_network(address: str, admitted: bool) -> None:
    """An address is admitted if a network holds it, written as version 4 or 6."""
    assert DOOR.admits(address) is admitted


def test_refusal_is_news_once_a_minute() -> None:
    """Each address makes one line a minute, however often it tries."""
    door = Door(("10.1.0.0/16",))
    assert door.is_news("10.2.0.1", 100.0)
    assert not door.is_news("10.2.0.1", 159.9)
    assert door.is_news("10.2.0.2", 159.9)
    assert door.is_news("10.2.0.1", 160.0)


def test_memory_of_refusals_is_bounded() -> None:
    """Very many addresses are forgotten together instead of filling memory."""
    door = Door(("10.1.0.0/16",))
    for number in range(10_001):
        assert door.is_news(f"a{number}", 0.0)
    assert door.is_news("a0", 1.0)
