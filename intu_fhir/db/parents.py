"""What an instance's row refers to: its association, study and series, made where missing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection, Table

from intu_fhir.db.columns import SERIES_COLUMNS, STUDY_COLUMNS
from intu_fhir.db.prepared import Prepared
from intu_fhir.db.tables import association_studies, associations, series, studies
from intu_fhir.db.upsert import insert
from intu_fhir.model.instance import InstanceHeader, Origin
from intu_fhir.model.values import text

_MOST = 10_000


@dataclass
class Known:
    """Rows that are known to be there, so that the next transaction need not ask.

    Right only while every transaction that added to it was committed: forget it as a whole when
    one was not.
    """

    associations: set[str] = field(default_factory=set)
    studies: dict[str, int] = field(default_factory=dict)
    series: dict[tuple[int, str], int] = field(default_factory=dict)
    pairs: set[tuple[str, int]] = field(default_factory=set)

    def limit(self) -> None:
        """Keep memory bounded; what is forgotten is asked for again."""
        for kind in (self.associations, self.studies, self.series, self.pairs):
            if len(kind) > _MOST:
                kind.clear()


def texts(columns: Mapping[str, str], header: InstanceHeader) -> dict[str, str]:
    """Return what a header gives for columns that are named by keyword."""
    return {column: text(header.values, keyword) for column, keyword in columns.items()}


def store_associations(
    connection: Connection, origins: Iterable[Origin], now: datetime, receiver: str
) -> None:
    """Store the associations that are not there yet."""
    rows = {
        origin.association_id: {
            "association_id": origin.association_id,
            "kind": origin.kind,
            "channel": origin.channel,
            "receiver": receiver,
            "calling_ae_title": origin.calling_ae_title,
            "called_ae_title": origin.called_ae_title,
            "peer_address": origin.peer_address,
            "peer_implementation": origin.peer_implementation,
            "tls": origin.tls,
            "trace_parent": origin.trace_parent,
            "started_at": now,
        }
        for origin in origins
    }
    if rows:
        statement = insert(connection, associations).on_conflict_do_nothing()
        connection.execute(statement, list(rows.values()))


def study_key(connection: Connection, header: InstanceHeader, channel: str, now: datetime) -> int:
    """Return the key of an instance's study, made where there is none."""
    uid = {"study_instance_uid": header.study_instance_uid}
    row = {
        **uid,
        "channel": channel,
        "first_received_at": now,
        "last_received_at": now,
        "revision": 0,
    }
    return _find_or_make(
        connection,
        _FIND_STUDY,
        _MAKE_STUDY,
        {f"of_{name}": value for name, value in uid.items()},
        {**row, **texts(STUDY_COLUMNS, header)},
    )


def series_key(connection: Connection, study: int, header: InstanceHeader) -> int:
    """Return the key of an instance's series within ``study``, made where there is none."""
    place = {"study_key": study, "series_instance_uid": header.series_instance_uid}
    return _find_or_make(
        connection,
        _FIND_SERIES,
        _MAKE_SERIES,
        {f"of_{name}": value for name, value in place.items()},
        {**place, **texts(SERIES_COLUMNS, header)},
    )


def pair_with_study(connection: Connection, pairs: Iterable[tuple[str, int]]) -> None:
    """Note which association brought instances of which study."""
    rows = [{"association_id": one, "study_key": other} for one, other in sorted(pairs)]
    _PAIR(connection, *rows)


def _find_or_make(
    connection: Connection,
    find: Prepared,
    make: Prepared,
    place: dict[str, Any],
    row: dict[str, Any],
) -> int:
    # Another receiver may make it between the first two; then the third sees it.
    found = find(connection, place) or make(connection, row) or find(connection, place)
    key: int = found[0][0]
    return key


def _find(table: Table, key: str, *columns: str) -> Prepared:
    where = [table.c[name] == sa.bindparam(f"of_{name}") for name in columns]
    return Prepared(lambda _: sa.select(table.c[key]).where(*where))


def _make(table: Table, key: str, *columns: str) -> Prepared:
    def build(connection: Connection) -> sa.Insert:
        return insert(connection, table).on_conflict_do_nothing().returning(table.c[key])

    return Prepared(build, columns)


_FIND_STUDY = _find(studies, "study_key", "study_instance_uid")
_MAKE_STUDY = _make(
    studies,
    "study_key",
    "study_instance_uid",
    "channel",
    "first_received_at",
    "last_received_at",
    "revision",
    *STUDY_COLUMNS,
)
_FIND_SERIES = _find(series, "series_key", "study_key", "series_instance_uid")
_MAKE_SERIES = _make(series, "series_key", "study_key", "series_instance_uid", *SERIES_COLUMNS)
_PAIR = Prepared(
    lambda connection: insert(connection, association_studies).on_conflict_do_nothing(),
    ("association_id", "study_key"),
)
