"""A study's life as one sequence of events, made from its report."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime

from intu_fhir.db.study_report import (
    ActRow,
    AssociationRow,
    AttemptRow,
    GenerationRow,
    PromiseRow,
    ResourceRow,
    StudyReport,
)
from intu_fhir.model.answers import status_beside
from intu_fhir.model.archive_commitment import COMMITTED
from intu_fhir.model.counting import counted
from intu_fhir.model.work import DEAD, RETRYING


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened to a study.

    Args:
        step: receive, aggregate, build, deliver, hold or person.
        seconds: how long it took, where it has a length.
        since_previous: seconds since the event before it began; 0 for the first.
        failed: it did not come to what it was to come to.
        outcome: of a try: ``delivered``, ``retrying``, ``dead`` or ``held``; else empty.
    """

    at: datetime
    step: str
    what: str
    detail: str = ""
    seconds: float | None = None
    since_previous: float = 0.0
    failed: bool = False
    outcome: str = ""


def timeline(report: StudyReport) -> list[Event]:
    """Return what happened to a study, the first event first."""
    events = sorted(_events(report), key=lambda event: event.at)
    starts = [event.at for event in events]
    return [
        replace(event, since_previous=(event.at - before).total_seconds())
        for event, before in zip(events, [*starts[:1], *starts], strict=False)
    ]


def _events(report: StudyReport) -> Iterator[Event]:
    yield from map(_received, report.associations)
    yield from map(_settled, report.generations)
    yield from map(_built, report.resources)
    yield from map(_tried, report.attempts)
    for promise in report.promises:
        yield from _promised(promise)
    yield from map(_acted, report.acts)
    for hold in report.holds:
        where = f" for {hold.destination}" if hold.destination else ""
        yield Event(hold.held_at, "hold", f"held{where} ({hold.reason})", hold.detail)
        if hold.released_at:
            by = f" by {hold.released_by}" if hold.released_by else ""
            yield Event(hold.released_at, "hold", f"released{where}{by} ({hold.reason})")


_DONE = {"replayed": "put back", "rebuilt": "asked to be built again", "deleted": "files removed"}


def _acted(row: ActRow) -> Event:
    where = f" for {row.destination}" if row.destination else ""
    what = f"{_DONE.get(row.action, row.action)}{where} by {row.actor}"
    return Event(row.happened_at, "person", what, row.reason)


def _received(row: AssociationRow) -> Event:
    door = "import" if row.kind == "import" else row.calling_ae_title or "unnamed sender"
    ended = row.end_reason if row.ended_at else "still open"
    return Event(
        row.started_at,
        "receive",
        f"{counted(row.instances, 'instance')} from {door}",
        ", ".join(part for part in (row.peer_address, "TLS" if row.tls else "", ended) if part),
        (row.ended_at - row.started_at).total_seconds() if row.ended_at else None,
    )


def _settled(row: GenerationRow) -> Event:
    what = (
        f"generation {row.generation} settled, {row.number_of_series} series, "
        f"{counted(row.number_of_instances, 'instance')}"
    )
    evidence = ": ".join(part for part in (row.evidence, row.evidence_detail) if part)
    return Event(row.settled_at, "aggregate", what, evidence)


def _built(row: ResourceRow) -> Event:
    what = f"generation {row.generation} built as {row.release.upper()}, {row.state}"
    findings = f", {counted(len(row.findings), 'finding')}" if row.findings else ""
    failed = row.state == "invalid"
    detail = f"mapping {row.mapping_version}{findings}"
    return Event(row.built_at, "build", what, detail, failed=failed)


def _promised(row: PromiseRow) -> Iterator[Event]:
    """What a PACS was asked to promise to keep, and what it answered."""
    of, many = f"{row.destination}: ", counted(row.number_of_instances, "instance")
    began = row.asked_at or row.planned_at
    ended = "" if row.answered_at else " ".join(p for p in (row.state, row.last_error) if p)
    asked = f"{of}asked to promise to keep {many}, request {row.number}"
    yield Event(began, "deliver", asked, ended)
    if row.answered_at is None:
        return
    what = f"{of}promised to keep {many}"
    failed = row.state != COMMITTED
    if failed:
        what = f"{of}no promise to keep {row.failed or 'some'} of {many}"
    seconds = (row.answered_at - began).total_seconds()
    yield Event(row.answered_at, "deliver", what, row.last_error, seconds, failed=failed)


def _tried(row: AttemptRow) -> Event:
    what = f"{row.destination}: {row.outcome}, try {row.number} of generation {row.generation}"
    words = (status_beside(row.status, row.detail), row.detail)
    detail = " ".join(part for part in words if part)
    seconds = (row.ended_at - row.started_at).total_seconds()
    return Event(
        row.started_at,
        "deliver",
        what,
        detail,
        seconds,
        failed=row.outcome in {RETRYING, DEAD},
        outcome=row.outcome,
    )
