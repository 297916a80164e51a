"""One more receiving process beside the first; started by ``intu_fhir.app.processes`` alone."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path
from types import FrameType

from intu_fhir.app.processes import Counting, receiver_name, say_ready, say_reports
from intu_fhir.app.serving import RECEIVE, Site
from intu_fhir.app.wiring import App
from intu_fhir.observe.logging import configure_logging
from intu_fhir.receive.ledger import Ledger
from intu_fhir.settings.load import load_configuration

COUNTED_EVERY_SECONDS = 2.0
"""So old may be what the first process knows of our counters."""


def receive(folder: str, number: str, ledger: str, log_level: str) -> int:
    """Receive until SIGTERM comes, or the first process is gone.

    Args:
        number: of this process, from 2.
        ledger: descriptor of the shared count of associations.

    Returns:
        the exit code: 1 where an object was cut off.
    """
    stop = threading.Event()
    _stop_on_signal(stop)
    threading.Thread(target=_stop_at_end_of_input, args=(stop,), daemon=True).start()
    configure_logging(level=log_level)
    app = App(load_configuration(Path(folder)))
    app.receiver = receiver_name(app.receiver, int(number))
    site = Site(app, {RECEIVE}, process=int(number), ledger=Ledger(int(ledger), int(number)))
    counting = Counting()
    try:
        site.start()
        say_ready()
        while not stop.wait(COUNTED_EVERY_SECONDS):
            counting.say()
    except BrokenPipeError:
        pass  # the first process is gone; nobody is left to be told
    finally:
        reports = site.stop()
    counting.say()
    say_reports(reports)
    return 1 if any(report.cut or report.stuck for report in reports) else 0


def _stop_on_signal(stop: threading.Event) -> None:
    def on_signal(_number: int, _frame: FrameType | None) -> None:
        stop.set()

    signal.signal(signal.SIGTERM, on_signal)
    # Ctrl-C goes to all processes of a terminal; it is for the first one to stop the others.
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _stop_at_end_of_input(stop: threading.Event) -> None:
    while os.read(0, 1):  # not by sys.stdin, whose lock would outlive this program's end
        pass
    stop.set()
