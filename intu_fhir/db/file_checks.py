"""The files that rows speak of, in an order that suits a check, and what a check has found."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

import sqlalchemy as sa
from sqlalchemy import Connection

from intu_fhir.db.file_tables import removals
from intu_fhir.db.pruning import want_removed
from intu_fhir.db.session import be_patient
from intu_fhir.db.tables import headers, instances, quarantine, studies
from intu_fhir.db.uploads import Upload, forget_uploads, spool_of, want_uploads
from intu_fhir.db.work import want_step
from intu_fhir.model.work import AGGREGATE

_AT_A_TIME = 500
_Key = TypeVar("_Key", int, str)


@dataclass(frozen=True, slots=True)
class KeptFile:
    """A file that should be there.

    Args:
        key: of its row in ``instances``, or in ``quarantine``.
        damaged: an earlier check has found fault with it.
        transfer_syntax_uid: what its beginning says of the data set, where that is known.
    """

    key: int
    sop_instance_uid: str
    file: str
    data_set_offset: int | None
    sha256: str
    damaged: bool = False
    transfer_syntax_uid: str = ""


def count_files(connection: Connection) -> int:
    """Return how many files of instances should be there."""
    counted = sa.select(sa.func.sum(studies.c.number_of_instances - studies.c.number_of_pruned))
    return int(connection.execute(counted).scalar_one() or 0)


def speaks_of_files(connection: Connection) -> bool:
    """Say whether any file of an instance should be there."""
    kept = studies.c.number_of_instances > studies.c.number_of_pruned
    return connection.execute(sa.select(sa.literal(1)).where(kept).limit(1)).first() is not None


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
            c.transfer_syntax_uid,
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


def still_kept(connection: Connection, files: Mapping[int, str]) -> set[int]:
    """Return those instances, by key, whose files are these still: not pruned, not replaced."""
    c = instances.c
    found: set[int] = set()
    for some in _slices(sorted(files)):
        kept = sa.select(c.instance_key, c.file).where(
            c.instance_key.in_(some), c.pruned_at.is_(None)
        )
        found.update(key for key, file in connection.execute(kept) if file == files[key])
    return found


def note_damage(connection: Connection, files: Mapping[int, str], now: datetime) -> None:
    """Note of instances, by key, that a file of theirs is missing or not what was received.

    One that has got another file meanwhile stays as it is, and since when stays as first noted.
    """
    if files:
        unnoted = _of_these_files().where(instances.c.damaged_at.is_(None))
        connection.execute(unnoted.values(damaged_at=now), _rows(files))


def images_with(connection: Connection, files: Collection[str]) -> dict[int, str]:
    """Return the instances that these are the files of, by key; goes over all of them."""
    be_patient(connection)
    found: dict[int, str] = {}
    for some in _slices(sorted(files)):
        wanted = sa.select(instances.c.instance_key, instances.c.file)
        for key, file in connection.execute(wanted.where(instances.c.file.in_(some))):
            found[int(key)] = file
    return found


def note_soundness(connection: Connection, files: Mapping[int, str]) -> None:
    """Note of instances, by key, that their files are as they should be after all.

    One that has got another file meanwhile stays as it is: nothing was seen of that.
    """
    if files:
        connection.execute(_of_these_files().values(damaged_at=None), _rows(files))


def _of_these_files() -> sa.Update:
    c = instances.c
    same = (c.instance_key == sa.bindparam("of_key"), c.file == sa.bindparam("of_file"))
    return sa.update(instances).where(*same, c.pruned_at.is_(None))


def _rows(files: Mapping[int, str]) -> list[dict[str, int | str]]:
    """Return the parameters for these files, in the order in which everybody locks their rows."""
    return [{"of_key": key, "of_file": file} for key, file in sorted(files.items())]


def restore_file(
    connection: Connection,
    sop_instance_uid: str,
    sha256: str,
    *,
    file: str,
    data_set_offset: int,
    now: datetime,
    spool: str = "",
    instead_of: str = "",
    here: str = "",
) -> bool:
    """Give an instance whose file was pruned, damaged or is not to be had a new one.

    Who prunes the study meanwhile is waited for, or waits and sees that it was restored.

    Args:
        file: holds the same data set.
        spool: name of the spool in which the new file waits for its upload; empty = it does not.
        instead_of: file that was looked for in vain, whatever its row says.
        here: name of the spool that was looked in; a file that waits in another one is uploaded
            from there if that machine comes back, then removed.

    Returns:
        False where it has got one meanwhile.
    """
    c = instances.c
    _share_turn(connection, sop_instance_uid)
    noted = sa.or_(c.pruned_at.is_not(None), c.damaged_at.is_not(None))
    wanting = sa.or_(noted, c.file == instead_of)
    row = connection.execute(
        sa.select(c.instance_key, c.study_key, c.file, c.pruned_at, noted.label("noted"))
        .where(c.sop_instance_uid == sop_instance_uid, c.sha256 == sha256, wanting)
        .with_for_update()
    ).first()
    if row is None:
        return False
    if row.noted or spool_of(connection, row.file) == here:
        forget_uploads(connection, [row.file])  # damaged, it would wait for ever
    if spool:
        want_uploads(connection, spool, [Upload(file, data_set_offset, sha256)], now)
    if row.pruned_at is None:
        want_removed(connection, [row.file], now)
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
        _count_unpruned(connection, row.study_key)
    _describe_anew(connection, row.instance_key, row.study_key, now)
    return True


def _count_unpruned(connection: Connection, study_key: int) -> None:
    """Count one file less of a study among those that are gone."""
    its_own = sa.update(studies).where(studies.c.study_key == study_key)
    connection.execute(its_own.values(number_of_pruned=studies.c.number_of_pruned - 1))


def _share_turn(connection: Connection, sop_instance_uid: str) -> None:
    """Keep the turn of an instance's study from others, before a row of the instance is taken.

    As strongly as the row will be changed, and no more: receivers that add to it are not waited
    for by whoever has its instance.
    """
    its_study = sa.select(instances.c.study_key).where(
        instances.c.sop_instance_uid == sop_instance_uid
    )
    turn = sa.select(studies.c.study_key).where(studies.c.study_key == its_study.scalar_subquery())
    connection.execute(turn.with_for_update(key_share=True))


def _describe_anew(
    connection: Connection, instance_key: int, study_key: int, now: datetime
) -> None:
    """Have the complete header read once more, where there was no file to read it from.

    The study was told to go on without it, and now becomes what it is.
    """
    its_own = headers.c.instance_key == instance_key
    header = connection.execute(sa.select(headers.c.dicom_json).where(its_own)).first()
    if header is None or header.dicom_json:
        return
    connection.execute(sa.delete(headers).where(its_own))
    connection.execute(
        sa.update(instances)
        .where(instances.c.instance_key == instance_key)
        .values(described_at=None)
    )
    revision = connection.execute(
        sa.update(studies)
        .where(studies.c.study_key == study_key)
        .values(revision=studies.c.revision + 1)
        .returning(studies.c.revision)
    ).scalar_one()
    want_step(connection, AGGREGATE, study_key, revision, due_at=now, now=now)


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


def _slices(keys: list[_Key]) -> Iterator[list[_Key]]:
    for begin in range(0, len(keys), _AT_A_TIME):
        yield keys[begin : begin + _AT_A_TIME]
