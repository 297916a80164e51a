"""Asks PACS for storage commitment of what they were sent, and again where no answer comes."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import structlog

from intu_fhir.app.hearing import Archive, Hearing, tell
from intu_fhir.db import archive_closing as closing
from intu_fhir.db import archive_commitments as table
from intu_fhir.db.gates import read_gate
from intu_fhir.db.session import Database
from intu_fhir.deliver.commitment_scu import CommitmentScu, Conversation
from intu_fhir.errors import IntuError, StaleClaim
from intu_fhir.model.archive_commitment import AskClaim, CommitmentAnswer
from intu_fhir.model.cause import sentence
from intu_fhir.model.outcome import Dead, Delivered, Retry
from intu_fhir.observe.clock import Clock
from intu_fhir.pipeline.retry import next_attempt_at
from intu_fhir.receive.statuses import answer_to_event_error
from intu_fhir.settings.schema import RetrySettings
from intu_fhir.stage.commitment_answer import encode_action_information
from intu_fhir.stage.encodings import IMPLICIT_LITTLE_ENDIAN

_log = structlog.get_logger("intu_fhir.commitment")
_SUCCESS = 0x0000
_BATCH = 10
"""Requests on one association."""
_NO_ANSWER = "it does not answer in time"


@dataclass(frozen=True)
class Asking:
    """Asks one PACS; any number of processes may share the requests.

    Args:
        hearing: takes what it answers.
    """

    database: Database
    clock: Clock
    retry: RetrySettings
    archive: Archive
    scu: CommitmentScu
    hearing: Hearing

    def ask_some(self) -> int:
        """Send the requests that are due, or end one that was not answered; return how many."""
        if not self._may_ask():
            return 0
        return self._end_overdue() or self._ask()

    def _may_ask(self) -> bool:
        """Say whether something is due and the destination is neither paused nor down."""
        now, name = self.clock.now(), self.archive.name
        with self.database.read() as connection:
            if not table.is_due(connection, name, now):
                return False
            opens_at = read_gate(connection, name).opens_at(now)
        return opens_at is not None and opens_at <= now

    def _end_overdue(self) -> int:
        now = self.clock.now()
        with self.database.write() as connection:
            closed = closing.close_overdue(
                connection,
                self.archive.name,
                now,
                retry_at=self.hearing.again_at(1, now),
                then=self.archive.next_try(_NO_ANSWER),
            )
        if closed is None:
            return 0
        if closed.first:
            tell(closed)
        return 1

    def _ask(self) -> int:
        now, to = self.clock.now(), self.archive.destination
        lease = (_BATCH + 2) * to.timeout_seconds + self.archive.commitment.wait_seconds + 60
        with self.database.write() as connection:
            held = table.claim(
                connection, self.archive.name, now, lease_seconds=lease, limit=_BATCH
            )
        if not held:
            return 0
        batch = Batch(self, {one.key: one for one in held})
        batch.end(self.scu.ask(held, batch))
        return len(held)


@dataclass
class Batch:
    """The requests of one association, and what came of each.

    Args:
        unasked: those that the PACS has not answered yet, by key.
        waiting: Transaction UIDs whose results are still to come.
    """

    asking: Asking
    unasked: dict[int, AskClaim]
    waiting: set[str] = field(default_factory=set)

    def information(self, request: AskClaim, transfer_syntax_uid: str) -> bytes:
        """Return the Action Information of a request."""
        with self.asking.database.read() as connection:
            asked = table.instances_of(connection, request)
        return encode_action_information(request.transaction_uid, asked, transfer_syntax_uid)

    def answered(self, request: AskClaim, outcome: Delivered | Retry | Dead) -> None:
        """Note the PACS's answer to a request."""
        del self.unasked[request.key]
        if isinstance(outcome, Delivered):
            self._asked(request)
        elif isinstance(outcome, Dead):
            self._rejected(request, outcome)
        else:
            self._put_back(request, outcome.detail)

    def hear(self, event_information: bytes) -> int:
        """Take a result and return the status that it is answered with."""
        scu = self.asking.scu
        titles = (scu.theirs, scu.ours)
        answer = CommitmentAnswer(*titles, IMPLICIT_LITTLE_ENDIAN, lambda: event_information)
        try:
            self.asking.hearing(answer)
        except IntuError as error:
            return answer_to_event_error(error).status
        return _SUCCESS

    def waits(self) -> bool:
        """Say whether results of what was asked are still to come."""
        if not self.waiting:
            return False
        with self.asking.database.read() as connection:
            self.waiting = table.still_open(connection, self.waiting)
        return bool(self.waiting)

    def end(self, conversation: Conversation) -> None:
        """Note what the end of the conversation means for requests that were not answered."""
        ended = conversation.ended
        if conversation.in_hand is not None:
            self._lost(self.unasked.pop(conversation.in_hand.key))
        for request in self.unasked.values():
            if isinstance(ended, Dead):
                self._rejected(request, ended)
            else:
                self._put_back(request, ended.detail if ended else "")

    def _asked(self, request: AskClaim) -> None:
        now = self.asking.clock.now()
        until = now + timedelta(seconds=self.asking.archive.commitment.answer_seconds)
        self.waiting.add(request.transaction_uid)
        with suppress(StaleClaim), self.asking.database.write() as connection:
            table.asked(connection, request, now, until)

    def _rejected(self, request: AskClaim, outcome: Dead) -> None:
        with self.asking.database.write() as connection:
            closed = closing.reject(connection, request, self.asking.clock.now(), outcome.detail)
        if closed is not None:
            tell(closed)

    def _lost(self, request: AskClaim) -> None:
        """Ask anew by another Transaction UID: the PACS may have this one, or not."""
        now, hearing = self.asking.clock.now(), self.asking.hearing
        with self.asking.database.write() as connection:
            closed = closing.lost(
                connection,
                request,
                now,
                retry_at=hearing.again_at(request.number, now),
                then=self.asking.archive.next_try(_NO_ANSWER),
            )
        if closed is not None:
            tell(closed)

    def _put_back(self, request: AskClaim, reason: str) -> None:
        """Send the same request later: the PACS does not have it."""
        now = self.asking.clock.now()
        later = self._later(request, now)
        if later is None:
            self._rejected(request, Dead(detail=self._never_reached(request, reason)))
            return
        with suppress(StaleClaim), self.asking.database.write() as connection:
            table.put_back(connection, request, later, reason)
        _log.warning(
            "commitment_not_asked",
            destination=self.asking.archive.name,
            attempt=request.attempts + 1,
            reason=reason,
        )

    def _later(self, request: AskClaim, now: datetime) -> datetime | None:
        chance = self.asking.hearing.chance()
        return next_attempt_at(self.asking.retry, request.attempts + 1, now, chance)

    @staticmethod
    def _never_reached(request: AskClaim, reason: str) -> str:
        what = f"The PACS took every image, but cannot be asked to promise: {reason.split('; ')[0]}"
        tries = f"; given up after {request.attempts + 1} tries"
        return sentence(what, "", "see that it takes requests, then replay") + tries
