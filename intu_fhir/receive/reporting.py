"""Telling a requester of storage commitment its result on an association that it has opened.

The thread of an association owns its socket. Who has something to report leaves it in the
association's mailbox, and the thread sends it between two messages (PS3.4 J.3.3). There is room
for one report: with an asynchronous operations window of one the next is sent once that one is
answered (PS3.7 D.3.3.3), however long ago its sender gave up.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection
from concurrent.futures import Future

from intu_fhir.errors import TransientError
from intu_fhir.model.commitment import Requester


class NotReported(TransientError):
    """The requester has not taken the result; it is told again."""


class NotSent(NotReported):
    """The requester was not even asked to take it."""


class Report:
    """A result on its way.

    Args:
        event_type_id: 1 where everything is committed, else 2.
        encode: gives the Event Information in a transfer syntax; called once.
    """

    def __init__(self, event_type_id: int, encode: Callable[[str], bytes]) -> None:
        self.event_type_id = event_type_id
        self._encode: Callable[[str], bytes] | None = encode
        self.status: Future[int] = Future()
        """The status of the answer."""

    @property
    def is_sent(self) -> bool:
        """Say whether it is on its way, so that it takes no memory any more."""
        return self._encode is None

    def take_data_set(self, transfer_syntax_uid: str) -> bytes:
        """Return the Event Information, and forget what it was made of."""
        encode, self._encode = self._encode, None
        assert encode is not None, "a report is sent once"
        return encode(transfer_syntax_uid)


class Mailbox:
    """What waits for one association; all but ``post`` is called by that association's thread."""

    def __init__(self, association_id: str) -> None:
        self.association_id = association_id
        self._lock = threading.Lock()
        self._report: Report | None = None
        self._message_id = 0
        self._is_closed = False

    def is_free(self) -> bool:
        """Say whether there is room for a report."""
        with self._lock:
            return self._has_room()

    def post(self, report: Report) -> bool:
        """Leave a report; False where there is no room for one, or nobody to take it."""
        with self._lock:
            if not self._has_room():
                return False
            self._report = report
            return True

    def _has_room(self) -> bool:
        return not self._is_closed and (self._report is None or self._report.status.cancelled())

    def next(self) -> Report | None:
        """Return a report that somebody still waits for, if there is one."""
        with self._lock:
            report = self._report
            if report is None or self._message_id:
                return None
            if report.status.set_running_or_notify_cancel():
                return report
            self._report = None
            return None

    def sent(self, message_id: int) -> None:
        """Note that the report was sent as this message; nothing else is until its answer."""
        with self._lock:
            self._message_id = message_id

    def answered(self, message_id: int, status: int) -> None:
        """Note the answer."""
        with self._lock:
            if message_id != self._message_id or self._report is None:
                return
            report, self._report, self._message_id = self._report, None, 0
        report.status.set_result(status)

    def close(self) -> None:
        """Note that the association has ended: nothing more is sent or answered."""
        with self._lock:
            self._is_closed = True
            report, self._report = self._report, None
        if report is None or report.status.cancelled():
            return
        if report.is_sent:
            report.status.set_exception(NotReported("the association ended before the answer"))
        elif report.status.running() or report.status.set_running_or_notify_cancel():
            report.status.set_exception(NotSent("the association has ended"))


class OpenRequesters:
    """Associations that results can be told on, of all listeners of a process.

    Args:
        elsewhere: AE titles that are told on an association of ours.
    """

    def __init__(self, elsewhere: Collection[str] = ()) -> None:
        self.elsewhere = frozenset(elsewhere)
        self._lock = threading.Lock()
        self._mailboxes: dict[Requester, list[Mailbox]] = {}

    def enter(self, requester: Requester, association_id: str) -> Mailbox:
        """Add an association."""
        mailbox = Mailbox(association_id)
        with self._lock:
            self._mailboxes.setdefault(requester, []).append(mailbox)
        return mailbox

    def leave(self, requester: Requester, mailbox: Mailbox) -> None:
        """Remove an association that has ended."""
        with self._lock:
            left = [one for one in self._mailboxes.get(requester, ()) if one is not mailbox]
            if left:
                self._mailboxes[requester] = left
            else:
                self._mailboxes.pop(requester, None)
        mailbox.close()

    def free(self) -> frozenset[Requester]:
        """Return who can be told something now."""
        with self._lock:
            found = [(who, list(mailboxes)) for who, mailboxes in self._mailboxes.items()]
        return frozenset(who for who, mailboxes in found if any(one.is_free() for one in mailboxes))

    def post(self, requester: Requester, association_id: str, report: Report) -> bool:
        """Leave a report for a requester; False where it has no association that is free.

        It goes to the association that asked, if that is there and free, else to the newest one.
        """
        with self._lock:
            mailboxes = list(reversed(self._mailboxes.get(requester, ())))
        mailboxes.sort(key=lambda one: one.association_id != association_id)
        return any(one.post(report) for one in mailboxes)
