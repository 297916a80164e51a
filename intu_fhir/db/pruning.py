"""Which studies may lose their files, and how that is written down.

First, in one transaction, the rows say that the files are gone and ``removals`` names them; then
the files are removed; then ``removals`` forgets them. A crash between leaves a file that is named
there, and the next run removes it. No row that promises a file ever outlives it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

from intu_fhir.db.audit import record_audit
from intu_fhir.db.commitment_tables import storage_commitment_items, storage_commitments
from intu_fhir.db.file_tables import removals
from intu_fhir.db.holds import lock_study
from intu_fhir.db.study_states import study_state
from intu_fhir.db.tables import (
    association_studies,
    associations,
    deliveries,
    instance_deliveries,
    instances,
    quarantine,
    studies,
    uploads,
    work,
)
from intu_fhir.db.upsert import insert
from intu_fhir.model.archive_commitment import WANTED
from intu_fhir.model.audit import Action, Actor, AuditEvent
from intu_fhir.model.commitment import ASKED, CHECKED, RECEIVED


@dataclass(frozen=True, slots=True)
class PruneRule:
    """Which studies lose their files.

    Args:
        before: nothing of the study came, and none of it was delivered, at or after this time.
        states: states that it may be in, such as delivered.
        only_forwarded: a PACS has confirmed each of its images.
    """

    before: datetime
    states: Collection[str]
    only_forwarded: bool = True


@dataclass(frozen=True, slots=True)
class Prunable:
    """A study whose files may go."""

    study_key: int
    study_instance_uid: str
    last_received_at: datetime
    images: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Pruner:
    """Who prunes, for the audit trail."""

    name: str
    kind: Actor = Actor.PROGRAM


def prunable(
    connection: Connection, rule: PruneRule, limit: int, after: Prunable | None = None
) -> list[Prunable]:
    """Return the next studies whose files may go, the oldest first."""
    c = studies.c
    kept = (
        sa.select(sa.func.count(), sa.func.coalesce(sa.func.sum(instances.c.data_set_bytes), 0))
        .where(instances.c.study_key == c.study_key, instances.c.pruned_at.is_(None))
        .correlate(studies)
    )
    images, size = (
        kept.with_only_columns(kept.selected_columns[0]),
        kept.with_only_columns(kept.selected_columns[1]),
    )
    found = (
        sa.select(
            c.study_key,
            c.study_instance_uid,
            c.last_received_at,
            images.scalar_subquery(),
            size.scalar_subquery(),
        )
        .where(*_may_go(rule))
        .order_by(c.last_received_at, c.study_key)
        .limit(limit)
    )
    if after is not None:
        here = sa.tuple_(c.last_received_at, c.study_key)
        there = sa.tuple_(
            sa.literal(after.last_received_at, c.last_received_at.type),
            sa.literal(after.study_key),
        )
        found = found.where(here > there)
    return [Prunable(*row[:4], int(row[4])) for row in connection.execute(found)]


def prune_study(
    connection: Connection, study_key: int, rule: PruneRule, by: Pruner, now: datetime
) -> int:
    """Write down that the files of a study go, if they still may; return how many.

    The study's turn keeps it as it was judged: who restores a file of it, or lists an instance of
    it for storage commitment, comes before the judgement or after the commit.
    """
    lock_study(connection, study_key)
    its_own = studies.c.study_key == study_key
    allowed = sa.select(studies.c.study_instance_uid).where(its_own, *_may_go(rule))
    uid = connection.execute(allowed).scalar_one_or_none()
    if uid is None:
        return 0
    kept = (instances.c.study_key == study_key, instances.c.pruned_at.is_(None))
    files = sa.select(instances.c.file, sa.literal(now, removals.c.asked_at.type)).where(*kept)
    statement = insert(connection, removals).from_select(["file", "asked_at"], files)
    connection.execute(statement.on_conflict_do_nothing())
    pruned = connection.execute(
        sa.update(instances).where(*kept).values(pruned_at=now, damaged_at=None)
    ).rowcount
    connection.execute(
        sa.update(studies)
        .where(its_own)
        .values(number_of_pruned=studies.c.number_of_pruned + pruned)
    )
    record_audit(
        connection,
        AuditEvent(
            Action.DELETED,
            now,
            by.name,
            by.kind,
            study_instance_uid=uid,
            objects=pruned,
            reason="files pruned; rows and headers stay",
        ),
    )
    return int(pruned)


def to_remove(connection: Connection, limit: int, after: str = "") -> list[str]:
    """Return files of pruned instances that are still to be removed, by name.

    One that waits for its upload is not among them: it would be uploaded after its removal.
    """
    waits = sa.select(sa.literal(1)).where(uploads.c.file == removals.c.file)
    c = removals.c
    found = sa.select(c.file).where(c.file > after, ~waits.exists()).order_by(c.file)
    return list(connection.execute(found.limit(limit)).scalars())


def want_removed(connection: Connection, files: Iterable[str], now: datetime) -> None:
    """Write down files that are to be removed; those that are written down already stay so."""
    rows = [{"file": file, "asked_at": now} for file in files]
    if rows:
        connection.execute(insert(connection, removals).on_conflict_do_nothing(), rows)


def removed(connection: Connection, files: Collection[str]) -> None:
    """Forget files that are gone, durably."""
    connection.execute(sa.delete(removals).where(removals.c.file.in_(files)))


def _may_go(rule: PruneRule) -> list[sa.ColumnElement[bool]]:
    """All that has to be true of a study before its files go."""
    c = studies.c
    conditions = [
        c.last_received_at < rule.before,
        c.number_of_instances > c.number_of_pruned,
        *at_rest(rule.states),
        ~_of_study(deliveries, deliveries.c.delivered_at >= rule.before),
        ~_of_study(instances, instances.c.restored_at >= rule.before),
        ~_of_study(quarantine, quarantine.c.study_instance_uid == c.study_instance_uid, by=None),
    ]
    if rule.only_forwarded:
        conditions.append(~_unforwarded())
    return conditions


def at_rest(states: Collection[str]) -> list[sa.ColumnElement[bool]]:
    """What is true of a study with which nothing is to be done: by us, a PACS or a person.

    Args:
        states: states that it may be in.
    """
    return [
        study_state().in_(states),
        ~_of_study(deliveries, deliveries.c.want > deliveries.c.have, _IS_WANTED),
        # What a PACS does not promise to keep is sent to it again.
        ~_of_study(deliveries, deliveries.c.commitment == WANTED),
        ~_of_study(work, work.c.want > work.c.have),
        ~_of_study(instances, instances.c.described_at.is_(None)),
        ~_open_association(),
        studies.c.study_key.not_in(_asked_to_commit()),
    ]


_IS_WANTED = deliveries.c.state != "filtered"


def _of_study(
    table: sa.Table, *conditions: sa.ColumnElement[bool], by: str | None = "study_key"
) -> sa.ColumnElement[bool]:
    asked = sa.select(sa.literal(1)).select_from(table).where(*conditions)
    if by is not None:
        asked = asked.where(table.c[by] == studies.c.study_key)
    return asked.correlate(studies).exists()


def _open_association() -> sa.ColumnElement[bool]:
    asked = (
        sa.select(sa.literal(1))
        .select_from(association_studies)
        .join(associations, associations.c.association_id == association_studies.c.association_id)
        .where(
            association_studies.c.study_key == studies.c.study_key,
            associations.c.ended_at.is_(None),
        )
    )
    return asked.correlate(studies).exists()


def _asked_to_commit() -> sa.Select[Any]:
    """Studies with an instance of which a requester has asked and was not told yet."""
    items = storage_commitment_items
    return (
        sa.select(instances.c.study_key)
        .join(items, items.c.sop_instance_uid == instances.c.sop_instance_uid)
        .join(storage_commitments, storage_commitments.c.commitment_key == items.c.commitment_key)
        .where(storage_commitments.c.state.in_((RECEIVED, ASKED, CHECKED)))
    )


def _unforwarded() -> sa.ColumnElement[bool]:
    taken = (
        sa.select(sa.literal(1))
        .where(
            instance_deliveries.c.instance_key == instances.c.instance_key,
            instance_deliveries.c.delivered,
        )
        .correlate(instances)
        .exists()
    )
    return _of_study(instances, instances.c.pruned_at.is_(None), ~taken)
