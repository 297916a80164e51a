"""Lists that people look at: studies, deliveries, holds, quarantine.

The command line and the web pages show the same rows.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

from intu_fhir.db.study_states import study_state
from intu_fhir.db.tables import (
    association_studies,
    associations,
    deliveries,
    holds,
    quarantine,
    series,
    studies,
)
from intu_fhir.model.work import DELIVERED, FILTERED

LIMIT = 50
"""Rows of a page where nothing else is asked for."""


@dataclass(frozen=True, slots=True)
class StudyFilter:
    """Which studies to list; what is None does not matter.

    Args:
        patient_id: exact, or with ``*`` and ``?`` as in DICOM matching (PS3.4 C.2.2.2.4).
        patient_name: part of the name as received, or with ``*`` and ``?``; case does not count.
        accession_number: exact, or with ``*`` and ``?``.
        modality: a modality of one of the series.
        state: one of ``STUDY_STATES``.
        study_date_from: first Study Date.
        study_date_to: last Study Date.
        received_from: the last instance came at or after this time.
        received_to: the last instance came before this time.
        after: ``StudyRow.study_key`` and ``last_received_at`` of the row that a page follows.
    """

    patient_id: str | None = None
    patient_name: str | None = None
    accession_number: str | None = None
    modality: str | None = None
    state: str | None = None
    channel: str | None = None
    calling_ae_title: str | None = None
    destination: str | None = None
    study_date_from: date | None = None
    study_date_to: date | None = None
    received_from: datetime | None = None
    received_to: datetime | None = None
    after: tuple[datetime, int] | None = None
    limit: int = LIMIT


@dataclass(frozen=True, slots=True)
class StudyRow:
    """One study of a list.

    Args:
        deliveries: destinations that want it.
        delivered: those of them that have its newest generation.
    """

    study_key: int
    study_instance_uid: str
    state: str
    channel: str
    patient_id: str
    patient_name: str
    accession_number: str
    study_date: str
    study_description: str
    number_of_series: int
    number_of_instances: int
    generation: int
    first_received_at: datetime
    last_received_at: datetime
    deliveries: int
    delivered: int
    modalities: tuple[str, ...] = ()
    calling_ae_titles: tuple[str, ...] = ()


def list_studies(connection: Connection, wanted: StudyFilter) -> list[StudyRow]:
    """Return studies, the one that received last first."""
    rows = connection.execute(
        sa.select(*_study_columns())
        .where(*_study_conditions(wanted))
        .order_by(studies.c.last_received_at.desc(), studies.c.study_key.desc())
        .limit(wanted.limit)
    )
    found = [StudyRow(**row) for row in rows.mappings()]
    keys = [row.study_key for row in found]
    modalities = _grouped(
        connection,
        sa.select(series.c.study_key, series.c.modality).where(series.c.study_key.in_(keys)),
    )
    callers = _grouped(
        connection,
        sa.select(association_studies.c.study_key, associations.c.calling_ae_title)
        .join(associations, associations.c.association_id == association_studies.c.association_id)
        .where(association_studies.c.study_key.in_(keys)),
    )
    return [
        replace(
            row,
            modalities=modalities.get(row.study_key, ()),
            calling_ae_titles=callers.get(row.study_key, ()),
        )
        for row in found
    ]


def count_studies(connection: Connection, wanted: StudyFilter) -> int:
    """Return how many studies a filter finds over all pages."""
    conditions = _study_conditions(replace(wanted, after=None))
    counted = sa.select(sa.func.count()).select_from(studies).where(*conditions)
    return int(connection.execute(counted).scalar_one())


def _study_columns() -> list[sa.ColumnElement[Any]]:
    c = studies.c
    mine = deliveries.c.study_key == studies.c.study_key
    there = sa.and_(deliveries.c.state == DELIVERED, deliveries.c.have >= deliveries.c.want)
    return [
        c.study_key,
        c.study_instance_uid,
        study_state().label("state"),
        c.channel,
        c.patient_id,
        c.patient_name,
        c.accession_number,
        c.study_date,
        c.study_description,
        c.number_of_series,
        c.number_of_instances,
        c.generation,
        c.first_received_at,
        c.last_received_at,
        _counted(mine, deliveries.c.state != FILTERED).label("deliveries"),
        _counted(mine, there).label("delivered"),
    ]


def _counted(*conditions: sa.ColumnElement[bool]) -> sa.ScalarSelect[int]:
    counted = sa.select(sa.func.count()).select_from(deliveries).where(*conditions)
    return counted.correlate(studies).scalar_subquery()


def _study_conditions(wanted: StudyFilter) -> list[sa.ColumnElement[bool]]:
    c = studies.c
    conditions = [
        _matches(c.patient_id, wanted.patient_id),
        _matches(c.accession_number, wanted.accession_number),
        _contains(c.patient_name, wanted.patient_name),
        _compare(c.channel.__eq__, wanted.channel),
        _compare(study_state().__eq__, wanted.state),
        _compare(c.study_date.__ge__, _da(wanted.study_date_from)),
        _compare(c.study_date.__le__, _da(wanted.study_date_to)),
        _compare(c.last_received_at.__ge__, wanted.received_from),
        _compare(c.last_received_at.__lt__, wanted.received_to),
        _compare(_has_modality, wanted.modality),
        _compare(_has_caller, wanted.calling_ae_title),
        _compare(_has_destination, wanted.destination),
        _compare(_follows, wanted.after),
    ]
    return [condition for condition in conditions if condition is not None]


def _compare(condition: Any, value: Any) -> sa.ColumnElement[bool] | None:
    return None if value is None else condition(value)


def _da(day: date | None) -> str | None:
    """Write a date as DICOM does (DA, PS3.5 6.2)."""
    return day.strftime("%Y%m%d") if day else None


def _like(text: str) -> str:
    """Turn DICOM wildcards into those of SQL; what SQL would take for one is escaped."""
    for special in "\\%_":
        text = text.replace(special, f"\\{special}")
    return text.replace("*", "%").replace("?", "_")


def _matches(column: sa.Column[Any], text: str | None) -> sa.ColumnElement[bool] | None:
    if text is None:
        return None
    if "*" in text or "?" in text:
        return column.like(_like(text), escape="\\")
    return column == text


def _contains(column: sa.Column[Any], text: str | None) -> sa.ColumnElement[bool] | None:
    if text is None:
        return None
    pattern = _like(text) if "*" in text or "?" in text else f"%{_like(text)}%"
    return sa.func.lower(column).like(sa.func.lower(pattern), escape="\\")


def _has_modality(modality: str) -> sa.ColumnElement[bool]:
    inner = sa.select(sa.literal(1)).where(
        series.c.study_key == studies.c.study_key, series.c.modality == modality.upper()
    )
    return inner.exists()


def _has_caller(title: str) -> sa.ColumnElement[bool]:
    inner = (
        sa.select(sa.literal(1))
        .select_from(association_studies)
        .join(associations, associations.c.association_id == association_studies.c.association_id)
        .where(
            association_studies.c.study_key == studies.c.study_key,
            associations.c.calling_ae_title == title,
        )
    )
    return inner.exists()


def _has_destination(name: str) -> sa.ColumnElement[bool]:
    inner = sa.select(sa.literal(1)).where(
        deliveries.c.study_key == studies.c.study_key, deliveries.c.destination == name
    )
    return inner.exists()


def _follows(after: tuple[datetime, int]) -> sa.ColumnElement[bool]:
    """What stands below ``after`` in the list."""
    time, key = after
    c = studies.c
    return sa.or_(c.last_received_at < time, sa.and_(c.last_received_at == time, c.study_key < key))


def _grouped(connection: Connection, pairs: sa.Select[Any]) -> dict[int, tuple[str, ...]]:
    found: dict[int, set[str]] = {}
    for key, value in connection.execute(pairs.distinct()):
        if value:
            found.setdefault(key, set()).add(value)
    return {key: tuple(sorted(values)) for key, values in found.items()}


@dataclass(frozen=True, slots=True)
class DeliveryRow:
    """One study at one destination; ``last_error`` says why it is not there."""

    delivery_key: int
    study_instance_uid: str
    accession_number: str
    destination: str
    state: str
    want: int
    have: int
    attempts: int
    due_at: datetime | None
    first_failed_at: datetime | None
    last_status: str
    last_error: str
    warning: str
    delivered_at: datetime | None
    server_id: str
    server_version: str
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class DeliveryFilter:
    """Which deliveries to list; what is None does not matter."""

    study_instance_uid: str | None = None
    destination: str | None = None
    states: tuple[str, ...] | None = None
    updated_from: datetime | None = None
    updated_to: datetime | None = None
    after: tuple[datetime, int] | None = None
    limit: int = LIMIT


def delivery_columns() -> list[sa.ColumnElement[Any]]:
    """Return the columns of ``DeliveryRow``, from ``deliveries`` joined with ``studies``."""
    d = deliveries.c
    return [
        d.delivery_key,
        studies.c.study_instance_uid,
        studies.c.accession_number,
        d.destination,
        d.state,
        d.want,
        d.have,
        d.attempts,
        d.due_at,
        d.first_failed_at,
        d.last_status,
        d.last_error,
        d.warning,
        d.delivered_at,
        d.server_id,
        d.server_version,
        d.updated_at,
    ]


def list_deliveries(connection: Connection, wanted: DeliveryFilter) -> list[DeliveryRow]:
    """Return deliveries, what changed last first."""
    d = deliveries.c
    conditions = [
        _compare(studies.c.study_instance_uid.__eq__, wanted.study_instance_uid),
        _compare(d.destination.__eq__, wanted.destination),
        _compare(d.state.in_, wanted.states),
        _compare(d.updated_at.__ge__, wanted.updated_from),
        _compare(d.updated_at.__lt__, wanted.updated_to),
        _compare(_delivery_follows, wanted.after),
    ]
    rows = connection.execute(
        sa.select(*delivery_columns())
        .join_from(deliveries, studies, studies.c.study_key == d.study_key)
        .where(*(condition for condition in conditions if condition is not None))
        .order_by(d.updated_at.desc(), d.delivery_key.desc())
        .limit(wanted.limit)
    )
    return [DeliveryRow(**row) for row in rows.mappings()]


def _delivery_follows(after: tuple[datetime, int]) -> sa.ColumnElement[bool]:
    time, key = after
    d = deliveries.c
    return sa.or_(d.updated_at < time, sa.and_(d.updated_at == time, d.delivery_key < key))


def count_deliveries(connection: Connection) -> dict[str, dict[str, int]]:
    """Return how many deliveries there are by destination and state."""
    rows = connection.execute(
        sa.select(deliveries.c.destination, deliveries.c.state, sa.func.count())
        .group_by(deliveries.c.destination, deliveries.c.state)
        .order_by(deliveries.c.destination, deliveries.c.state)
    )
    counts: dict[str, dict[str, int]] = {}
    for destination, state, number in rows:
        counts.setdefault(destination, {})[state] = number
    return counts


@dataclass(frozen=True, slots=True)
class HoldRow:
    """One hold; ``destination`` is empty where the whole study is held."""

    hold_key: int
    study_instance_uid: str
    destination: str
    reason: str
    detail: str
    generation: int
    held_at: datetime
    released_at: datetime | None
    released_by: str


def list_holds(
    connection: Connection,
    *,
    released: bool = False,
    study_instance_uid: str | None = None,
    limit: int = LIMIT,
) -> list[HoldRow]:
    """Return open holds, the oldest first; with ``released`` those that were released too."""
    conditions = [
        None if released else holds.c.released_at.is_(None),
        _compare(studies.c.study_instance_uid.__eq__, study_instance_uid),
    ]
    rows = connection.execute(
        sa.select(
            holds.c.hold_key,
            studies.c.study_instance_uid,
            holds.c.destination,
            holds.c.reason,
            holds.c.detail,
            holds.c.generation,
            holds.c.held_at,
            holds.c.released_at,
            holds.c.released_by,
        )
        .join_from(holds, studies, studies.c.study_key == holds.c.study_key)
        .where(*(condition for condition in conditions if condition is not None))
        .order_by(holds.c.held_at, holds.c.hold_key)
        .limit(limit)
    )
    return [HoldRow(**row) for row in rows.mappings()]


@dataclass(frozen=True, slots=True)
class QuarantineRow:
    """One object whose bytes are kept and not published."""

    quarantine_key: int
    received_at: datetime
    reason: str
    detail: str
    sop_instance_uid: str
    study_instance_uid: str
    calling_ae_title: str
    channel: str
    file: str


def list_quarantine(
    connection: Connection, *, reasons: Iterable[str] | None = None, limit: int = LIMIT
) -> list[QuarantineRow]:
    """Return quarantined objects, the newest first."""
    q = quarantine.c
    found = (
        sa.select(
            q.quarantine_key,
            q.received_at,
            q.reason,
            q.detail,
            q.sop_instance_uid,
            q.study_instance_uid,
            associations.c.calling_ae_title,
            associations.c.channel,
            q.file,
        )
        .join_from(quarantine, associations, associations.c.association_id == q.association_id)
        .order_by(q.received_at.desc(), q.quarantine_key.desc())
        .limit(limit)
    )
    if reasons is not None:
        found = found.where(q.reason.in_(list(reasons)))
    return [QuarantineRow(**row) for row in connection.execute(found).mappings()]
