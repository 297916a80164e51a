"""Everything that is known of one study, for a person who asks what became of it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

from intu_fhir.db.delivery_report import DeliveryFilter, DeliveryRow, list_deliveries
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

MANY = 1_000
"""Most rows of a kind that a report of one study takes in."""


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


def study_report(connection: Connection, study_instance_uid: str) -> StudyReport | None:
    """Return what is known of a study, or None where it was never received."""
    study = find_study(connection, study_instance_uid)
    if study is None:
        return None
    key = study.study_key
    return StudyReport(
        study=study,
        series=_series(connection, key),
        associations=_associations(connection, key),
        generations=_generations(connection, key),
        resources=_resources(connection, key),
        work=_work(connection, key),
        holds=list_holds(
            connection, released=True, study_instance_uid=study_instance_uid, limit=MANY
        ),
        deliveries=list_deliveries(
            connection, DeliveryFilter(study_instance_uid=study_instance_uid, limit=MANY)
        ),
        attempts=_attempts(connection, key),
        images=_images(connection, key),
        promises=_promises(connection, key),
        acts=_acts(connection, study_instance_uid),
        headers_removed=without_header(connection, key),
    )


def _rows(connection: Connection, found: sa.Select[Any]) -> list[dict[str, Any]]:
    return [dict(row) for row in connection.execute(found.limit(MANY)).mappings()]


def _series(connection: Connection, key: int) -> list[SeriesRow]:
    c = series.c
    found = sa.select(*(c[name] for name in SeriesRow.__slots__)).where(c.study_key == key)
    rows = [SeriesRow(**row) for row in _rows(connection, found.order_by(c.series_key))]
    return sorted(rows, key=lambda row: _number(row.series_number))


def _number(raw: str) -> float:
    """Order by Series Number; what is no number comes last."""
    raw = raw.strip()
    return int(raw) if raw.isascii() and raw.isdigit() else float("inf")


def _associations(connection: Connection, key: int) -> list[AssociationRow]:
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
    return [AssociationRow(**row) for row in _rows(connection, found)]


def _generations(connection: Connection, key: int) -> list[GenerationRow]:
    c = generations.c
    found = sa.select(*(c[name] for name in GenerationRow.__slots__)).where(c.study_key == key)
    return [GenerationRow(**row) for row in _rows(connection, found.order_by(c.generation))]


def _resources(connection: Connection, key: int) -> list[ResourceRow]:
    c = resources.c
    found = sa.select(*(c[name] for name in ResourceRow.__slots__)).where(c.study_key == key)
    return [
        ResourceRow(**row) for row in _rows(connection, found.order_by(c.generation, c.built_at))
    ]


def _work(connection: Connection, key: int) -> list[WorkRow]:
    c = work.c
    found = sa.select(*(c[name] for name in WorkRow.__slots__)).where(c.study_key == key)
    return [WorkRow(**row) for row in _rows(connection, found.order_by(c.step))]


def _attempts(connection: Connection, key: int) -> list[AttemptRow]:
    names = [name for name in AttemptRow.__slots__ if name != "destination"]
    found = (
        sa.select(deliveries.c.destination, *(attempts.c[name] for name in names))
        .join(deliveries, deliveries.c.delivery_key == attempts.c.delivery_key)
        .where(deliveries.c.study_key == key)
        .order_by(attempts.c.attempt_key.desc())
    )
    return [AttemptRow(**row) for row in reversed(_rows(connection, found))]


def _images(connection: Connection, key: int) -> list[ImagesRow]:
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
    return [ImagesRow(**row) for row in _rows(connection, found)]


def _promises(connection: Connection, key: int) -> list[PromiseRow]:
    c = archive_commitments.c
    found = (
        sa.select(*(c[name] for name in PromiseRow.__slots__))
        .join(deliveries, deliveries.c.delivery_key == c.delivery_key)
        .where(deliveries.c.study_key == key)
        .order_by(c.request_key.desc())
    )
    return [PromiseRow(**row) for row in reversed(_rows(connection, found))]


def _acts(connection: Connection, study_instance_uid: str) -> list[ActRow]:
    c = audit_events.c
    found = sa.select(*(c[name] for name in ActRow.__slots__)).where(
        c.study_instance_uid == study_instance_uid, c.action.in_(_ACTS)
    )
    return [ActRow(**row) for row in _rows(connection, found.order_by(c.audit_event_key))]
