"""What PACS answer to our requests for storage commitment, on whatever association it comes."""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime

import structlog

from intu_fhir.db.archive_answers import answer as write_answer
from intu_fhir.db.archive_closing import Known, find_request
from intu_fhir.db.session import Database
from intu_fhir.errors import InvalidDataSet, NotAuthorized
from intu_fhir.model.archive_commitment import (
    COMMITTED,
    FAILED,
    REJECTED,
    UNANSWERED,
    Closed,
    CommitmentAnswer,
    NextTry,
    reason_text,
)
from intu_fhir.model.cause import sentence
from intu_fhir.observe import metrics
from intu_fhir.observe.clock import Clock
from intu_fhir.pipeline.retry import uncounted_attempt_at
from intu_fhir.settings.schema import Commitment, DicomDestination, RetrySettings, Site
from intu_fhir.stage.commitment_answer import read_event_information

_log = structlog.get_logger("intu_fhir.commitment")

GIVEN_UP = "given_up"


@dataclass(frozen=True)
class Archive:
    """A PACS that is asked to promise that it keeps what it was sent."""

    name: str
    destination: DicomDestination
    commitment: Commitment

    @property
    def ours(self) -> str:
        """AE title that we ask by."""
        return self.commitment.ae_title or self.destination.ae_title

    @property
    def titles(self) -> frozenset[str]:
        """AE titles that it may answer by."""
        asked = self.commitment.called_ae_title or self.destination.called_ae_title
        return frozenset({asked, self.destination.called_ae_title, *self.commitment.answers_from})

    def next_try(self, what: str) -> NextTry:
        """Return what follows where it gave no promise; ``what`` happened the last time."""
        tries = self.commitment.max_tries
        remedy = "find out there why, then replay"
        words = f"The PACS took every image, but gave no promise to keep them in {tries} requests"
        return NextTry(tries, sentence(f"{words}: {what}", "", remedy))


def archives_of(site: Site) -> dict[str, Archive]:
    """Return the destinations that are asked, by name."""
    return {
        name: Archive(name, one, one.commitment)
        for name, one in site.destinations.items()
        if isinstance(one, DicomDestination) and one.commitment is not None
    }


def who_may_answer(archives: Mapping[str, Archive]) -> dict[str, frozenset[str]]:
    """Return, by the AE title of a PACS, the AE titles of ours that it answers to."""
    found: dict[str, frozenset[str]] = {}
    for archive in archives.values():
        for title in archive.titles:
            found[title] = found.get(title, frozenset()) | {archive.ours}
    return found


def count_from_zero(archives: Collection[str]) -> None:
    """Have the counters of these PACS stand at 0 before anything happens.

    To Prometheus a counter that begins at 1 has not risen: the first missing promise would raise
    no alert.
    """
    for name in archives:
        for outcome in (COMMITTED, FAILED, UNANSWERED, REJECTED, GIVEN_UP):
            metrics.COMMITMENTS.labels(name, outcome)


@dataclass(frozen=True)
class Hearing:
    """Takes results; safe to use from several threads.

    Args:
        archives: those that are asked, by name.
    """

    database: Database
    clock: Clock
    retry: RetrySettings
    archives: Mapping[str, Archive]
    chance: Callable[[], float] = field(default=random.random)

    def __call__(self, answer: CommitmentAnswer) -> None:
        """Take a result; on return it is on disk, and what follows from it will be done.

        Raises:
            InvalidDataSet: it cannot be read, or is of no request of ours.
            NotAuthorized: another PACS was asked.
            StoreUnavailable: it cannot be stored now.
        """
        result = read_event_information(answer.read(), answer.transfer_syntax_uid)
        with self.database.read() as connection:
            request = find_request(connection, result.transaction_uid)
        archive = self._who_was_asked(request, answer)
        assert request is not None, "only for a request somebody was asked"
        reasons = ", ".join(sorted({reason_text(reason) for _, reason in result.failed}))
        now = self.clock.now()
        with self.database.write() as connection:
            closed = write_answer(
                connection,
                request,
                result,
                now,
                retry_at=self.again_at(request.number, now),
                then=archive.next_try(reasons or "it leaves instances out of its answer"),
            )
        tell(closed, answer.calling_ae_title)

    def _who_was_asked(self, request: Known | None, answer: CommitmentAnswer) -> Archive:
        archive = self.archives.get(request.destination) if request else None
        if archive is None:
            _log.warning("commitment_of_nobody", calling_ae_title=answer.calling_ae_title)
            raise InvalidDataSet("A result of storage commitment for a request that is not ours")
        if answer.calling_ae_title not in archive.titles:
            raise NotAuthorized(
                f"{archive.name} was asked; where it answers by this AE title, too, add it to "
                "commitment.answers_from of that destination"
            )
        return archive

    def again_at(self, tries: int, now: datetime) -> datetime:
        """Return when to try again after so many tries."""
        return uncounted_attempt_at(self.retry, tries - 1, now, self.chance())


def tell(closed: Closed, calling_ae_title: str = "") -> None:
    """Log and count the end of a request."""
    fields = {
        "destination": closed.destination,
        "study": closed.study_instance_uid,
        "result": closed.state,
        "count": closed.committed,
        "refused": closed.failed,
        "calling_ae_title": calling_ae_title,
    }
    if not closed.first:
        _log.info("commitment_answered_again", **fields)
        return
    metrics.COMMITMENTS.labels(closed.destination, closed.state).inc()
    if closed.foreign:
        _log.warning("commitment_of_others", left=closed.foreign, **fields)
    if closed.given_up:
        metrics.COMMITMENTS.labels(closed.destination, GIVEN_UP).inc()
        _log.error("commitment_missing", **fields)
    elif closed.state == COMMITTED:
        _log.info("commitment_given", **fields)
    else:
        reason = ", ".join(map(reason_text, closed.reasons))
        _log.warning("commitment_not_given", reason=reason, **fields)
