"""Rows of received instances, stored for several associations in one transaction."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

from intu_fhir.db.columns import INSTANCE_COLUMNS, SERIES_COLUMNS, STUDY_COLUMNS
from intu_fhir.db.tables import (
    association_studies,
    associations,
    instances,
    series,
    studies,
    work,
)
from intu_fhir.db.upsert import insert
from intu_fhir.db.work import raised
from intu_fhir.model.instance import InstanceHeader, Origin
from intu_fhir.model.values import text
from intu_fhir.model.work import AGGREGATE, WAITING


@dataclass(frozen=True, slots=True)
class NewInstance:
    """An instance whose file is durable and whose row is to be.

    Args:
        quiet_seconds: how long its study must be quiet before it counts as settled.
    """

    header: InstanceHeader
    origin: Origin
    file: str
    data_set_offset: int
    data_set_bytes: int
    sha256: str
    received_at: datetime
    quiet_seconds: float


@dataclass(frozen=True, slots=True)
class StagedAs:
    """What staging holds under the SOP Instance UID after the transaction.

    ``new`` tells whether it is this very object; else the other fields say what was there.
    """

    new: bool
    sha256: str
    study_instance_uid: str
    series_instance_uid: str


def _texts(columns: Mapping[str, str], header: InstanceHeader) -> dict[str, str]:
    return {column: text(header.values, keyword) for column, keyword in columns.items()}


def store_instances(
    connection: Connection, new: Sequence[NewInstance], *, receiver: str
) -> list[StagedAs]:
    """Store instances that are not there yet, and ask for the aggregation of their studies.

    Instances whose SOP Instance UID is staged already change nothing. The answers come in the
    order of ``new``.
    """
    store_associations(connection, (item.origin for item in new), new[0].received_at, receiver)
    staged = _staged(connection, [item.header.sop_instance_uid for item in new])
    fresh: dict[str, NewInstance] = {}
    for item in new:
        if item.header.sop_instance_uid not in staged:
            fresh.setdefault(item.header.sop_instance_uid, item)
    if fresh:
        study_keys, series_keys = _insert(connection, list(fresh.values()))
        staged |= _staged(connection, list(fresh))
        # Another receiver may have stored one of them a moment ago: it has counted that one.
        ours = [i for uid, i in fresh.items() if staged[uid]["file"] == i.file]
        _count(connection, ours, study_keys, series_keys)
    return [_answer(staged[item.header.sop_instance_uid], item) for item in new]


def _answer(row: sa.RowMapping, item: NewInstance) -> StagedAs:
    return StagedAs(
        new=row["file"] == item.file,
        sha256=row["sha256"],
        study_instance_uid=row["study_instance_uid"],
        series_instance_uid=row["series_instance_uid"],
    )


def _staged(connection: Connection, uids: list[str]) -> dict[str, sa.RowMapping]:
    """Return what is staged under these SOP Instance UIDs."""
    rows = connection.execute(
        sa.select(
            instances.c.sop_instance_uid,
            instances.c.file,
            instances.c.sha256,
            studies.c.study_instance_uid,
            series.c.series_instance_uid,
        )
        .join(series, series.c.series_key == instances.c.series_key)
        .join(studies, studies.c.study_key == instances.c.study_key)
        .where(instances.c.sop_instance_uid.in_(uids))
    )
    return {row["sop_instance_uid"]: row for row in rows.mappings()}


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
            "started_at": now,
        }
        for origin in origins
    }
    connection.execute(
        insert(connection, associations).on_conflict_do_nothing(), list(rows.values())
    )


def _insert(
    connection: Connection, fresh: list[NewInstance]
) -> tuple[dict[str, int], dict[tuple[int, str], int]]:
    """Insert the rows; return the keys of their studies and series."""
    # Every writer takes rows in the same order, so two of them cannot wait for each other.
    fresh = sorted(fresh, key=lambda item: item.header.sop_instance_uid)
    study_keys = _study_keys(connection, fresh)
    series_keys = _series_keys(connection, fresh, study_keys)
    connection.execute(
        insert(connection, instances).on_conflict_do_nothing(),
        [_instance_row(item, study_keys, series_keys) for item in fresh],
    )
    pairs = {(i.origin.association_id, study_keys[i.header.study_instance_uid]) for i in fresh}
    connection.execute(
        insert(connection, association_studies).on_conflict_do_nothing(),
        [{"association_id": a, "study_key": s} for a, s in sorted(pairs)],
    )
    return study_keys, series_keys


def _instance_row(
    item: NewInstance, study_keys: dict[str, int], series_keys: dict[tuple[int, str], int]
) -> dict[str, Any]:
    header = item.header
    study_key = study_keys[header.study_instance_uid]
    return {
        "sop_instance_uid": header.sop_instance_uid,
        "study_key": study_key,
        "series_key": series_keys[study_key, header.series_instance_uid],
        "association_id": item.origin.association_id,
        "sop_class_uid": header.sop_class_uid,
        "transfer_syntax_uid": header.transfer_syntax_uid,
        "received_at": item.received_at,
        "file": item.file,
        "data_set_offset": item.data_set_offset,
        "data_set_bytes": item.data_set_bytes,
        "sha256": item.sha256,
        **_texts(INSTANCE_COLUMNS, header),
    }


def _study_keys(connection: Connection, fresh: list[NewInstance]) -> dict[str, int]:
    """Return the key of each study, made where there is none."""
    firsts = {item.header.study_instance_uid: item for item in reversed(fresh)}
    uids = sorted(firsts)
    found = _find_studies(connection, uids)
    missing = [uid for uid in uids if uid not in found]
    if missing:
        connection.execute(
            insert(connection, studies).on_conflict_do_nothing(),
            [_study_row(firsts[uid]) for uid in missing],
        )
        found |= _find_studies(connection, missing)
    return found


def _find_studies(connection: Connection, uids: list[str]) -> dict[str, int]:
    found = connection.execute(
        sa.select(studies.c.study_instance_uid, studies.c.study_key).where(
            studies.c.study_instance_uid.in_(uids)
        )
    )
    return {row.study_instance_uid: row.study_key for row in found}


def _study_row(item: NewInstance) -> dict[str, Any]:
    return {
        "study_instance_uid": item.header.study_instance_uid,
        "channel": item.origin.channel,
        "first_received_at": item.received_at,
        "last_received_at": item.received_at,
        "revision": 0,
        **_texts(STUDY_COLUMNS, item.header),
    }


def _series_keys(
    connection: Connection, fresh: list[NewInstance], study_keys: dict[str, int]
) -> dict[tuple[int, str], int]:
    """Return the key of each series by study key and UID, made where there is none."""
    firsts = {
        (study_keys[item.header.study_instance_uid], item.header.series_instance_uid): item
        for item in reversed(fresh)
    }
    found = _find_series(connection, firsts)
    missing = [pair for pair in sorted(firsts) if pair not in found]
    if missing:
        rows = [
            {
                "study_key": study_key,
                "series_instance_uid": uid,
                **_texts(SERIES_COLUMNS, firsts[study_key, uid].header),
            }
            for study_key, uid in missing
        ]
        connection.execute(insert(connection, series).on_conflict_do_nothing(), rows)
        found |= _find_series(connection, missing)
    return found


def _find_series(
    connection: Connection, pairs: Iterable[tuple[int, str]]
) -> dict[tuple[int, str], int]:
    wanted = list(pairs)
    found = connection.execute(
        sa.select(series.c.study_key, series.c.series_instance_uid, series.c.series_key).where(
            series.c.study_key.in_({study_key for study_key, _ in wanted}),
            series.c.series_instance_uid.in_({uid for _, uid in wanted}),
        )
    )
    return {(study_key, uid): key for study_key, uid, key in found}


def _count(
    connection: Connection,
    fresh: list[NewInstance],
    study_keys: dict[str, int],
    series_keys: dict[tuple[int, str], int],
) -> None:
    """Raise the counts and the revision of what grew, and ask for its aggregation."""
    by_study: dict[int, list[NewInstance]] = {}
    by_series: dict[int, int] = {}
    for item in fresh:
        study_key = study_keys[item.header.study_instance_uid]
        by_study.setdefault(study_key, []).append(item)
        series_key = series_keys[study_key, item.header.series_instance_uid]
        by_series[series_key] = by_series.get(series_key, 0) + 1
    for series_key, number in sorted(by_series.items()):
        connection.execute(
            sa.update(series)
            .where(series.c.series_key == series_key)
            .values(number_of_instances=series.c.number_of_instances + number)
        )
    for study_key, items in sorted(by_study.items()):
        _grow(connection, study_key, items)


def _grow(connection: Connection, study_key: int, items: list[NewInstance]) -> None:
    last = max(item.received_at for item in items)
    revision = connection.execute(
        sa.update(studies)
        .where(studies.c.study_key == study_key)
        .values(
            revision=studies.c.revision + len(items),
            number_of_instances=studies.c.number_of_instances + len(items),
            number_of_series=sa.select(sa.func.count())
            .where(series.c.study_key == study_key)
            .scalar_subquery(),
            last_received_at=last,
        )
        .returning(studies.c.revision)
    ).scalar_one()
    quiet = max(item.quiet_seconds for item in items)
    statement = insert(connection, work).values(
        study_key=study_key,
        step=AGGREGATE,
        want=revision,
        state=WAITING,
        due_at=last + timedelta(seconds=quiet),
        updated_at=last,
    )
    connection.execute(
        statement.on_conflict_do_update(
            index_elements=["study_key", "step"],
            set_=raised(work, statement.excluded, keep_backoff=False),
        )
    )
