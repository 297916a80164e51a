"""Passes by what waits in the spool of another machine, instead of going over it at each look."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta

from intu_fhir.db.described import Seen, look_along
from intu_fhir.db.session import Connection

LOOK_ROWS = 1_000
"""Instances that one look goes over."""

MOST_LOOKS = 50
"""Looks at a time: what lies behind so many is looked at by the next one."""

LONG = timedelta(seconds=30)
"""What comes to another machine can be read here seconds later; after this long its machine is
down, or is behind with its uploads."""


class Passing:
    """How far a describer has passed by what it cannot read.

    Beyond that it looks at everything each time. What it has passed is looked at again a part at a
    time, so that the rows of a machine that never comes back cost the same however many they are.
    """

    def __init__(self) -> None:
        self._passed = self._seen_again = 0

    def by(self, connection: Connection, here: str, now: datetime) -> Iterator[list[int]]:
        """Give the keys of what can be read now, the oldest first, a part at a time."""
        yield self._look_again(connection, here)
        after, at_its_end = self._passed, True
        for _ in range(MOST_LOOKS):
            seen = look_along(connection, here, LOOK_ROWS, after=after)
            if at_its_end:
                passed = waiting_for_long(seen, now)
                self._passed = max(self._passed, *(one.instance_key for one in passed), 0)
                at_its_end = len(passed) == len(seen)
            yield [one.instance_key for one in seen if one.is_here]
            if len(seen) < LOOK_ROWS:
                break
            after = seen[-1].instance_key

    def _look_again(self, connection: Connection, here: str) -> list[int]:
        """Return what can be read now of the next part of what was passed."""
        if not self._passed:
            return []
        after, until = self._seen_again, self._passed
        seen = look_along(connection, here, LOOK_ROWS, after=after, until=until)
        can_be_read = [one.instance_key for one in seen if one.is_here]
        if not can_be_read:
            self._seen_again = seen[-1].instance_key if len(seen) == LOOK_ROWS else 0
        return can_be_read


def waiting_for_long(seen: Sequence[Seen], now: datetime) -> list[Seen]:
    """Return the first of them, up to one that can be read or came a short time ago."""
    passed: list[Seen] = []
    for one in seen:
        if one.is_here or now - one.received_at < LONG:
            break
        passed.append(one)
    return passed
