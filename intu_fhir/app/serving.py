"""A running site: listeners, the writer of rows, workers; and how it stops."""

from __future__ import annotations

import threading
from collections.abc import Collection
from dataclasses import dataclass, field

import structlog

from intu_fhir.app.wiring import COMMIT, DESCRIBE, App
from intu_fhir.engines.local import LocalEngine
from intu_fhir.model.commitment import CommitmentRequest
from intu_fhir.model.instance import Accepted, Disposition, ReceivedObject
from intu_fhir.model.work import AGGREGATE
from intu_fhir.receive.listener import Listener
from intu_fhir.receive.ports import StopReport
from intu_fhir.receive.slots import Slots
from intu_fhir.stage.ends import Ends
from intu_fhir.stage.recover import recover

log = structlog.get_logger("intu_fhir.serve")

RECEIVE, WORK = "receive", "work"
ALL_ROLES = frozenset({RECEIVE, WORK})


@dataclass
class Site:
    """A site that runs, in whole or in part.

    Args:
        roles: ``receive``, ``work`` or both.
    """

    app: App
    roles: Collection[str] = ALL_ROLES
    listeners: list[Listener] = field(default_factory=list)
    _engine: LocalEngine | None = None
    _beside: LocalEngine | None = None
    _ends: Ends | None = None

    def start(self) -> None:
        """Start everything; on return every port listens.

        Raises:
            ConfigurationError: a port is taken, or TLS files do not fit.
            StoreUnavailable: database or file store cannot be used.
        """
        app = self.app
        if RECEIVE in self.roles:
            removed = recover(app.database, app.files, app.receiver, app.clock.now())
            if removed:
                log.info("recovered", count=removed, reason="files of unfinished objects removed")
            app.rows.start()
        if WORK in self.roles:
            self._engine = app.engine()
            self._engine.start()
        if RECEIVE in self.roles:
            self._listen()

    def _listen(self) -> None:
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
        if commitment:
            self._beside = self.app.receiving_engine()
            self._beside.start()
        slots = Slots(limits.max_associations, limits.max_associations_per_address)
        for channel in self.app.configuration.enabled_channels():
            listener = Listener(
                channel,
                limits,
                accept=self.accept,
                association_ended=self._ends,
                files=self.app.files,
                slots=slots,
                clock=self.app.clock,
                commit=self.commit if commitment else None,
                requesters=self.app.requesters,
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
        accepted = self.app.accept(received)
        if accepted.disposition is Disposition.STORED:
            self.wake(DESCRIBE)
        return accepted

    def commit(self, request: CommitmentRequest) -> None:
        """Store a request for storage commitment and let it be worked on next."""
        self.app.commitments.take(request)
        self.wake(COMMIT)

    def _settles_on_release(self, channel_id: str) -> bool:
        channel = self.app.configuration.channel(channel_id)
        return channel is not None and channel.settle.on_release

    def wake(self, signal: str) -> None:
        """Let a kind of worker look at once."""
        if self._engine is not None:
            self._engine.wake(signal)

    def stop(self) -> list[StopReport]:
        """Stop: take nothing new, finish what is in hand, and say what was cut short."""
        grace = self.app.configuration.site.receiver.shutdown_grace_seconds
        reports = self._stop_listeners(grace)
        if RECEIVE in self.roles:
            self.app.rows.stop()
        if self._ends is not None:
            self._ends.stop()
        for engine in filter(None, (self._beside, self._engine)):
            for worker in engine.stop(grace):
                log.warning("worker_left", worker=worker, reason="its lease runs out by itself")
        for report in reports:
            log.info(
                "stopped",
                channel=report.channel,
                count=report.idle + report.finished,
                stopped=report.cut,
                left=len(report.stuck),
            )
        self.app.close()
        return reports

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
