"""Studies by steps and destinations: one state for each cell of a grid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy import Connection

from intu_fhir.db.reports import StudyRow
from intu_fhir.db.tables import deliveries, resources, work
from intu_fhir.model.work import BUILD, DONE

INVALID = "invalid"
"""State of a resource that its checks refuse."""


@dataclass(frozen=True, slots=True)
class Cell:
    """Where one study stands in one step, or at one destination.

    Args:
        attempts: tries that failed since the last success.
        due_at: when it is worked on next.
        error: why the last try failed.
    """

    state: str
    want: int
    have: int
    attempts: int
    due_at: datetime | None
    error: str


@dataclass(frozen=True, slots=True)
class GridRow:
    """One study with its cells by step and by destination; what is not there was not asked for."""

    study: StudyRow
    steps: dict[str, Cell]
    destinations: dict[str, Cell]


def cells_of(connection: Connection, found: Sequence[StudyRow]) -> list[GridRow]:
    """Return studies with their cells."""
    keys = [row.study_key for row in found]
    steps = _cells(connection, work, work.c.step, keys)
    _show_invalid(connection, found, steps)
    destinations = _cells(connection, deliveries, deliveries.c.destination, keys)
    return [
        GridRow(row, steps.get(row.study_key, {}), destinations.get(row.study_key, {}))
        for row in found
    ]


def _show_invalid(
    connection: Connection, found: Sequence[StudyRow], steps: dict[int, dict[str, Cell]]
) -> None:
    """Say of a build that it is done and may not be sent, where the newest version is invalid."""
    newest = {row.study_key: row.generation for row in found}
    rows = connection.execute(
        sa.select(resources.c.study_key, resources.c.generation).where(
            resources.c.study_key.in_(newest), resources.c.state == INVALID
        )
    )
    for key, generation in rows:
        cell = steps.get(key, {}).get(BUILD)
        if cell is not None and cell.state == DONE and generation == newest[key]:
            steps[key][BUILD] = replace(cell, state=INVALID)


def _cells(
    connection: Connection, queue: sa.Table, name: sa.Column[str], keys: Sequence[int]
) -> dict[int, dict[str, Cell]]:
    c = queue.c
    rows = connection.execute(
        sa.select(
            c.study_key, name, c.state, c.want, c.have, c.attempts, c.due_at, c.last_error
        ).where(c.study_key.in_(keys))
    )
    cells: dict[int, dict[str, Cell]] = {}
    for study_key, column, *values in rows:
        cells.setdefault(study_key, {})[column] = Cell(*values)
    return cells
