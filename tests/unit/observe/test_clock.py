"""The clock of a process that lives longer than the setting of its machine's clock."""

from __future__ import annotations

from datetime import datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from intu_fhir.observe.clock import HELD_SECONDS, SystemClock
from tests.support.clock import START


class Wall:
    """The clock on a machine's wall: anybody sets it."""

    def __init__(self) -> None:
        self.time = START

    def __call__(self) -> datetime:
        """Return what it shows."""
        return self.time

    def step(self, seconds: float) -> datetime:
        """Set it forth or back."""
        self.time += timedelta(seconds=seconds)
        return self.time


def test_a_process_takes_over_what_ntp_sets() -> None:
    """Whoever began before the machine knew the time, or slept with it, has it at once."""
    wall = Wall()
    clock = SystemClock(wall)
    for seconds in (7_200, 0.1, -3_600, 86_400):
        assert clock.now() != wall.step(seconds)
        assert clock.now() == wall.time


def test_a_small_step_back_is_waited_out() -> None:
    """The time stands still until the wall has caught up: what is written keeps its order."""
    wall = Wall()
    clock = SystemClock(wall)
    wall.step(-HELD_SECONDS)
    assert [clock.now(), clock.now()] == [START, START]
    wall.step(HELD_SECONDS - 1)
    assert clock.now() == START
    assert clock.now() < wall.step(2) == clock.now()


@given(st.lists(st.floats(-20, 20, allow_nan=False), max_size=30))
def test_it_is_never_far_from_the_wall(steps: list[float]) -> None:
    """However the wall is set, the clock is ahead of it by some seconds at most, never behind."""
    wall = Wall()
    clock = SystemClock(wall)
    for step in steps:
        wall.step(step)
        ahead = clock.now() - wall.time
        assert timedelta(0) <= ahead <= timedelta(seconds=HELD_SECONDS)


def test_what_is_measured_never_goes_back() -> None:
    """Seconds on the monotonic clock go on, whatever the wall shows."""
    wall = Wall()
    clock = SystemClock(wall)
    before = clock.monotonic()
    wall.step(-86_400)
    assert before <= clock.monotonic() < before + 60
