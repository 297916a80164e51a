"""Whom the receiver hurries to acknowledge: senders that wait for it, and nobody else for long."""

from __future__ import annotations

from intu_fhir.receive.hurry import FIRST_READS, STALL_SECONDS, Hurry


def test_first_reads_are_acknowledged_at_once() -> None:
    """A short association never waits."""
    hurry = Hurry()
    assert all(hurry.is_wanted() for _ in range(FIRST_READS))


def test_a_sender_that_never_waits_is_left_alone() -> None:
    """Where bytes follow each other at once, the costs are saved after the first reads."""
    hurry = Hurry()
    for _ in range(FIRST_READS):
        hurry.is_wanted()
        hurry.waited(0.001)
    assert not hurry.is_wanted()


def test_one_stall_is_enough() -> None:
    """A sender that once waited for an acknowledgement is hurried from then on."""
    hurry = Hurry()
    for _ in range(2 * FIRST_READS):
        hurry.is_wanted()
    hurry.waited(STALL_SECONDS)
    hurry.waited(0.0)
    assert all(hurry.is_wanted() for _ in range(2 * FIRST_READS))
