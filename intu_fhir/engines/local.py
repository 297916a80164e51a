"""The default engine: worker threads in this process."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from intu_fhir.pipeline.runner import Lane, Runner

IDLE_SECONDS = 0.5
"""How long a worker without work waits before it looks again."""


class LocalEngine:
    """Runs each lane in threads of its own, so that one slow destination delays no other.

    Args:
        lanes: what to work on, each with how many threads.
        chores: work without a queue row, such as describing headers; a chore returns how much
            it did, 0 for nothing.
    """

    def __init__(
        self,
        runner: Runner,
        lanes: Sequence[tuple[Lane, int]],
        chores: Sequence[tuple[str, Callable[[], int]]] = (),
    ) -> None:
        self._runner = runner
        self._stopping = threading.Event()
        self._signals: dict[str, threading.Event] = {}
        self._threads: list[threading.Thread] = []
        for lane, threads in lanes:
            name = f"{lane.step}-{lane.destination}".rstrip("-")
            for number in range(threads):
                self._add(f"{name}-{number + 1}", lane.step, self._taking(lane))
        for name, chore in chores:
            self._add(name, name, _some(chore))

    def _taking(self, lane: Lane) -> Callable[[], bool]:
        return lambda: self._runner.run_one(lane)

    def _add(self, name: str, signal: str, do_some: Callable[[], bool]) -> None:
        self._signals.setdefault(signal, threading.Event())
        self._threads.append(
            threading.Thread(target=self._work, args=(signal, do_some), name=name, daemon=True)
        )

    def start(self) -> None:
        """Begin to work."""
        for thread in self._threads:
            thread.start()

    def wake(self, signal: str) -> None:
        """Let the workers of a step, or a chore, look at once."""
        event = self._signals.get(signal)
        if event is not None:
            event.set()

    def stop(self, grace_seconds: float) -> list[str]:
        """Finish what is in hand; return the workers that did not within the grace.

        What they hold is not lost: its lease runs out and it is done again.
        """
        self._stopping.set()
        for event in self._signals.values():
            event.set()
        for thread in self._threads:
            thread.join(grace_seconds)
            grace_seconds = max(grace_seconds - 0.01, 0.1) if thread.is_alive() else grace_seconds
        return [thread.name for thread in self._threads if thread.is_alive()]

    def _work(self, signal: str, do_some: Callable[[], bool]) -> None:
        event = self._signals[signal]
        while not self._stopping.is_set():
            event.clear()
            if not self._runner.guard(signal, do_some):
                event.wait(IDLE_SECONDS)


def _some(chore: Callable[[], int]) -> Callable[[], bool]:
    return lambda: chore() > 0
