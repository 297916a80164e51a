"""Everything that is known of one study, for a person who asks what became of it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

from intu_fhir.db.delivery_report import DeliveryFilter, DeliveryRow, list_deliveries
from intu_fhir.db.log_beginnings import removed_until
from intu_fhir.db.old_headers import without_header
from intu_fhir.db.reports import StudyRow, find_study
from intu_fhir.db.review import HoldRow, list_holds
from intu_fhir.db.tables import (
    archive_commitments,
    association_studies,
    associations,
    attempts,
    audit_events,
    deliveries,
    generations,
    instance_deliveries,
    instances,
    resources,
    series,
    work,
)
from intu_fhir.model.audit import Action
from intu_fhir.model.values import is_number

MANY = 1_000
"""Most rows of a kind that a report of one study takes in; where there are more, it says so."""


@dataclass(frozen=True, slots=True)
class Cut:
    """What a report leaves out of one kind of rows.

    Args:
        of: how many there are.
        newest: those that came last are shown, else those that came first.
    """

    what: str
    shown: int
    of: int
    newest: bool

    @property
    def words(self) -> str:
        """Return it as a sentence."""
        which = "last" if self.newest else "first"
        return f"Only the {which} {self.shown:,} of {self.of:,} {self.what} are shown."


@dataclass(frozen=True, slots=True)
class SeriesRow:
    """One series as staged."""

    series_instance_uid: str
    modality: str
    series_number: str
    series_description: str
    body_part_examined: str
    number_of_instances: int


@dataclass(frozen=True, slots=True)
class AssociationRow:
    """One association that brought instances; ``instances`` counts those of this study."""

    association_id: str
    kind: str
    channel: str
    calling_ae_title: str
    peer_address: str
    tls: bool
    started_at: datetime
    ended_at: datetime | None
    end_reason: str
    instances: int


@dataclass(frozen=True, slots=True)
class GenerationRow:
    """One time the study settled, and by which evidence."""

    generation: int
    settled_at: datetime
    evidence: str
    evidence_detail: str
    number_of_series: int
    number_of_instances: int


@dataclass(frozen=True, slots=True)
class ResourceRow:
    """One ImagingStudy as built; ``findings`` are remarks of the mapping and the validation."""

    resource_key: int
    generation: int
    release: str
    mapping_version: str
    channel: str
    built_at: datetime
    state: str
    content_hash: str
    findings: list[dict[str, str]]


@dataclass(frozen=True, slots=True)
class WorkRow:
    """Where a step before delivery stands."""

    step: str
    state: str
    want: int
    have: int
    attempts: int
    due_at: datetime | None
    last_error: str


@dataclass(frozen=True, slots=True)
class AttemptRow:
    """One try at one destination."""

    destination: str
    generation: int
    number: int
    started_at: datetime
    ended_at: datetime
    outcome: str
    status: str
    detail: str


@dataclass(frozen=True, slots=True)
class ActRow:
    """What a person did to the study: had it sent or built again, had its files removed."""

    happened_at: datetime
    action: str
    actor: str
    destination: str
    reason: str


_ACTS = (Action.REPLAYED, Action.REBUILT, Action.DELETED)


@dataclass(frozen=True, slots=True)
class ImagesRow:
    """What a PACS answered for the instances of the study, counted.

    Args:
        committed: of these, instances that it has promised to keep.
    """

    destination: str
    status: str
    delivered: bool
    transcoded_to: str
    instances: int
    committed: int


@dataclass(frozen=True, slots=True)
class PromiseRow:
    """One request to a PACS to promise that it keeps images, and what came of it."""

    destination: str
    state: str
    number: int
    number_of_instances: int
    failed: int
    planned_at: datetime
    asked_at: datetime | None
    answered_at: datetime | None
    last_error: str


@dataclass(frozen=True, slots=True)
class StudyReport:
    """One study with all that belongs to it."""

    study: StudyRow
    series: list[SeriesRow]
    associations: list[AssociationRow]
    generations: list[GenerationRow]
    resources: list[ResourceRow]
    work: list[WorkRow]
    holds: list[HoldRow]
    deliveries: list[DeliveryRow]
    attempts: list[AttemptRow]
    images: list[ImagesRow]
    promises: list[PromiseRow]
    acts: list[ActRow]
    headers_removed: int
    """Instances whose complete header was removed by retention."""
    tries_removed_until: datetime | None
    """Until when tries were removed by retention, if the study was there by then."""
    cut: list[Cut]
    """Kinds of rows that are not here in full."""


def study_report(connection: Connection, study_instance_uid: str) -> StudyReport | None:
    """Return what is known of a study, or None where it was never received."""
    study = find_study(connection, study_instance_uid)
    if study is None:
        return None
    key, cut = study.study_key, list[Cut]()
    read = _Reading(connection, cut)
    return StudyReport(
        study=study,
        series=_series(read, key),
        associations=_associations(read, key),
        generations=_generations(read, key),
        resources=_resources(read, key),
        work=_work(read, key),
        holds=list_holds(
            connection, released=True, study_instance_uid=study_instance_uid, limit=MANY
        ),
        deliveries=list_deliveries(
            connection, DeliveryFilter(study_instance_uid=study_instance_uid, limit=MANY)
        ),
        attempts=_attempts(read, key),
        images=_images(read, key),
        promises=_promises(read, key),
        acts=_acts(read, study_instance_uid),
        headers_removed=without_header(connection, key),
        tries_removed_until=_tries_removed(connection, study.first_received_at),
        cut=cut,
    )


@dataclass(frozen=True, slots=True)
class _Reading:
    """Reads rows, and notes of what there are more than a report takes in."""

    connection: Connection
    cut: list[Cut]

    def first(self, what: str, found: sa.Select[Any]) -> list[dict[str, Any]]:
        """Return the first rows."""
        return self._rows(what, found, newest=False)

    def last(self, what: str, found: sa.Select[Any]) -> list[dict[str, Any]]:
        """Return the last rows of what is read from the newest on, in order."""
        return self._rows(what, found, newest=True)[::-1]

    def _rows(self, what: str, found: sa.Select[Any], *, newest: bool) -> list[dict[str, Any]]:
        rows = [dict(row) for row in self.connection.execute(found.limit(MANY)).mappings()]
        if len(rows) == MANY:
            every = sa.select(sa.func.count()).select_from(found.order_by(None).subquery())
            of = self.connection.execute(every).scalar_one()
            if of > MANY:
                self.cut.append(Cut(what, MANY, of, newest))
        return rows


def _series(read: _Reading, key: int) -> list[SeriesRow]:
    c = series.c
    found = sa.select(*(c[name] for name in SeriesRow.__slots__)).where(c.study_key == key)
    rows = [SeriesRow(**row) for row in read.first("series", found.order_by(c.series_key))]
    return sorted(rows, key=lambda row: _number(row.series_number))


def _number(raw: str) -> float:
    """Order by Series Number; what is no number comes last."""
    raw = raw.strip()
    return int(raw) if is_number(raw) else float("inf")


def _associations(read: _Reading, key: int) -> list[AssociationRow]:
    c = associations.c
    counted = (
        sa.select(sa.func.count())
        .where(instances.c.study_key == key, instances.c.association_id == c.association_id)
        .correlate(associations)
        .scalar_subquery()
    )
    names = [name for name in AssociationRow.__slots__ if name != "instances"]
    found = (
        sa.select(*(c[name] for name in names), counted.label("instances"))
        .join(association_studies, association_studies.c.association_id == c.association_id)
        .where(association_studies.c.study_key == key)
        .order_by(c.started_at, c.association_id)
    )
    return [AssociationRow(**row) for row in read.first("associations", found)]


def _generations(read: _Reading, key: int) -> list[GenerationRow]:
    c = generations.c
    found = sa.select(*(c[name] for name in GenerationRow.__slots__)).where(c.study_key == key)
    return [GenerationRow(**row) for row in read.first("generations", found.order_by(c.generation))]


def _resources(read: _Reading, key: int) -> list[ResourceRow]:
    c = resources.c
    found = sa.select(*(c[name] for name in ResourceRow.__slots__)).where(c.study_key == key)
    return [
        ResourceRow(**row)
        for row in read.first("versions", found.order_by(c.generation, c.built_at))
    ]


def _work(read: _Reading, key: int) -> list[WorkRow]:
    c = work.c
    found = sa.select(*(c[name] for name in WorkRow.__slots__)).where(c.study_key == key)
    return [WorkRow(**row) for row in read.first("steps", found.order_by(c.step))]


def _attempts(read: _Reading, key: int) -> list[AttemptRow]:
    names = [name for name in AttemptRow.__slots__ if name != "destination"]
    found = (
        sa.select(deliveries.c.destination, *(attempts.c[name] for name in names))
        .join(deliveries, deliveries.c.delivery_key == attempts.c.delivery_key)
        .where(deliveries.c.study_key == key)
        .order_by(attempts.c.attempt_key.desc())
    )
    return [AttemptRow(**row) for row in read.last("tries", found)]


def _tries_removed(connection: Connection, first_received_at: datetime) -> datetime | None:
    """Return until when tries were removed, where the study was there by then."""
    until = removed_until(connection, attempts.name)
    return until if until and until >= first_received_at else None


def _images(read: _Reading, key: int) -> list[ImagesRow]:
    c = instance_deliveries.c
    found = (
        sa.select(
            deliveries.c.destination,
            c.status,
            c.delivered,
            c.transcoded_to,
            sa.func.count().label("instances"),
            sa.func.count(c.committed_at).label("committed"),
        )
        .join_from(instance_deliveries, deliveries, deliveries.c.delivery_key == c.delivery_key)
        .where(deliveries.c.study_key == key)
        .group_by(deliveries.c.destination, c.status, c.delivered, c.transcoded_to)
        .order_by(deliveries.c.destination, c.status, c.transcoded_to)
    )
    return [ImagesRow(**row) for row in read.first("answers of archives", found)]


def _promises(read: _Reading, key: int) -> list[PromiseRow]:
    c = archive_commitments.c
    found = (
        sa.select(*(c[name] for name in PromiseRow.__slots__))
        .join(deliveries, deliveries.c.delivery_key == c.delivery_key)
        .where(deliveries.c.study_key == key)
        .order_by(c.request_key.desc())
    )
    return [PromiseRow(**row) for row in read.last("requests for a promise", found)]


def _acts(read: _Reading, study_instance_uid: str) -> list[ActRow]:
    c = audit_events.c
    found = sa.select(*(c[name] for name in ActRow.__slots__)).where(
        c.study_instance_uid == study_instance_uid, c.action.in_(_ACTS)
    )
    return [
        ActRow(**row) for row in read.first("acts of people", found.order_by(c.audit_event_key))
    ]
