"""The list of studies; the command line and the web pages show the same rows."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

from intu_fhir.db.conditions import LIMIT, all_of, given, has_wildcards, wildcards
from intu_fhir.db.study_states import in_state, state_of_row, study_state
from intu_fhir.db.tables import (
    association_studies,
    associations,
    deliveries,
    series,
    studies,
)
from intu_fhir.model.work import DELIVERED, FILTERED


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
        .where(*_study_conditions(wanted, connection))
        .order_by(studies.c.last_received_at.desc(), studies.c.study_key.desc())
        .limit(wanted.limit)
    )
    return _with_many(connection, [StudyRow(**row) for row in rows.mappings()])


def find_study(connection: Connection, study_instance_uid: str) -> StudyRow | None:
    """Return one study, or None where it was never received."""
    rows = connection.execute(
        sa.select(*_study_columns()).where(studies.c.study_instance_uid == study_instance_uid)
    )
    found = _with_many(connection, [StudyRow(**row) for row in rows.mappings()])
    return found[0] if found else None


def _with_many(connection: Connection, found: list[StudyRow]) -> list[StudyRow]:
    """Add what a study can have several of."""
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


def _study_columns() -> list[sa.ColumnElement[Any]]:
    c = studies.c
    mine = deliveries.c.study_key == studies.c.study_key
    there = sa.and_(state_of_row(deliveries) == DELIVERED, deliveries.c.have >= deliveries.c.want)
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
        _counted(mine, state_of_row(deliveries) != FILTERED).label("deliveries"),
        _counted(mine, there).label("delivered"),
    ]


def _counted(*conditions: sa.ColumnElement[bool]) -> sa.ScalarSelect[int]:
    counted = sa.select(sa.func.count()).select_from(deliveries).where(*conditions)
    return counted.correlate(studies).scalar_subquery()


def _study_conditions(wanted: StudyFilter, connection: Connection) -> list[sa.ColumnElement[bool]]:
    c, dialect = studies.c, connection.dialect.name
    return all_of(
        given(lambda text: _matches(c.patient_id, text), wanted.patient_id),
        given(lambda text: _matches(c.accession_number, text), wanted.accession_number),
        given(lambda text: _contains(c.patient_name, text, dialect), wanted.patient_name),
        given(c.channel.__eq__, wanted.channel),
        given(in_state, wanted.state),
        given(c.study_date.__ge__, _da(wanted.study_date_from)),
        given(c.study_date.__le__, _da(wanted.study_date_to)),
        given(c.last_received_at.__ge__, wanted.received_from),
        given(c.last_received_at.__lt__, wanted.received_to),
        given(lambda one: _has(connection, _with_modality(one)), wanted.modality),
        given(lambda one: _has(connection, _with_caller(one)), wanted.calling_ae_title),
        given(_has_destination, wanted.destination),
        given(_follows, wanted.after),
    )


def _da(day: date | None) -> str | None:
    """Write a date as DICOM does (DA, PS3.5 6.2)."""
    return day.strftime("%Y%m%d") if day else None


def _matches(column: sa.Column[Any], text: str) -> sa.ColumnElement[bool]:
    if has_wildcards(text):
        return column.like(wildcards(text), escape="\\")
    return column == text


def _contains(column: sa.Column[Any], text: str, dialect: str) -> sa.ColumnElement[bool]:
    pattern = wildcards(text) if has_wildcards(text) else f"%{wildcards(text)}%"
    matches = sa.func.lower(column).like(sa.func.lower(pattern), escape="\\")
    beginning = text[:-1]
    if dialect != "sqlite" or not beginning or not text.endswith("*") or has_wildcards(beginning):
        return matches
    # SQLite enters an index by a range alone; the last character there is ends it.
    first = sa.func.lower(beginning)
    last = first.concat(chr(0x10FFFF))
    return sa.and_(matches, sa.func.lower(column) >= first, sa.func.lower(column) < last)


def _has(connection: Connection, found: sa.Select[tuple[int]]) -> sa.ColumnElement[bool]:
    """Return the condition that a study is among those found.

    Few are named; among many the newest are soon met in the order of the list.
    """
    few = connection.execute(found.distinct().limit(_FEW + 1)).scalars().all()
    if len(few) <= _FEW:
        return studies.c.study_key.in_(few)
    key = found.selected_columns[0]
    return found.where(key == studies.c.study_key).correlate(studies).exists()


_FEW = 2_000


def _with_modality(modality: str) -> sa.Select[tuple[int]]:
    return sa.select(series.c.study_key).where(series.c.modality == modality.upper())


def _with_caller(title: str) -> sa.Select[tuple[int]]:
    return (
        sa.select(association_studies.c.study_key)
        .join(associations, associations.c.association_id == association_studies.c.association_id)
        .where(associations.c.calling_ae_title == title)
    )


def _has_destination(name: str) -> sa.ColumnElement[bool]:
    inner = sa.select(sa.literal(1)).where(
        deliveries.c.study_key == studies.c.study_key, deliveries.c.destination == name
    )
    return inner.exists()


def _follows(after: tuple[datetime, int]) -> sa.ColumnElement[bool]:
    """What stands below ``after`` in the list.

    The first condition follows from the second; by it the index is entered at the place.
    """
    time, key = after
    c = studies.c
    return sa.and_(c.last_received_at <= time, sa.or_(c.last_received_at < time, c.study_key < key))


def _grouped(connection: Connection, pairs: sa.Select[Any]) -> dict[int, tuple[str, ...]]:
    found: dict[int, set[str]] = {}
    for key, value in connection.execute(pairs.distinct()):
        if value:
            found.setdefault(key, set()).add(value)
    return {key: tuple(sorted(values)) for key, values in found.items()}
