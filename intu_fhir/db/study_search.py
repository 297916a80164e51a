"""Which studies are asked for, and in which order they are looked through.

A search has two ways. Where one condition names few studies, they are taken by their keys. Else
the studies are looked through in the order of the list, and the first that match end it. So that
this ends in time where nearly none match, a page looks through a window and says how far it came.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime
from itertools import takewhile
from typing import Any, TypeAlias

import sqlalchemy as sa
from sqlalchemy import Connection

from intu_fhir.db.conditions import LIMIT, all_of, given, has_wildcards, like_in_any_case, wildcards
from intu_fhir.db.study_states import in_state, keys_in_state, one_by_one
from intu_fhir.db.tables import association_studies, associations, deliveries, series, studies

WINDOW = 25_000
"""Studies that one page looks through at most."""

FEW = 2_000
"""So many studies are taken by their keys."""

_LAST_CHARACTER = chr(0x10FFFF)
_WILD = ("*", "?")

Place: TypeAlias = "tuple[datetime | str, int]"
"""A place in a list: what it is ordered by, and ``study_key``."""

Keys: TypeAlias = sa.Select[tuple[int]]


@dataclass(frozen=True, slots=True)
class StudyFilter:
    """Which studies to list; what is None does not matter.

    A list by Study Date is ordered by it; any other list by what was received last.

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
        after: the place that a page follows, see ``place_of``.
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
    after: Place | None = None
    limit: int = LIMIT

    @property
    def by_date(self) -> bool:
        """Say whether the list is ordered by Study Date."""
        return self.study_date_from is not None or self.study_date_to is not None


@dataclass(frozen=True, slots=True)
class Plan:
    """How a search is made.

    Args:
        conditions: what every study of the list fulfils.
        is_walk: it looks through the list's order; else through few keys.
        is_all: nothing was asked for but a piece of the order itself.
    """

    conditions: list[sa.ColumnElement[bool]]
    order: tuple[sa.ColumnElement[Any], ...]
    is_walk: bool = True
    is_all: bool = False


def plan(connection: Connection, wanted: StudyFilter, at_most: int = FEW) -> Plan:
    """Decide how to search, by looking which conditions name few studies."""
    few, conditions = _by_keys(connection, wanted, at_most)
    conditions += _others(wanted, connection.dialect.name)
    order = order_of(wanted)
    if few is None:
        return Plan([*_piece(wanted, _as_it_is), *conditions], order, is_all=not conditions)
    named = studies.c.study_key.in_(sorted(few))
    return Plan([named, *_piece(wanted, _unindexed), *conditions], order, is_walk=False)


def place_of(wanted: StudyFilter, study_date: str, last_received_at: datetime, key: int) -> Place:
    """Return the place of a study in a list, for ``StudyFilter.after``."""
    return (study_date if wanted.by_date else last_received_at), key


def order_of(wanted: StudyFilter) -> tuple[sa.ColumnElement[Any], ...]:
    """Return the order of a list, the newest first."""
    return _ordered_by(wanted).desc(), studies.c.study_key.desc()


def end_of_window(connection: Connection, wanted: StudyFilter, window: int) -> Place | None:
    """Return the place that ends a page's window, or None where the list ends before."""
    found = connection.execute(
        sa.select(_ordered_by(wanted), studies.c.study_key)
        .where(*_piece(wanted, _as_it_is))
        .order_by(*order_of(wanted))
        .offset(window - 1)
        .limit(1)
    ).first()
    return None if found is None else (found[0], found[1])


def up_to(wanted: StudyFilter, place: Place) -> sa.ColumnElement[bool]:
    """Return the condition that a study does not stand below a place."""
    value, key = place
    column = _ordered_by(wanted)
    return sa.and_(column >= value, sa.or_(column > value, studies.c.study_key >= key))


def _ordered_by(wanted: StudyFilter) -> sa.Column[Any]:
    return studies.c.study_date if wanted.by_date else studies.c.last_received_at


def _as_it_is(column: sa.Column[Any]) -> sa.ColumnElement[Any]:
    return column


def _unindexed(column: sa.Column[Any]) -> sa.ColumnElement[Any]:
    """Return a column as an expression, by which no index is entered.

    Without statistics SQLite enters any index that it can, for half of all rows too.
    """
    if isinstance(column.type, sa.String):
        return column.concat("")
    return sa.func.coalesce(column, sa.null(), type_=column.type)


def _piece(
    wanted: StudyFilter, by: Callable[[sa.Column[Any]], sa.ColumnElement[Any]]
) -> list[sa.ColumnElement[bool]]:
    """Return the conditions that cut a piece out of the order."""
    on_date = by if wanted.by_date else _unindexed
    on_time = _unindexed if wanted.by_date else by
    day, time = on_date(studies.c.study_date), on_time(studies.c.last_received_at)
    return all_of(
        given(day.__ge__, _da(wanted.study_date_from)),
        given(day.__le__, _last_day(wanted)),
        given(time.__ge__, wanted.received_from),
        given(time.__lt__, wanted.received_to),
        given(lambda place: _follows(by(_ordered_by(wanted)), place), wanted.after),
    )


def _last_day(wanted: StudyFilter) -> str | None:
    """Return where a list by Study Date begins: SQLite enters an index by one bound, and only one
    of two is the place that the page follows.
    """
    last = _da(wanted.study_date_to)
    if wanted.after is None or not isinstance(wanted.after[0], str):
        return last
    return min(last or wanted.after[0], wanted.after[0])


def _follows(column: sa.ColumnElement[Any], place: Place) -> sa.ColumnElement[bool]:
    """What stands below a place.

    The first condition follows from the second; by it the index is entered at the place.
    """
    value, key = place
    return sa.and_(column <= value, sa.or_(column < value, studies.c.study_key < key))


def _by_keys(
    connection: Connection, wanted: StudyFilter, at_most: int
) -> tuple[set[int] | None, list[sa.ColumnElement[bool]]]:
    """Return the keys that the conditions with few studies have in common; and the others."""
    few: set[int] | None = None
    many: list[sa.ColumnElement[bool]] = []
    for keys, condition in _indexed(wanted, connection.dialect.name):
        with _by_index(connection):
            found = connection.execute(keys.limit(at_most + 1)).all()
        if len(found) > at_most:
            many.append(condition)
        else:
            keys_found = {int(row.study_key) for row in found}
            few = keys_found if few is None else few & keys_found
    return few, many


@contextmanager
def _by_index(connection: Connection) -> Iterator[None]:
    """Let PostgreSQL enter an index for the few that are asked for.

    It takes it that what matches is spread over the table, and would look for some thousands from
    its start; what came on one day lies together, perhaps at its end.
    """
    if connection.dialect.name != "postgresql":
        yield
        return
    connection.exec_driver_sql("SET LOCAL enable_seqscan = off")
    yield
    connection.exec_driver_sql("SET LOCAL enable_seqscan = on")


def _indexed(wanted: StudyFilter, dialect: str) -> Iterator[tuple[Keys, sa.ColumnElement[bool]]]:
    """Yield for each condition that an index serves its keys, and the condition on one study."""
    c = studies.c
    for column, text in _identifiers(wanted):
        if not text.startswith(_WILD):
            entry, plain = (_begins(one, text, dialect) for one in (column, _unindexed(column)))
            yield sa.select(c.study_key).where(entry), plain
    if wanted.patient_name is not None and _is_beginning(wanted.patient_name):
        entry = _name_begins(wanted.patient_name, dialect)
        plain = _contains(_unindexed(c.patient_name), wanted.patient_name, dialect)
        yield sa.select(c.study_key).where(entry), plain
    for keys in _related(wanted):
        key = keys.selected_columns[0]
        yield keys.distinct(), one_by_one(keys.where(key == c.study_key))
    if wanted.state is not None and (keys_of_state := keys_in_state(wanted.state)) is not None:
        yield keys_of_state, sa.true()


def _identifiers(wanted: StudyFilter) -> Iterator[tuple[sa.Column[Any], str]]:
    asked = (wanted.patient_id, wanted.accession_number)
    for column, text in zip((studies.c.patient_id, studies.c.accession_number), asked, strict=True):
        if text is not None:
            yield column, text


def _related(wanted: StudyFilter) -> Iterator[Keys]:
    """Yield the keys of studies by what other tables say of them."""
    if wanted.modality is not None:
        yield sa.select(series.c.study_key).where(series.c.modality == wanted.modality.upper())
    if wanted.destination is not None:
        there = deliveries.c.destination == wanted.destination
        yield sa.select(deliveries.c.study_key).where(there)
    if wanted.calling_ae_title is not None:
        pair = association_studies.c
        yield (
            sa.select(pair.study_key)
            .join(associations, associations.c.association_id == pair.association_id)
            .where(associations.c.calling_ae_title == wanted.calling_ae_title)
        )


def _others(wanted: StudyFilter, dialect: str) -> list[sa.ColumnElement[bool]]:
    """Return the conditions that no index serves."""
    name = None if _is_beginning(wanted.patient_name) else wanted.patient_name
    return all_of(
        [_matches(column, text) for column, text in _identifiers(wanted) if text.startswith(_WILD)],
        given(lambda text: _contains(studies.c.patient_name, text, dialect), name),
        given(studies.c.channel.__eq__, wanted.channel),
        given(in_state, wanted.state),
    )


def _da(day: date | None) -> str | None:
    """Write a date as DICOM does (DA, PS3.5 6.2)."""
    return day.strftime("%Y%m%d") if day else None


def _matches(column: sa.ColumnElement[Any], text: str) -> sa.ColumnElement[bool]:
    if has_wildcards(text):
        return column.like(wildcards(text), escape="\\")
    return column == text


def _contains(column: sa.ColumnElement[Any], text: str, dialect: str) -> sa.ColumnElement[bool]:
    return like_in_any_case(column, text if has_wildcards(text) else f"*{text}*", dialect)


def _is_beginning(text: str | None) -> bool:
    return text is not None and has_wildcards(text) and not text.startswith(_WILD)


def _begins(column: sa.ColumnElement[Any], text: str, dialect: str) -> sa.ColumnElement[bool]:
    """Return what a column matches; an index on it is entered at the text's beginning."""
    matches = _matches(column, text)
    if dialect != "sqlite" or not has_wildcards(text):
        return matches
    return sa.and_(matches, *_between(column, sa.literal(_beginning(text))))


def _name_begins(text: str, dialect: str) -> sa.ColumnElement[bool]:
    """Do the same for the name, where case does not count."""
    matches = _contains(studies.c.patient_name, text, dialect)
    if dialect != "sqlite":
        return matches
    name, beginning = sa.func.lower(studies.c.patient_name), sa.func.lower(_ascii(_beginning(text)))
    return sa.and_(matches, *_between(name, beginning))


def _between(
    column: sa.ColumnElement[Any], beginning: sa.ColumnElement[str]
) -> tuple[sa.ColumnElement[bool], sa.ColumnElement[bool]]:
    """SQLite enters an index by a range alone; the last character there is ends it."""
    return column >= beginning, column < beginning.concat(_LAST_CHARACTER)


def _ascii(text: str) -> str:
    """Return the beginning whose letters SQLite makes small."""
    return "".join(takewhile(str.isascii, text))


def _beginning(text: str) -> str:
    return re.split(r"[*?]", text, maxsplit=1)[0]
