"""Things kept for a while: taken again, ended in time, and never lost."""

from __future__ import annotations

from intu_fhir.deliver.idle import Idle


class _Time:
    def __init__(self) -> None:
        self.now = 0.0


def _idle(seconds: float) -> tuple[Idle[str], list[str], _Time]:
    ended: list[str] = []
    time = _Time()
    return Idle(seconds, ended.append, lambda: time.now), ended, time


def test_what_is_kept_is_taken_again() -> None:
    """What was kept last and fits comes first, and is there once."""
    idle, ended, _ = _idle(10)
    for name in ("a1", "b", "a2"):
        idle.keep(name)
    assert idle.take(lambda one: one.startswith("a")) == "a2"
    assert idle.take(lambda one: one.startswith("a")) == "a1"
    assert idle.take(lambda one: one.startswith("a")) is None
    assert idle.take() == "b"
    assert ended == []


def test_what_waits_too_long_is_ended() -> None:
    """Each thing is ended once its own time is up."""
    idle, ended, time = _idle(10)
    idle.keep("first")
    time.now = 6.0
    idle.keep("second")
    assert idle.end_old() == 0
    time.now = 10.0
    assert idle.end_old() == 1
    assert ended == ["first"]
    assert idle.take() == "second"


def test_without_time_nothing_is_kept() -> None:
    """With 0 seconds everything is ended when it is given back."""
    idle, ended, _ = _idle(0)
    idle.keep("a")
    assert idle.take() is None
    assert ended == ["a"]


def test_after_the_end_nothing_is_kept() -> None:
    """Closing ends what is there, and later what is still in use."""
    idle, ended, _ = _idle(10)
    idle.keep("a")
    in_use = idle.take()
    idle.keep("b")
    idle.close()
    idle.close()
    assert ended == ["b"]
    assert in_use is not None
    idle.keep(in_use)
    assert ended == ["b", "a"]
