"""Telling a requester of storage commitment its result on an association that it has opened.

The thread of an association owns its socket. Who has something to report leaves it in the
association's mailbox, and the thread sends it between two messages (PS3.4 J.3.3).
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field

from intu_fhir.errors import TransientError


class NotReported(TransientError):
    """The requester has not taken the result; it is told again."""


@dataclass(frozen=True)
class Report:
    """A result on its way.

    Args:
        event_type_id: 1 where everything is committed, else 2.
        encode: gives the Event Information in a transfer syntax.
        status: the status of the answer.
    """

    event_type_id: int
    encode: Callable[[str], bytes]
    status: Future[int] = field(default_factory=Future)


class Mailbox:
    """What waits for one association; all but ``post`` is called by that association's thread."""

    def __init__(self, association_id: str) -> None:
        self.association_id = association_id
        self._waiting: queue.SimpleQueue[Report] = queue.SimpleQueue()
        self._sent: dict[int, Report] = {}
        self._closed = threading.Event()

    def post(self, report: Report) -> None:
        """Leave a report; one that comes too late fails at once."""
        self._waiting.put(report)
        if self._closed.is_set():
            self._fail_waiting()

    def next(self) -> Report | None:
        """Return a report that somebody still waits for, if there is one."""
        while True:
            try:
                report = self._waiting.get_nowait()
            except queue.Empty:
                return None
            if report.status.set_running_or_notify_cancel():
                return report

    def sent(self, message_id: int, report: Report) -> None:
        """Note that a report was sent as this message."""
        self._sent[message_id] = report

    def answered(self, message_id: int, status: int) -> None:
        """Note the answer."""
        report = self._sent.pop(message_id, None)
        if report is not None:
            report.status.set_result(status)

    def close(self) -> None:
        """Note that the association has ended: nothing more is sent or answered."""
        self._closed.set()
        self._fail_waiting()
        for report in self._sent.values():
            report.status.set_exception(NotReported("the association ended before the answer"))
        self._sent.clear()

    def _fail_waiting(self) -> None:
        while (report := self.next()) is not None:
            report.status.set_exception(NotReported("the association has ended"))


class OpenRequesters:
    """Associations that results can be told on, of all listeners of a process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._mailboxes: dict[str, list[Mailbox]] = {}

    def enter(self, ae_title: str, association_id: str) -> Mailbox:
        """Add an association."""
        mailbox = Mailbox(association_id)
        with self._lock:
            self._mailboxes.setdefault(ae_title, []).append(mailbox)
        return mailbox

    def leave(self, ae_title: str, mailbox: Mailbox) -> None:
        """Remove an association that has ended."""
        with self._lock:
            left = [one for one in self._mailboxes.get(ae_title, ()) if one is not mailbox]
            if left:
                self._mailboxes[ae_title] = left
            else:
                self._mailboxes.pop(ae_title, None)
        mailbox.close()

    def titles(self) -> frozenset[str]:
        """Return who can be told something now."""
        with self._lock:
            return frozenset(self._mailboxes)

    def report(
        self, ae_title: str, association_id: str, report: Report, timeout_seconds: float
    ) -> int:
        """Tell a requester, on the association that asked if it is open, else on its newest one.

        Returns:
            the status of its answer.

        Raises:
            NotReported: it has no association, or gives no answer in time.
        """
        with self._lock:
            mailboxes = list(self._mailboxes.get(ae_title, ()))
        if not mailboxes:
            raise NotReported("the requester has no association open")
        same = [one for one in mailboxes if one.association_id == association_id]
        (same or mailboxes)[-1].post(report)
        try:
            return report.status.result(timeout_seconds)
        except TimeoutError:
            report.status.cancel()
            raise NotReported(f"no answer within {timeout_seconds:g} s") from None
