"""Where a study stands, in one word, computed by the database."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
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
    "held": "not published until a person decides",
    "receiving": "new instances came, not settled yet",
    "settled": "complete for now, not built yet",
    "building": "its ImagingStudy is being built",
    "delivering": "on its way to a destination",
    "delivered": "every destination has it",
    "filtered": "the site's hook left it out",
    "staged": "settled; its channel has no destinations",
}
"""Every state with its meaning; the first one that is true counts."""


def one_by_one(asked: sa.Select[Any]) -> sa.ColumnElement[bool]:
    """Return whether there is a row for the study that is being selected.

    The offset keeps PostgreSQL from making a join of it, or a table of all that there are: a list
    asks about the few studies that it meets until it is full.
    """
    return asked.offset(0).correlate(studies).exists()


def state_of_row(table: Table) -> sa.ColumnElement[str]:
    """Return ``state`` for a question about one study.

    It is an expression, since SQLite would else go through every row of the state's index.
    """
    return table.c.state.concat("")


@dataclass(frozen=True)
class _Reason:
    """Rows of another table that put a study in a state.

    Args:
        states: of the row; none = any.
        conditions: what else has to be true of the row.
    """

    table: Table
    states: tuple[str, ...] = ()
    conditions: tuple[sa.ColumnElement[bool], ...] = ()

    def of_row(self) -> sa.ColumnElement[bool]:
        """Ask for the study that is being selected."""
        asked = sa.select(sa.literal(1)).select_from(self.table)
        asked = asked.where(self.table.c.study_key == studies.c.study_key, *self.conditions)
        if self.states:
            asked = asked.where(state_of_row(self.table).in_(self.states))
        return one_by_one(asked)

    def keys(self) -> sa.Select[tuple[int]]:
        """Return the studies that have it, by an index."""
        keys = sa.select(self.table.c.study_key).where(*self.conditions)
        if self.table is work and self.states != (DEAD,):
            keys = keys.where(work.c.due_at.is_not(None))  # what is wanted is due, or dead
        if self.states:
            # Written out, since a partial index serves only a state that stands in the statement.
            keys = keys.where(
                sa.or_(*(self.table.c.state == sa.literal_column(f"'{s}'") for s in self.states))
            )
        return keys


_OPEN_HOLD = _Reason(holds, conditions=(holds.c.released_at.is_(None),))
_NEW_INSTANCES = (work.c.step == AGGREGATE, work.c.want > work.c.have)
_TO_BUILD = (work.c.step == BUILD, work.c.want > work.c.have)

_REASONS: Mapping[str, tuple[_Reason, ...]] = {
    "failed": (_Reason(deliveries, (DEAD,)), _Reason(work, (DEAD,))),
    "held": (_OPEN_HOLD, _Reason(deliveries, (HELD,))),
    "receiving": (_Reason(work, conditions=_NEW_INSTANCES),),
    "settled": (_Reason(work, (WAITING,), _TO_BUILD),),
    "building": (_Reason(work, conditions=_TO_BUILD),),
    "delivering": (_Reason(deliveries, (WAITING, RUNNING, RETRYING)),),
    "delivered": (_Reason(deliveries, (DELIVERED,)),),
    "filtered": (_Reason(deliveries, (FILTERED,)),),
}


def study_state() -> sa.ColumnElement[str]:
    """Return the state of the row of ``studies`` that is being selected."""
    return sa.case(
        *((_is_so(name), sa.literal(name)) for name in _REASONS),
        else_=sa.literal("staged"),
    )


def _is_so(name: str) -> sa.ColumnElement[bool]:
    return sa.or_(*(reason.of_row() for reason in _REASONS[name]))


def in_state(name: str) -> sa.ColumnElement[bool]:
    """Return the condition that a row of ``studies`` is in this state.

    What most studies fail comes first, since the databases look no further then.
    """
    names = list(_REASONS)
    if name not in _REASONS:
        asked = sa.select(sa.literal(1)).where(deliveries.c.study_key == studies.c.study_key)
        return sa.and_(~one_by_one(asked), *(~_is_so(other) for other in names))
    return sa.and_(_is_so(name), *(~_is_so(other) for other in names[: names.index(name)]))


def keys_in_state(name: str) -> sa.Select[tuple[int]] | None:
    """Return the studies that have a reason for a state; None where it is the lack of any."""
    if name not in _REASONS:
        return None
    found = sa.union_all(*(reason.keys() for reason in _REASONS[name])).subquery()
    return sa.select(found.c.study_key)
