"""Storage commitment: takes requests, and looks whether each instance is really there."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog

from intu_fhir.db import commitment_requests as requests
from intu_fhir.db import commitments as table
from intu_fhir.db.commitment_requests import Waiting
from intu_fhir.db.commitments import Due, Unchecked
from intu_fhir.db.file_checks import note_damage
from intu_fhir.db.session import Database
from intu_fhir.errors import LimitPassed, StaleClaim, StoreUnavailable
from intu_fhir.files.store import FileStore
from intu_fhir.model.commitment import (
    ASKED,
    RECEIVED,
    CommitmentClaim,
    CommitmentRequest,
    FailureReason,
)
from intu_fhir.model.instance import Origin
from intu_fhir.observe.clock import Clock
from intu_fhir.settings.schema import StorageCommitment
from intu_fhir.stage.commitment import read_action_information
from intu_fhir.stage.promise import Promise

_log = structlog.get_logger("intu_fhir.commitment")
_AT_A_TIME = 1_000
"""Instances that are given rows in one transaction."""
_BATCH, _BATCH_SECONDS = 100, 5.0
"""After so many instances, or so long, what was found is written down."""
_LEASE_SECONDS, _BEAT_SECONDS = 300.0, 30.0
_SOON_SECONDS = 5.0


@dataclass(frozen=True)
class Commitments:
    """Requests for storage commitment of all channels; safe to use from several threads.

    Args:
        receiver: names the receiving process in staging.
        supported: SOP classes that are stored at all, those of channels' own included.
    """

    database: Database
    files: FileStore
    clock: Clock
    receiver: str
    limits: StorageCommitment
    supported: Collection[str]

    def take(self, request: CommitmentRequest) -> None:
        """Store a request; on return it is on disk and will be worked on.

        Raises:
            InvalidDataSet: it cannot be read.
            LimitPassed: it asks for too much, or too much waits.
            StoreUnavailable: it cannot be stored now.
        """
        waiting = self._waiting(request.origin)
        # One thread reads the requests of all: who has asked for too much already costs it nothing.
        self._require_room(waiting, 1)
        asked = read_action_information(
            request.read(), request.transfer_syntax_uid, self.limits.max_instances
        )
        self._require_room(waiting, len(asked.instances))
        with self.database.write() as connection:
            requests.store_request(
                connection, request.origin, asked, self.clock.now(), receiver=self.receiver
            )

    def _waiting(self, origin: Origin) -> Waiting:
        """Count before the transaction: who writes images does not wait for that."""
        with self.database.read() as connection:
            return requests.waiting(connection, origin)

    def _require_room(self, waiting: Waiting, instances: int) -> None:
        found = {
            "max_waiting": waiting.requests + 1,
            "max_waiting_of_one": waiting.requests_of_one + 1,
            "max_waiting_instances": waiting.instances + instances,
            "max_waiting_instances_of_one": waiting.instances_of_one + instances,
        }
        for limit, number in found.items():
            if number > getattr(self.limits, limit):
                raise LimitPassed(
                    "Too much waits for storage commitment; see `intu-fhir commitments list`, or "
                    f"raise receiver.storage_commitment.{limit}",
                    f"storage_commitment.{limit}",
                )

    def work_some(self) -> int:
        """List or look at the next instances of a request; return how many, 0 where none wait.

        Listing comes first: an instance that is listed is not pruned.
        """
        return self.list_some() or self.check_some()

    def list_some(self) -> int:
        """Give the instances of the oldest new request rows of their own."""
        held = self._claim(RECEIVED)
        if held is None:
            return 0
        with suppress(StaleClaim):
            self._list(held)
        return held.number_of_instances

    def _list(self, held: CommitmentClaim) -> None:
        with self.database.read() as connection:
            left = table.to_list(connection, held)
        number = held.reached + 1
        for begin in range(0, len(left), _AT_A_TIME):
            with self.database.write() as connection:
                some = left[begin : begin + _AT_A_TIME]
                table.list_some(connection, held, number + begin, some)
        with self.database.write() as connection:
            table.listed(connection, held, self.clock.now())

    def check_some(self) -> int:
        """Look at the next instances of the oldest request; return how many were looked at."""
        held = self._claim(ASKED)
        if held is None:
            return 0
        with self.database.read() as connection:
            waiting = table.unchecked(connection, held, _BATCH)
        seen: list[_Seen] = []
        try:
            self._look(held, waiting, seen)
            ended = len(waiting) < _BATCH and len(seen) == len(waiting)
            self._store(held, seen, ended=ended, due_at=self.clock.now())
        except StaleClaim:
            return 0
        except StoreUnavailable:
            # An object store may answer soon, or have what another machine took.
            with suppress(StaleClaim):
                self._wait(held, seen)
            return 0
        return max(len(seen), 1)

    def _wait(self, held: CommitmentClaim, seen: list[_Seen]) -> None:
        """Go on soon; what was seen before a wait holds no longer than a result that waits."""
        now = self.clock.now()
        holds_until = held.holds_until
        if holds_until is None and (held.reached or seen):
            holds_until = now + timedelta(seconds=self.limits.check_again_seconds)
        soon = now + timedelta(seconds=_SOON_SECONDS)
        self._store(held, seen, ended=False, due_at=soon, holds_until=holds_until)

    def _look(self, held: CommitmentClaim, waiting: list[Unchecked], seen: list[_Seen]) -> None:
        """Look at instances, for not too long; what was found so far is in ``seen``."""
        lease = _Lease(self, held)
        until = self.clock.monotonic() + _BATCH_SECONDS
        promise = Promise(self.files, lease.beat)
        for one in waiting:
            seen.append(self._look_at(held, one, promise))
            if self.clock.monotonic() >= until:
                return

    def _look_at(self, held: CommitmentClaim, one: Unchecked, promise: Promise) -> _Seen:
        """Look at an instance; at its new file as well where it got one since it was listed."""
        failure = self._failure(held, one, promise)
        if failure is FailureReason.PROCESSING_FAILURE:
            with self.database.read() as connection:
                now = table.staged_now(connection, held, one.number)
            if now is not None and now.file != one.file:
                one, failure = now, self._failure(held, now, promise)
        if failure is FailureReason.PROCESSING_FAILURE:
            _log.error(
                "file_damaged",
                instance=one.sop_instance_uid,
                file=one.file,
                reason="restore it from a backup, or have the instance sent again",
            )
        return _Seen(one, failure)

    def _claim(self, state: str) -> CommitmentClaim | None:
        now, due = self.clock.now(), Due(state)
        with self.database.read() as connection:
            if not table.is_due(connection, due, now):
                return None
        with self.database.write() as connection:
            return table.claim(connection, due, now, lease_seconds=_LEASE_SECONDS)

    def _store(
        self,
        held: CommitmentClaim,
        seen: list[_Seen],
        *,
        ended: bool,
        due_at: datetime,
        holds_until: datetime | None = None,
    ) -> None:
        """Write down what was found; behind the requests of others unless it has ended.

        Damage that is noted of a file which is sound, such as one restored from a backup, is noted
        no longer: else it would have the file looked at again and again before it is told. What is
        damaged is noted, so that the instance is taken again when it is sent again.
        """
        with self.database.write() as connection:
            table.store_results(connection, held, [(one.of.number, one.result) for one in seen])
            table.note_mended(connection, [one.of for one in seen if one.failure is None])
            now = self.clock.now()
            note_damage(connection, _damaged(seen), now)
            if ended and self._waited_too_long(held, now):
                table.check_again(connection, held, now)
            elif ended:
                table.checked(connection, held, now, self._holds_until(held, now))
            else:
                table.put_back(connection, held, due_at, holds_until=holds_until)

    def _waited_too_long(self, held: CommitmentClaim, now: datetime) -> bool:
        """Say whether a look has to begin anew, since it waited for a file in its midst."""
        is_old = held.holds_until is not None and now > held.holds_until
        return is_old and self._may_wait(held)

    def _holds_until(self, held: CommitmentClaim, now: datetime) -> datetime:
        """Say how long the result may be told as it is.

        One that had to be looked at again since its requester came late holds until it may come
        again: else a requester that comes seldom, and stays for less than a look takes, is never
        told.
        """
        seconds = self.limits.check_again_seconds
        if held.checked_at is not None:
            seconds = max(seconds, 2 * (now - held.checked_at).total_seconds())
        return now + timedelta(seconds=seconds)

    def _failure(
        self, held: CommitmentClaim, one: Unchecked, promise: Promise
    ) -> FailureReason | None:
        """Return why an instance cannot be promised, or None (PS3.3 C.14.1.1)."""
        if held.is_repeat:
            return FailureReason.DUPLICATE_TRANSACTION_UID
        if one.file is None:
            is_known = one.sop_class_uid in self.supported
            return (
                FailureReason.NO_SUCH_OBJECT_INSTANCE
                if is_known
                else FailureReason.REFERENCED_SOP_CLASS_NOT_SUPPORTED
            )
        if one.staged_class_uid != one.sop_class_uid:
            return FailureReason.CLASS_INSTANCE_CONFLICT
        try:
            return promise.failure(one, one.file)
        except StoreUnavailable:
            if self._may_wait(held):
                raise
            return FailureReason.RESOURCE_LIMITATION

    def _may_wait(self, held: CommitmentClaim) -> bool:
        """Say whether a file that cannot be had now may still come.

        A request that waits for ever, such as for the spool of a machine that is gone, would take
        its place among those that wait, and keep all of its studies from being pruned.
        """
        return self.clock.now() < held.asked_at + timedelta(days=self.limits.tell_days)


@dataclass(frozen=True, slots=True)
class _Seen:
    """An instance that was looked at, and why it cannot be promised, if it cannot."""

    of: Unchecked
    failure: FailureReason | None

    @property
    def result(self) -> str:
        """As it is written down."""
        return table.COMMITTED if self.failure is None else f"{self.failure:04X}"


def _damaged(seen: Iterable[_Seen]) -> dict[int, str]:
    """Return the files that are gone or not what was received, by the keys of their instances."""
    bad = (one.of for one in seen if one.failure is FailureReason.PROCESSING_FAILURE)
    return {one.instance_key: one.file for one in bad if one.instance_key and one.file}


class _Lease:
    """Keeps a claim while its files are read, however large they are."""

    def __init__(self, commitments: Commitments, held: CommitmentClaim) -> None:
        self._of, self._held = commitments, held
        self._next = commitments.clock.monotonic() + _BEAT_SECONDS

    def beat(self) -> None:
        """Have the claim last longer, where it is time for that.

        Raises:
            StaleClaim: another worker has it now.
        """
        clock = self._of.clock
        if clock.monotonic() < self._next:
            return
        self._next = clock.monotonic() + _BEAT_SECONDS
        with self._of.database.write() as connection:
            table.keep(connection, self._held, clock.now() + timedelta(seconds=_LEASE_SECONDS))
