"""Rows of received instances, stored for several associations in one transaction."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

from intu_fhir.db.columns import INSTANCE_COLUMNS
from intu_fhir.db.parents import (
    Known,
    pair_with_study,
    series_key,
    store_associations,
    study_key,
    texts,
)
from intu_fhir.db.prepared import Prepared
from intu_fhir.db.tables import instances, series, studies, work
from intu_fhir.db.uploads import Upload, want_uploads
from intu_fhir.db.upsert import insert
from intu_fhir.db.work import raised
from intu_fhir.model.instance import InstanceHeader, Origin
from intu_fhir.model.work import AGGREGATE, WAITING


@dataclass(frozen=True, slots=True)
class NewInstance:
    """An instance whose file is durable and whose row is to be.

    Args:
        first_look_seconds: how long after it its study is judged, unless more comes.
    """

    header: InstanceHeader
    origin: Origin
    file: str
    data_set_offset: int
    data_set_bytes: int
    sha256: str
    received_at: datetime
    first_look_seconds: float


@dataclass(frozen=True, slots=True)
class StagedAs:
    """What staging holds under the SOP Instance UID after the transaction.

    ``new`` tells whether it is this very object; else the other fields say what was there, and
    ``file`` where its bytes should be. ``wants_file`` tells that they were pruned or are damaged.
    """

    new: bool
    sha256: str
    study_instance_uid: str
    series_instance_uid: str
    wants_file: bool = False
    file: str = ""
    data_set_offset: int = 0


class ForgottenParent(Exception):
    """A study or series that was known is not there any more."""


def store_instances(
    connection: Connection,
    new: Sequence[NewInstance],
    *,
    receiver: str,
    known: Known | None = None,
    spool: str = "",
) -> list[StagedAs]:
    """Store instances that are not there yet, and ask for the aggregation of their studies.

    Instances whose SOP Instance UID is staged already change nothing. The answers come in the
    order of ``new``.

    Args:
        known: what earlier transactions found or made; forget it if this one is not committed.
        spool: name of the spool in which their files wait for their upload; empty = they do not.

    Raises:
        ForgottenParent: ``known`` is not right any more.
    """
    known = Known() if known is None else known
    known.limit()
    # Every writer takes rows in the same order, so two of them cannot wait for each other.
    first = {item.header.sop_instance_uid: item for item in reversed(new)}
    ordered = [first[uid] for uid in sorted(first)]
    _store_associations(connection, ordered, receiver, known)
    fresh = _without_staged(connection, ordered, known)
    _learn_parents(connection, fresh, known)
    inserted = _INSERT(connection, *(_instance_row(item, known) for item in fresh))
    uids = {uid for (uid,) in inserted}
    ours = [item for item in fresh if item.header.sop_instance_uid in uids]
    if spool:
        _want_uploads(connection, ours, spool)
    _pair(connection, ours, known)
    _count(connection, ours, known)
    return _answers(connection, new, uids)


def _want_uploads(connection: Connection, ours: list[NewInstance], spool: str) -> None:
    if ours:
        files = [Upload(item.file, item.data_set_offset, item.sha256) for item in ours]
        want_uploads(connection, spool, files, min(item.received_at for item in ours))


def _store_associations(
    connection: Connection, items: list[NewInstance], receiver: str, known: Known
) -> None:
    origins = {item.origin.association_id: item.origin for item in items}
    missing = [origins[one] for one in sorted(origins.keys() - known.associations)]
    store_associations(connection, missing, items[0].received_at, receiver)
    known.associations.update(origins)


def _without_staged(
    connection: Connection, items: list[NewInstance], known: Known
) -> list[NewInstance]:
    """Leave out what is staged already, before a study or series is made for its sake.

    Where study and series are known, nothing would be made: there the insertion itself tells.
    """
    strange = [i.header.sop_instance_uid for i in items if _series_key(i, known) is None]
    staged = _staged(connection, strange)
    return [item for item in items if item.header.sop_instance_uid not in staged]


def _series_key(item: NewInstance, known: Known) -> int | None:
    study = known.studies.get(item.header.study_instance_uid)
    return None if study is None else known.series.get((study, item.header.series_instance_uid))


def _learn_parents(connection: Connection, fresh: list[NewInstance], known: Known) -> None:
    """See to it that the studies and series of instances are there and known."""
    by_study = {item.header.study_instance_uid: item for item in reversed(fresh)}
    for uid in sorted(by_study.keys() - known.studies.keys()):
        item = by_study[uid]
        channel, now = item.origin.channel, item.received_at
        known.studies[uid] = study_key(connection, item.header, channel, now)
    by_series = {_series_place(item, known): item for item in reversed(fresh)}
    for place in sorted(by_series.keys() - known.series.keys()):
        known.series[place] = series_key(connection, place[0], by_series[place].header)


def _series_place(item: NewInstance, known: Known) -> tuple[int, str]:
    return known.studies[item.header.study_instance_uid], item.header.series_instance_uid


def _instance_row(item: NewInstance, known: Known) -> dict[str, Any]:
    header, place = item.header, _series_place(item, known)
    return {
        "sop_instance_uid": header.sop_instance_uid,
        "study_key": place[0],
        "series_key": known.series[place],
        "association_id": item.origin.association_id,
        "sop_class_uid": header.sop_class_uid,
        "transfer_syntax_uid": header.transfer_syntax_uid,
        "received_at": item.received_at,
        "file": item.file,
        "data_set_offset": item.data_set_offset,
        "data_set_bytes": item.data_set_bytes,
        "sha256": item.sha256,
        **texts(INSTANCE_COLUMNS, header),
    }


_INSERT = Prepared(
    lambda connection: (
        insert(connection, instances)
        .on_conflict_do_nothing()
        .returning(instances.c.sop_instance_uid)
    ),
    (
        "sop_instance_uid",
        "study_key",
        "series_key",
        "association_id",
        "sop_class_uid",
        "transfer_syntax_uid",
        "received_at",
        "file",
        "data_set_offset",
        "data_set_bytes",
        "sha256",
        *INSTANCE_COLUMNS,
    ),
)


def _answers(connection: Connection, new: Sequence[NewInstance], ours: set[str]) -> list[StagedAs]:
    """Say of each item what staging holds now; of two of a kind, the first is the new one."""
    left = set(ours)
    if len(left) == len(new):
        return [_as_new(item) for item in new]
    uids = [item.header.sop_instance_uid for item in new]
    staged = _staged(connection, sorted(set(uids)))
    answers = []
    for uid, item in zip(uids, new, strict=True):
        answers.append(_as_new(item) if uid in left else staged[uid])
        left.discard(uid)
    return answers


def _as_new(item: NewInstance) -> StagedAs:
    header = item.header
    return StagedAs(True, item.sha256, header.study_instance_uid, header.series_instance_uid)


def staged_as(connection: Connection, sop_instance_uid: str) -> StagedAs | None:
    """Return what is staged under one SOP Instance UID now."""
    return _staged(connection, [sop_instance_uid]).get(sop_instance_uid)


def _staged(connection: Connection, uids: Sequence[str]) -> dict[str, StagedAs]:
    """Return what is staged under these SOP Instance UIDs."""
    found = _FIND(connection, *({"of_uid": uid} for uid in uids))
    return {uid: StagedAs(False, *what) for uid, *what in found}


_FIND = Prepared(
    lambda _: (
        sa.select(
            instances.c.sop_instance_uid,
            instances.c.sha256,
            studies.c.study_instance_uid,
            series.c.series_instance_uid,
            sa.or_(instances.c.pruned_at.is_not(None), instances.c.damaged_at.is_not(None)),
            instances.c.file,
            instances.c.data_set_offset,
        )
        .join(series, series.c.series_key == instances.c.series_key)
        .join(studies, studies.c.study_key == instances.c.study_key)
        .where(instances.c.sop_instance_uid == sa.bindparam("of_uid"))
    )
)


def _pair(connection: Connection, ours: list[NewInstance], known: Known) -> None:
    """Note which association brought instances of which study."""
    pairs = {(item.origin.association_id, _series_place(item, known)[0]) for item in ours}
    pair_with_study(connection, pairs - known.pairs)
    known.pairs |= pairs


def _count(connection: Connection, ours: list[NewInstance], known: Known) -> None:
    """Raise the counts and the revision of what grew, and ask for its aggregation."""
    places = Counter(_series_place(item, known) for item in ours)
    grown = _GROW_SERIES(
        connection,
        *({"of_series": known.series[p], "number": n} for p, n in sorted(places.items())),
    )
    by_study: dict[str, list[NewInstance]] = {}
    for item in ours:
        by_study.setdefault(item.header.study_instance_uid, []).append(item)
    keys = sorted((known.studies[uid], uid) for uid in by_study)
    revisions = _GROW_STUDY(connection, *(_growth(key, uid, by_study[uid]) for key, uid in keys))
    if len(grown) < len(places) or len(revisions) < len(keys):
        raise ForgottenParent
    wishes = zip(keys, revisions, strict=True)
    _WISH(connection, *(_wish(key, by_study[uid], want) for (key, uid), (want,) in wishes))


def _growth(key: int, uid: str, items: list[NewInstance]) -> dict[str, Any]:
    last = max(item.received_at for item in items)
    return {"of_study": key, "of_uid": uid, "number": len(items), "last": last}


def _wish(key: int, items: list[NewInstance], revision: int) -> dict[str, Any]:
    last = max(item.received_at for item in items)
    first_look = max(item.first_look_seconds for item in items)
    due_at = last + timedelta(seconds=first_look)
    return {"study_key": key, "want": revision, "due_at": due_at, "updated_at": last}


_number = sa.bindparam("number", type_=sa.Integer)

_GROW_SERIES = Prepared(
    lambda _: (
        sa.update(series)
        .where(series.c.series_key == sa.bindparam("of_series"))
        .values(number_of_instances=series.c.number_of_instances + _number)
        .returning(series.c.series_key)
    )
)

_GROW_STUDY = Prepared(
    lambda _: (
        sa.update(studies)
        .where(
            studies.c.study_key == sa.bindparam("of_study"),
            studies.c.study_instance_uid == sa.bindparam("of_uid"),
        )
        .values(
            revision=studies.c.revision + _number,
            number_of_instances=studies.c.number_of_instances + _number,
            number_of_series=sa.select(sa.func.count())
            .where(series.c.study_key == studies.c.study_key)
            .correlate(studies)
            .scalar_subquery(),
            last_received_at=sa.bindparam("last", type_=studies.c.last_received_at.type),
        )
        .returning(studies.c.revision)
    )
)


def _raise_wish(connection: Connection) -> sa.Insert:
    statement = insert(connection, work).values(step=AGGREGATE, state=WAITING).inline()
    return statement.on_conflict_do_update(
        index_elements=["study_key", "step"],
        set_=raised(work, statement.excluded, keep_backoff=False),
    )


_WISH = Prepared(_raise_wish, ("study_key", "want", "due_at", "updated_at"))
