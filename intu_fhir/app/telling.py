"""Results of storage commitment to requesters that have an association open in this process."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial

from intu_fhir.app.committing import CommitmentResults
from intu_fhir.db.commitments import Due
from intu_fhir.model.commitment import CHECKED, CommitmentClaim, CommitmentResult, Requester
from intu_fhir.receive.reporting import NotSent, OpenRequesters, Report
from intu_fhir.stage.commitment import encode_event_information

_TICK_SECONDS = 0.25
_MOST_OPEN = 256
"""Results that are on their way at the same time."""
_MOST_INSTANCES = 100_000
"""Instances of those that are not sent yet, which is what takes memory."""


@dataclass
class _Open:
    """A result on its way.

    Args:
        until: monotonic time until which its answer is waited for.
        is_late: it counts as failed; an answer that comes all the same settles it.
    """

    held: CommitmentClaim
    committed: int
    failed: int
    report: Report
    until: float
    is_late: bool = False


@dataclass(frozen=True)
class TellingHere:
    """Tells results without waiting for anybody: who is silent delays nobody else.

    Used by one thread.

    Args:
        requesters: associations that are open here.
        may_claim: asked before results are taken to be told: by a clock that is ahead each of them
            is too old to be told, and would be looked at again and again.
    """

    results: CommitmentResults
    requesters: OpenRequesters
    may_claim: Callable[[], bool] = lambda: True
    _open: list[_Open] = field(default_factory=list)
    _answered: threading.Event = field(default_factory=threading.Event)

    def tell_some(self) -> int:
        """Take the answers that came, and send what is due; return 0 where nothing is on its way.

        Waits a moment for an answer.
        """
        self._answered.clear()
        self._open[:] = [one for one in self._open if self._goes_on(one)]
        self._send_due()
        waited_for = sum(not one.is_late for one in self._open)
        if waited_for:
            self._answered.wait(_TICK_SECONDS)
        return waited_for

    def _goes_on(self, one: _Open) -> bool:
        """Look after a result on its way; False where nothing more comes of it."""
        status = one.report.status
        if status.done() and not status.cancelled():
            self._settle(one, status)
            return False
        if one.is_late or self.results.clock.monotonic() < one.until:
            return True
        if status.cancel():
            # It could not be sent between two messages of the requester. Where the database is
            # away, it is put back the next time: a report may be cancelled more than once.
            self.results.put_back(one.held)
            return False
        seconds = self.results.settings.timeout_seconds
        self.results.failed(one.held, f"no answer within {seconds:g} s")
        one.is_late = True
        return True

    def _settle(self, one: _Open, status: Future[int]) -> None:
        error = status.exception()
        if error is None and status.result() == 0:
            self.results.taken(one.held, committed=one.committed, failed=one.failed)
        elif one.is_late:
            return  # it counts as failed already
        elif isinstance(error, NotSent):
            self.results.put_back(one.held)
        else:
            reason = str(error) if error else f"the requester answers {status.result():04X}"
            self.results.failed(one.held, reason)

    def _send_due(self) -> None:
        """Send what is due, one result to each requester at a time.

        Those with an address are told here once that has failed.
        """
        told = {one.held.requester for one in self._open if not one.is_late}
        free = self.requesters.free() - told
        if not free or not self.may_claim():
            return
        far = {one for one in free if one.calling_ae_title in self.requesters.elsewhere}
        self._send_to(set(free - far), None)
        self._send_to(far, 1)

    def _send_to(self, free: set[Requester], least_attempts: int | None) -> None:
        while free and self._has_room():
            due = Due(CHECKED, requesters=sorted(free), least_attempts=least_attempts)
            claimed = self.results.claim(due)
            if claimed is None:
                return
            free.discard(claimed[0].requester)
            self._send(*claimed)

    def _has_room(self) -> bool:
        if sum(not one.is_late for one in self._open) >= _MOST_OPEN:
            return False
        unsent = [one for one in self._open if not one.report.is_sent]
        return sum(one.held.number_of_instances for one in unsent) < _MOST_INSTANCES

    def _send(self, held: CommitmentClaim, result: CommitmentResult) -> None:
        report = Report(result.event_type_id, partial(encode_event_information, result))
        report.status.add_done_callback(lambda _: self._answered.set())
        if self.requesters.post(held.requester, held.association_id, report):
            self._open.append(self._on_its_way(held, result, report))
        else:
            self.results.put_back(held)

    def _on_its_way(self, held: CommitmentClaim, result: CommitmentResult, report: Report) -> _Open:
        until = self.results.clock.monotonic() + self.results.settings.timeout_seconds
        return _Open(held, len(result.committed), len(result.failed), report, until)
