"""The files that rows speak of, in an order that suits a check, and what a check has found."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy import Connection

from intu_fhir.db.file_tables import removals
from intu_fhir.db.session import be_patient
from intu_fhir.db.tables import instances, quarantine, studies
from intu_fhir.db.uploads import Upload, forget_uploads, want_uploads

_AT_A_TIME = 500


@dataclass(frozen=True, slots=True)
class KeptFile:
    """A file that should be there.

    Args:
        key: of its row in ``instances``, or in ``quarantine``.
        damaged: an earlier check has found fault with it.
    """

    key: int
    sop_instance_uid: str
    file: str
    data_set_offset: int | None
    sha256: str
    damaged: bool = False


def count_files(connection: Connection) -> int:
    """Return how many files of instances should be there."""
    counted = sa.select(sa.func.sum(studies.c.number_of_instances - studies.c.number_of_pruned))
    return int(connection.execute(counted).scalar_one() or 0)


def instance_files(connection: Connection, after: int, limit: int) -> list[KeptFile]:
    """Return the next files of instances whose files were not pruned, by key."""
    c = instances.c
    found = (
        sa.select(
            c.instance_key,
            c.sop_instance_uid,
            c.file,
            c.data_set_offset,
            c.sha256,
            c.damaged_at.is_not(None),
        )
        .where(c.instance_key > after, c.pruned_at.is_(None))
        .order_by(c.instance_key)
        .limit(limit)
    )
    return [KeptFile(*row) for row in connection.execute(found)]


def quarantined_files(connection: Connection, after: int, limit: int) -> list[KeptFile]:
    """Return the next files in quarantine, by key; where their data sets begin is not noted."""
    c = quarantine.c
    found = (
        sa.select(c.quarantine_key, c.sop_instance_uid, c.file, sa.null(), c.sha256)
        .where(c.quarantine_key > after)
        .order_by(c.quarantine_key)
        .limit(limit)
    )
    return [KeptFile(*row) for row in connection.execute(found)]


def still_kept(connection: Connection, keys: Collection[int]) -> set[int]:
    """Return those instances whose files were not pruned meanwhile."""
    found: set[int] = set()
    for some in _slices(sorted(keys)):
        kept = sa.select(instances.c.instance_key).where(
            instances.c.instance_key.in_(some), instances.c.pruned_at.is_(None)
        )
        found.update(connection.execute(kept).scalars())
    return found


def note_damage(connection: Connection, keys: Collection[int], now: datetime) -> None:
    """Note that files are missing or not what was received; since when stays as first noted."""
    for some in _slices(sorted(keys)):
        unnoted = sa.update(instances).where(instances.c.damaged_at.is_(None))
        connection.execute(unnoted.where(instances.c.instance_key.in_(some)).values(damaged_at=now))


def note_soundness(connection: Connection, keys: Collection[int]) -> None:
    """Note that files are as they should be after all, such as after a restore."""
    for some in _slices(sorted(keys)):
        noted = sa.update(instances).where(instances.c.instance_key.in_(some))
        connection.execute(noted.values(damaged_at=None))


def restore_file(
    connection: Connection,
    sop_instance_uid: str,
    sha256: str,
    *,
    file: str,
    data_set_offset: int,
    now: datetime,
    spool: str = "",
) -> bool:
    """Give an instance whose file was pruned or damaged a new one with the same data set.

    Args:
        spool: name of the spool in which the new file waits for its upload; empty = it does not.

    Returns:
        False where it has got one meanwhile.
    """
    c = instances.c
    wanting = sa.or_(c.pruned_at.is_not(None), c.damaged_at.is_not(None))
    row = connection.execute(
        sa.select(c.instance_key, c.study_key, c.file, c.pruned_at)
        .where(c.sop_instance_uid == sop_instance_uid, c.sha256 == sha256, wanting)
        .with_for_update()
    ).first()
    if row is None:
        return False
    forget_uploads(connection, [row.file])  # damaged, it would wait for ever
    if spool:
        want_uploads(connection, spool, [Upload(file, data_set_offset, sha256)], now)
    if row.pruned_at is None:
        connection.execute(sa.insert(removals).values(file=row.file, asked_at=now))
    connection.execute(
        sa.update(instances)
        .where(c.instance_key == row.instance_key)
        .values(
            file=file,
            data_set_offset=data_set_offset,
            pruned_at=None,
            damaged_at=None,
            restored_at=now,
        )
    )
    if row.pruned_at is not None:
        connection.execute(
            sa.update(studies)
            .where(studies.c.study_key == row.study_key)
            .values(number_of_pruned=studies.c.number_of_pruned - 1)
        )
    return True


def names_in_order(connection: Connection) -> Iterator[str]:
    """Give the name of every file that a row speaks of, sorted by code point."""
    kept = sa.select(instances.c.file).where(instances.c.pruned_at.is_(None))
    every = sa.union_all(kept, sa.select(quarantine.c.file), sa.select(removals.c.file)).subquery()
    column: sa.ColumnElement[str] = every.c.file
    if connection.dialect.name == "postgresql":
        column = column.collate("C")
    be_patient(connection)
    streamed = connection.execution_options(stream_results=True, yield_per=1_000)
    yield from streamed.execute(sa.select(column).order_by(column)).scalars()


def _slices(keys: list[int]) -> Iterator[list[int]]:
    for begin in range(0, len(keys), _AT_A_TIME):
        yield keys[begin : begin + _AT_A_TIME]
