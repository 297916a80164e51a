"""A running site: listeners, the writer of rows, workers; and how it stops."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import structlog

from intu_fhir.app.hearing import who_may_answer
from intu_fhir.app.processes import Processes, receiver_name
from intu_fhir.app.wiring import COMMIT, DESCRIBE, UPLOAD, App
from intu_fhir.engines.local import LocalEngine
from intu_fhir.errors import IntuError
from intu_fhir.model.archive_commitment import CommitmentAnswer
from intu_fhir.model.commitment import CommitmentRequest
from intu_fhir.model.instance import Accepted, Disposition, ReceivedObject
from intu_fhir.model.work import AGGREGATE
from intu_fhir.receive.descriptors import raise_descriptors
from intu_fhir.receive.ledger import Ledger, make_ledger_file
from intu_fhir.receive.listener import Listener, require_free_port
from intu_fhir.receive.ports import StopReport
from intu_fhir.receive.slots import Slots
from intu_fhir.receive.space import FreeSpace
from intu_fhir.stage.ends import Ends
from intu_fhir.stage.recover import recover

if TYPE_CHECKING:
    from intu_fhir.app.working import Working

log = structlog.get_logger("intu_fhir.serve")

RECEIVE, WORK = "receive", "work"
MOST = 64
"""Most receiving processes of a site; names of so many are known."""
ALL_ROLES = frozenset({RECEIVE, WORK})


_LEAST_GRACE_SECONDS = 1.0
"""What a worker has to end in where objects in hand took the whole grace."""

_SWITCH_SECONDS = 0.001
"""How long a thread keeps the interpreter from others that want it. Python's own 5 ms, lost some
twenty times for one answer to each of those that read long data sets, are above a second in sum.
"""


@dataclass
class Site:
    """A site that runs, in whole or in part.

    Args:
        roles: ``receive``, ``work`` or both.
        process: number of this receiving process; 1 is the one that starts the others.
        ledger: the shared count of associations, where there are several processes.
        log_level: what the other processes log.
        stopping: takes nothing new any more.
    """

    app: App
    roles: Collection[str] = ALL_ROLES
    process: int = 1
    ledger: Ledger | None = None
    log_level: str = "INFO"
    listeners: list[Listener] = field(default_factory=list)
    processes: Processes | None = None
    working: Working | None = None
    stopping: bool = False
    _engine: LocalEngine | None = None
    _beside: LocalEngine | None = None
    _ends: Ends | None = None
    _others_reports: list[StopReport] = field(default_factory=list)

    def start(self) -> None:
        """Start everything; on return every port listens.

        Raises:
            ConfigurationError: a port is taken, TLS files do not fit, or the system gives fewer
                descriptors than the limits need.
            StoreUnavailable: database or file store cannot be used.
        """
        app = self.app
        if RECEIVE in self.roles:
            raise_descriptors(app.configuration.site.receiver)
            sys.setswitchinterval(_SWITCH_SECONDS)
            if self.process == 1:
                self._recover()
            app.rows.start()
        if WORK in self.roles:
            self._work()
        if RECEIVE in self.roles:
            self._listen()

    def _work(self) -> None:
        # Imported here, since a process that only receives does without.
        from intu_fhir.app.working import Working

        self.working = Working(self.app)
        self._engine = self.working.engine()
        self.working.look_again()
        self.app.clock_watch.is_right()  # what is off is known before anybody asks
        self._engine.start()

    def _recover(self) -> None:
        """Tidy up after the last run, however many processes it had, and start those of this one.

        Where a port is taken, the last run may not have ended: nothing of it is touched. Else
        nobody receives, so the names of all processes are those of the dead.
        """
        app, limits = self.app, self.app.configuration.site.receiver
        for channel in self.app.configuration.enabled_channels():
            require_free_port(channel)
        others = [receiver_name(self.app.receiver, number) for number in range(2, MOST + 1)]
        try:
            self._tidy(self.app.receiver, others)
        except OSError as error:
            # A folder that cannot be read keeps nobody from sending to those that can.
            log.warning("not_recovered", worker=str(self.process), error=type(error).__name__)
        if limits.processes == 1:
            return
        descriptor = make_ledger_file(limits.max_associations)
        self.ledger = Ledger(descriptor, self.process)
        self.processes = Processes(
            self.app.configuration.folder,
            limits.processes,
            descriptor,
            self._after_death,
            app.others,
            self.log_level,
        )
        self.processes.start()

    def _after_death(self, number: int) -> None:
        """Give back what a process held that has died, and remove what it did not finish."""
        assert self.ledger is not None
        self.ledger.clear(number)
        try:
            self._tidy(receiver_name(self.app.receiver, number))
        except (IntuError, OSError) as error:
            # Nothing acknowledged depends on it; the next start does it.
            log.warning("not_recovered", worker=str(number), error=type(error).__name__)

    def _tidy(self, receiver: str, others: Collection[str] = ()) -> None:
        app = self.app
        removed = recover(app.database, app.files, receiver, app.clock.now(), others=others)
        if removed:
            log.info("recovered", count=removed, reason="files of unfinished objects removed")

    def _listen(self) -> None:
        self.app.files.enter()
        app, limits = self.app, self.app.configuration.site.receiver
        self._ends = Ends(
            app.database,
            app.clock,
            app.receiver,
            settles=self._settles_on_release,
            noted=lambda: self.wake(AGGREGATE),
        )
        self._ends.start()
        commitment = limits.storage_commitment.enabled
        self._beside = self.app.receiving_engine()
        self._beside.start()
        app.requests.start()
        app.answers.start()
        archives = who_may_answer(app.asked)
        space = FreeSpace(app.places, limits.min_free_bytes, app.clock)
        slots = Slots(
            limits.max_associations,
            limits.max_associations_per_address,
            self.ledger,
            limits.processes,
        )
        for channel in self.app.configuration.enabled_channels():
            listener = Listener(
                channel,
                limits,
                accept=self.accept,
                association_ended=self._ends,
                files=self.app.files,
                slots=slots,
                free_space=space,
                clock=self.app.clock,
                commit=self.commit if commitment else None,
                hear=self.hear,
                archives=archives,
                requesters=self.app.requesters,
                rejections=self.app.rejections,
                tracing=self.app.tracing,
                shares_port=limits.processes > 1,
            )
            listener.start()
            self.listeners.append(listener)
            log.info(
                "listening",
                channel=channel.id,
                port=listener.port,
                called_ae_title=channel.source.ae_title,
                tls=channel.source.tls is not None,
            )

    def accept(self, received: ReceivedObject) -> Accepted:
        """Stage an object and let its header be read next."""
        accepted = self._traced(received) if self.app.tracing.is_on else self.app.accept(received)
        if accepted.disposition is Disposition.STORED:
            self.wake(DESCRIBE)
            if self._beside is not None:
                self._beside.wake(UPLOAD)
        return accepted

    def _traced(self, received: ReceivedObject) -> Accepted:
        span = self.app.tracing.begin(
            "store instance",
            parent=received.origin.trace_parent,
            instance=received.sop_instance_uid,
            sop_class=received.sop_class_uid,
            bytes=received.size,
        )
        try:
            accepted = self.app.accept(received)
        except Exception as error:
            span.end(is_well=False, error=type(error).__name__)
            raise
        span.end(result=accepted.disposition, study=accepted.study_instance_uid)
        return accepted

    def commit(self, request: CommitmentRequest) -> None:
        """Store a request for storage commitment and let it be worked on next."""
        self.app.requests(request)
        self.wake(COMMIT)

    def hear(self, answer: CommitmentAnswer) -> None:
        """Store a result of storage commitment that we asked for."""
        self.app.answers(answer)

    def _settles_on_release(self, channel_id: str) -> bool:
        channel = self.app.configuration.channel(channel_id)
        return channel is not None and channel.settle.on_release

    def wake(self, signal: str) -> None:
        """Let a kind of worker look at once."""
        if self._engine is not None:
            self._engine.wake(signal)

    def is_receiving(self) -> bool:
        """Say whether every enabled channel listens."""
        listening = sum(listener.is_listening for listener in self.listeners)
        return listening == len(self.app.configuration.enabled_channels())

    def stop(self) -> list[StopReport]:
        """Stop: take nothing new, finish what is in hand, and say what was cut short.

        All share one grace: who stops the program waits a little longer than that, then kills it.
        """
        self.stopping = True
        grace = self.app.configuration.site.receiver.shutdown_grace_seconds
        until = time.monotonic() + grace
        if self._engine is not None:
            self._engine.take_no_more()
        others = self._stopping_others(grace)
        reports = self._stop_listeners(grace)
        if RECEIVE in self.roles:
            self.app.rows.stop()
            self.app.accept.asides.stop()
            self.app.requests.stop()
            self.app.answers.stop()
        if self._ends is not None:
            self._ends.stop()
        for engine in filter(None, (self._beside, self._engine)):
            for worker in engine.stop(max(until - time.monotonic(), _LEAST_GRACE_SECONDS)):
                log.warning("worker_left", worker=worker, reason="its lease runs out by itself")
        for report in reports:  # the other processes have said theirs
            log.info(
                "stopped",
                channel=report.channel,
                count=report.idle + report.finished,
                stopped=report.cut,
                left=len(report.stuck),
            )
        if others is not None:
            others.join()
            reports += self._others_reports
        if self.working is not None:
            self.working.close()
        self.app.close()
        return reports

    def _stopping_others(self, grace: float) -> threading.Thread | None:
        """Stop the other processes while this one stops, so that all share one grace."""
        processes = self.processes
        if processes is None:
            return None
        thread = threading.Thread(
            target=lambda: self._others_reports.extend(processes.stop(grace)), daemon=True
        )
        thread.start()
        return thread

    def _stop_listeners(self, grace: float) -> list[StopReport]:
        """Stop all listeners at once, so that they share one grace."""
        reports: list[StopReport] = []
        threads = [
            threading.Thread(target=lambda one=one: reports.append(one.stop(grace)), daemon=True)
            for one in self.listeners
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(grace + 5)
        self.listeners.clear()
        return reports
