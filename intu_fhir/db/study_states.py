"""Where a study stands, in one word, computed by the database."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Table

from intu_fhir.db.tables import deliveries, holds, studies, work
from intu_fhir.model.work import (
    AGGREGATE,
    BUILD,
    DEAD,
    DELIVERED,
    FILTERED,
    HELD,
    RETRYING,
    RUNNING,
    WAITING,
)

STUDY_STATES: Mapping[str, str] = {
    "failed": "a step or a delivery is a dead letter; `replay` puts it back",
    "held": "not published until a person decides; see `holds`",
    "receiving": "new instances came, not settled yet",
    "settled": "complete for now, not built yet",
    "building": "its ImagingStudy is being built",
    "delivering": "on its way to a destination",
    "delivered": "every destination has it",
    "filtered": "the site's hook left it out",
    "staged": "settled; its channel has no destinations",
}
"""Every state with its meaning; the first one that is true counts."""


def study_state() -> sa.ColumnElement[str]:
    """Return the state of the row of ``studies`` that is being selected."""
    new_instances = _work(work.c.step == AGGREGATE, work.c.want > work.c.have)
    to_build = (work.c.step == BUILD, work.c.want > work.c.have)
    on_the_way = deliveries.c.state.in_([WAITING, RUNNING, RETRYING])
    conditions: dict[str, sa.ColumnElement[bool]] = {
        "failed": sa.or_(_delivery(deliveries.c.state == DEAD), _work(work.c.state == DEAD)),
        "held": sa.or_(_open_hold(), _delivery(deliveries.c.state == HELD)),
        "receiving": sa.or_(new_instances, studies.c.generation == 0),
        "settled": _work(*to_build, work.c.state == WAITING),
        "building": _work(*to_build),
        "delivering": _delivery(on_the_way),
        "delivered": _delivery(deliveries.c.state == DELIVERED),
        "filtered": _delivery(deliveries.c.state == FILTERED),
    }
    return sa.case(
        *((condition, sa.literal(name)) for name, condition in conditions.items()),
        else_=sa.literal("staged"),
    )


def _exists(table: Table, *conditions: sa.ColumnElement[bool]) -> sa.ColumnElement[bool]:
    inner: sa.Select[Any] = (
        sa.select(sa.literal(1))
        .select_from(table)
        .where(table.c.study_key == studies.c.study_key, *conditions)
        .correlate(studies)
    )
    return inner.exists()


def _delivery(*conditions: sa.ColumnElement[bool]) -> sa.ColumnElement[bool]:
    return _exists(deliveries, *conditions)


def _work(*conditions: sa.ColumnElement[bool]) -> sa.ColumnElement[bool]:
    return _exists(work, *conditions)


def _open_hold() -> sa.ColumnElement[bool]:
    return _exists(holds, holds.c.released_at.is_(None))
