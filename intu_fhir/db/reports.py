"""The list of studies; the command line and the web pages show the same rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cache
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

from intu_fhir.db.study_search import FEW, WINDOW, Place, Plan, end_of_window, plan, up_to
from intu_fhir.db.study_search import StudyFilter as StudyFilter
from intu_fhir.db.study_search import place_of as place_of
from intu_fhir.db.study_states import state_of_row, study_state
from intu_fhir.db.tables import (
    association_studies,
    associations,
    deliveries,
    series,
    studies,
)
from intu_fhir.model.work import DELIVERED, FILTERED


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


@dataclass(frozen=True, slots=True)
class StudyPage:
    """A piece of a list.

    Args:
        looked_to: the last place that was looked at, where the list may go on below it and the
            page is not full.
    """

    rows: list[StudyRow]
    looked_to: Place | None = None


def list_studies(
    connection: Connection, wanted: StudyFilter, *, by_keys: int = FEW
) -> list[StudyRow]:
    """Return studies, the newest first, however many have to be looked through.

    Args:
        by_keys: so many studies are taken by their keys, where one condition names no more.
    """
    how = plan(connection, wanted, by_keys)
    return _rows(connection, wanted, how, how.conditions)


def page_of_studies(
    connection: Connection, wanted: StudyFilter, *, window: int = WINDOW
) -> StudyPage:
    """Return studies, the newest first, of as many as can be looked through in a moment."""
    how = plan(connection, wanted)
    end = end_of_window(connection, wanted, window) if how.is_walk and not how.is_all else None
    if end is None:
        return StudyPage(_rows(connection, wanted, how, how.conditions))
    rows = _rows(connection, wanted, how, [up_to(wanted, end), *how.conditions])
    return StudyPage(rows, end if len(rows) < wanted.limit else None)


def _rows(
    connection: Connection,
    wanted: StudyFilter,
    how: Plan,
    conditions: Sequence[sa.ColumnElement[bool]],
) -> list[StudyRow]:
    # The keys first: PostgreSQL would else prepare what is said of a study for all of them.
    keys = sa.select(studies.c.study_key).where(*conditions).order_by(*how.order)
    found = connection.execute(keys.limit(wanted.limit)).scalars().all()
    rows = connection.execute(
        sa.select(*_study_columns()).where(studies.c.study_key.in_(found)).order_by(*how.order)
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


@cache  # the same for each question, and larger than all that is asked besides
def _study_columns() -> tuple[sa.ColumnElement[Any], ...]:
    c = studies.c
    mine = deliveries.c.study_key == studies.c.study_key
    there = sa.and_(state_of_row(deliveries) == DELIVERED, deliveries.c.have >= deliveries.c.want)
    return (
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
    )


def _counted(*conditions: sa.ColumnElement[bool]) -> sa.ScalarSelect[int]:
    counted = sa.select(sa.func.count()).select_from(deliveries).where(*conditions)
    return counted.correlate(studies).scalar_subquery()


def _grouped(connection: Connection, pairs: sa.Select[Any]) -> dict[int, tuple[str, ...]]:
    found: dict[int, set[str]] = {}
    for key, value in connection.execute(pairs.distinct()):
        if value:
            found.setdefault(key, set()).add(value)
    return {key: tuple(sorted(values)) for key, values in found.items()}
