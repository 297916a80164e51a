"""The default engine: worker threads in this process."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from intu_fhir.errors import TransientError
from intu_fhir.pipeline.runner import Lane, Runner
from intu_fhir.pipeline.steps import STEPS

IDLE_SECONDS = 0.5
"""How long a worker without work waits before it looks again, where nobody wakes it."""

LEAST_SECONDS = 0.02
"""The shortest wait: work may be due that the limit of its destination keeps back."""


@dataclass(frozen=True, slots=True)
class Chore:
    """Work without a row in the queue, such as staging complete headers.

    Args:
        do_some: does some of it and returns how much; 0 where there is nothing to do.
        then: the step that may have something to do afterwards.
    """

    name: str
    do_some: Callable[[], int]
    then: str


class LocalEngine:
    """Runs each lane in threads of its own, so that one slow destination delays no other.

    Args:
        lanes: what to work on, each with how many threads.
        may_work: asked before each piece of work; where it says no, all of them wait.
    """

    def __init__(
        self,
        runner: Runner,
        lanes: Sequence[tuple[Lane, int]],
        chores: Sequence[Chore] = (),
        may_work: Callable[[], bool] = lambda: True,
    ) -> None:
        self._runner, self._may_work = runner, may_work
        self._stopping = threading.Event()
        self._signals: dict[str, list[threading.Event]] = {}
        self._threads: list[threading.Thread] = []
        for lane, threads in lanes:
            name = f"{lane.step}-{lane.destination}".rstrip("-")
            for number in range(threads):
                worker = f"{name}-{number + 1}"
                self._add(worker, lane.step, self._taking(lane), self._until_due(lane))
        for chore in chores:
            self._add(chore.name, chore.name, self._doing(chore), lambda: IDLE_SECONDS)

    def _taking(self, lane: Lane) -> Callable[[], bool]:
        following = STEPS[lane.step].next

        def do_some() -> bool:
            done = self._runner.run_one(lane)
            if done:
                self.wake(following)
            return done

        return do_some

    def _doing(self, chore: Chore) -> Callable[[], bool]:
        def do_some() -> bool:
            done = chore.do_some() > 0
            if done:
                self.wake(chore.then)
            return done

        return do_some

    def _until_due(self, lane: Lane) -> Callable[[], float]:
        def idle_seconds() -> float:
            due_in = self._runner.seconds_until_due(lane)
            return IDLE_SECONDS if due_in is None else min(due_in, IDLE_SECONDS)

        return idle_seconds

    def _add(
        self, name: str, signal: str, do_some: Callable[[], bool], idle: Callable[[], float]
    ) -> None:
        # One for each thread: what one has seen is not yet seen by the others.
        event = threading.Event()
        self._signals.setdefault(signal, []).append(event)
        self._threads.append(
            threading.Thread(
                target=self._work, args=(signal, event, do_some, idle), name=name, daemon=True
            )
        )

    def start(self) -> None:
        """Begin to work."""
        for thread in self._threads:
            thread.start()

    def wake(self, signal: str) -> None:
        """Let the workers of a step, or a chore, look at once."""
        for event in self._signals.get(signal, ()):
            event.set()

    def take_no_more(self) -> None:
        """Finish what is in hand and take nothing new; return at once."""
        self._stopping.set()
        for signal in self._signals:
            self.wake(signal)

    def stop(self, grace_seconds: float) -> list[str]:
        """Finish what is in hand; return the workers that did not within the grace of all.

        What they hold is not lost: its lease runs out and it is done again. One that was never
        started, since what comes before failed, has nothing to finish.
        """
        self.take_no_more()
        until = time.monotonic() + grace_seconds
        begun = [thread for thread in self._threads if thread.ident is not None]
        for thread in begun:
            thread.join(max(until - time.monotonic(), 0.0))
        return [thread.name for thread in begun if thread.is_alive()]

    def _work(
        self,
        signal: str,
        event: threading.Event,
        do_some: Callable[[], bool],
        idle: Callable[[], float],
    ) -> None:
        while not self._stopping.is_set():
            event.clear()
            if not self._runner.guard(signal, self._may_work):
                event.wait(IDLE_SECONDS)
            elif not self._runner.guard(signal, do_some):
                event.wait(max(self._idle_seconds(signal, idle), LEAST_SECONDS))

    def _idle_seconds(self, signal: str, idle: Callable[[], float]) -> float:
        """Return how long to wait; what goes wrong in asking ends no worker either."""
        found: list[float] = []

        def ask() -> bool:
            with contextlib.suppress(TransientError):  # the work itself has told of it
                found.append(idle())
            return bool(found)

        return found[0] if self._runner.guard(signal, ask) else IDLE_SECONDS
