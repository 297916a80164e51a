"""Workers in processes of their own, to be killed: ``python -m tests.support.worker_process``.

A worker is what ``intu-fhir worker`` runs, with a clock that may be wrong. A byte on the FIFO of
its order wakes what delivers, as the end of a build does in the same process.
"""

from __future__ import annotations

import contextlib
import signal
import threading
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import intu_fhir.app.working  # noqa: F401  (loaded once, before the forks)
from intu_fhir.app.serving import WORK, Site
from intu_fhir.app.wiring import open_app
from intu_fhir.errors import StoreUnavailable
from intu_fhir.model.work import DELIVER
from intu_fhir.observe.clock import SystemClock, system_time
from intu_fhir.observe.logging import configure_logging
from intu_fhir.pipeline.clock_watch import ClockWatch
from intu_fhir.settings.load import load_configuration
from tests.support.forking import fork_for_each_line, log_to
from tests.support.queue_mutants import break_queue


class SkewedClock(SystemClock):
    """The clock of a machine that is set wrong.

    Args:
        skew: by how many seconds it is ahead.
    """

    def __init__(self, skew: float) -> None:
        super().__init__(lambda: system_time() + timedelta(seconds=skew))


class Unwatched(ClockWatch):
    """Of a site whose database is ahead by as much as its workers: some hours later."""

    def is_right(self) -> bool:
        """Say yes."""
        return True


@dataclass(frozen=True)
class WorkOrder:
    """What a worker shall be.

    Args:
        log: where its log goes.
        skew: by how many seconds its clock is ahead.
        is_later: all clocks of the site are ahead, the database's as well.
        mutant: how it breaks its promise, or ``""``.
        bell: FIFO that wakes what delivers, or ``""``.
    """

    folder: str
    log: str
    skew: float = 0.0
    is_later: bool = False
    mutant: str = ""
    bell: str = ""


def main() -> None:
    """Fork a worker for each order on standard input."""
    fork_for_each_line(lambda order: _run(WorkOrder(**order)))


def _run(order: WorkOrder) -> None:
    """Work until killed or told to stop."""
    log_to(order.log)
    configure_logging()
    break_queue(order.mutant)
    over = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: over.set())
    site = _started(order)
    if order.bell:
        threading.Thread(target=_listen, args=(order.bell, site), daemon=True).start()
    over.wait()
    site.stop()


def _started(order: WorkOrder) -> Site:
    """Start until the database answers, as whoever watches over the process would."""
    configuration = load_configuration(Path(order.folder))
    while True:
        with contextlib.suppress(StoreUnavailable):
            app = open_app(configuration, SkewedClock(order.skew))
            if order.is_later:
                app.clock_watch = Unwatched(app.database, app.clock, 0)
            site = Site(app, {WORK})
            site.start()
            return site


def _listen(bell: str, site: Site) -> None:
    with Path(bell).open("rb", buffering=0) as fifo:
        while fifo.read(1):
            site.wake(DELIVER)


if __name__ == "__main__":
    main()
