"""The ledger of files on their way to an object store: which spool has which bytes.

A row comes in the transaction of its instance and goes once the bucket is known to have the
file. Only the processes of the machine with that spool work on it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy import Connection

from intu_fhir.db.session import be_patient
from intu_fhir.db.tables import instances, quarantine, uploads
from intu_fhir.db.upsert import insert


@dataclass(frozen=True, slots=True)
class Upload:
    """A file that waits for its upload.

    Args:
        sha256: of the data set, as it came over the network.
        attempts: uploads that failed.
        last_error: why the last one did.
    """

    file: str
    data_set_offset: int
    sha256: str
    attempts: int = 0
    last_error: str = ""


@dataclass(frozen=True, slots=True)
class WaitingSpool:
    """What waits in one spool.

    Args:
        failing: of the files, those whose upload failed at least once.
        last_error: why, for one of them.
    """

    spool: str
    files: int
    failing: int
    due_since: datetime
    last_error: str


def want_uploads(
    connection: Connection, spool: str, files: Sequence[Upload], due_at: datetime
) -> None:
    """Note which spool has files that are to be uploaded; one that is noted already stays so."""
    rows = [
        {
            "file": one.file,
            "spool": spool,
            "data_set_offset": one.data_set_offset,
            "sha256": one.sha256,
            "due_at": due_at,
        }
        for one in files
    ]
    if rows:
        connection.execute(insert(connection, uploads).on_conflict_do_nothing(), rows)


def due_uploads(connection: Connection, spool: str, now: datetime, limit: int) -> list[Upload]:
    """Return files of a spool to upload now, those that wait longest first."""
    c = uploads.c
    found = (
        sa.select(c.file, c.data_set_offset, c.sha256, c.attempts, c.last_error)
        .where(uploads.c.spool == spool, uploads.c.due_at <= now)
        .order_by(uploads.c.due_at)
        .limit(limit)
    )
    return [Upload(*row) for row in connection.execute(found)]


def uploaded(connection: Connection, files: Collection[str]) -> set[str]:
    """Note that the bucket has files; return those that the ledger still knew."""
    gone = sa.delete(uploads).where(uploads.c.file.in_(sorted(files))).returning(uploads.c.file)
    return set(connection.execute(gone).scalars())


def forget_uploads(connection: Connection, files: Collection[str]) -> None:
    """Give up the upload of files that nobody asks for any more."""
    connection.execute(sa.delete(uploads).where(uploads.c.file.in_(files)))


def forget_unspoken(connection: Connection, files: Collection[str]) -> set[str]:
    """Give up the upload of those files that no row speaks of; goes over all of them.

    An object that came again elsewhere has another file by then, and a start has removed its first
    one from the spool since nobody asks for it.

    Returns:
        the files that were given up.
    """
    be_patient(connection)
    names = sorted(files)
    spoken = [
        sa.select(table.c.file).where(table.c.file.in_(names)) for table in (instances, quarantine)
    ]
    # One statement, so that a file is not missed that goes from one table to the other.
    unspoken = (uploads.c.file.in_(names), *(uploads.c.file.not_in(one) for one in spoken))
    gone = sa.delete(uploads).where(*unspoken).returning(uploads.c.file)
    return set(connection.execute(gone).scalars())


def images_in(connection: Connection, spool: str) -> dict[int, str]:
    """Return the file of each instance that waits in a spool, by key; goes over all of them."""
    be_patient(connection)
    found = (
        sa.select(instances.c.instance_key, instances.c.file)
        .join(uploads, uploads.c.file == instances.c.file)
        .where(uploads.c.spool == spool)
    )
    return {int(key): file for key, file in connection.execute(found)}


def give_up(connection: Connection, spool: str, files: Collection[str] | None = None) -> set[str]:
    """Forget what is still to be uploaded from a spool, and return it.

    Args:
        files: only these; None = all of them.
    """
    among = [] if files is None else [uploads.c.file.in_(sorted(files))]
    gone = sa.delete(uploads).where(uploads.c.spool == spool, *among).returning(uploads.c.file)
    return set(connection.execute(gone).scalars())


def upload_failed(connection: Connection, file: str, error: str, due_at: datetime) -> None:
    """Note a failed upload and when to try again."""
    connection.execute(
        sa.update(uploads)
        .where(uploads.c.file == file)
        .values(attempts=uploads.c.attempts + 1, last_error=error, due_at=due_at)
    )


def spool_of(connection: Connection, file: str) -> str:
    """Return the spool that has a file; empty where the bucket has it."""
    found = sa.select(uploads.c.spool).where(uploads.c.file == file)
    return connection.execute(found).scalar() or ""


def waiting_in(connection: Connection, spool: str) -> int:
    """Return how many files of a spool wait."""
    counted = sa.select(sa.func.count()).where(uploads.c.spool == spool)
    return int(connection.execute(counted).scalar_one())


def waiting_spools(connection: Connection) -> list[WaitingSpool]:
    """Return every spool in which files wait."""
    failing = sa.func.sum(sa.case((uploads.c.attempts > 0, 1), else_=0))
    due_since = sa.func.min(uploads.c.due_at, type_=uploads.c.due_at.type)
    found = (
        sa.select(
            uploads.c.spool,
            sa.func.count(),
            failing,
            due_since,
            sa.func.max(uploads.c.last_error),
        )
        .group_by(uploads.c.spool)
        .order_by(uploads.c.spool)
    )
    return [WaitingSpool(*row) for row in connection.execute(found)]


def files_and_spools(connection: Connection) -> Iterator[tuple[str, str, str]]:
    """Give name, digest of the data set and spool of every file that a row speaks of.

    Sorted by name within instances, then quarantine. The spool is empty where the bucket has it.
    """
    streamed = connection.execution_options(stream_results=True, yield_per=1_000)
    for table, kept in ((instances, instances.c.pruned_at.is_(None)), (quarantine, sa.true())):
        joined = table.outerjoin(uploads, uploads.c.file == table.c.file)
        spool = sa.func.coalesce(uploads.c.spool, "")
        found = sa.select(table.c.file, table.c.sha256, spool).select_from(joined).where(kept)
        for row in streamed.execute(found.order_by(table.c.file)):
            yield row[0], row[1], row[2]


def stored_files(connection: Connection, after: int, limit: int) -> list[tuple[int, Upload]]:
    """Return files of instances by key, from the one after ``after`` on."""
    found = (
        sa.select(
            instances.c.instance_key,
            instances.c.file,
            instances.c.data_set_offset,
            instances.c.sha256,
        )
        .where(instances.c.instance_key > after)
        .order_by(instances.c.instance_key)
        .limit(limit)
    )
    return [(key, Upload(*rest)) for key, *rest in connection.execute(found)]


def quarantined_files(connection: Connection, after: int, limit: int) -> list[tuple[int, str, str]]:
    """Return key, file and digest of quarantined objects, from the one after ``after`` on."""
    found = (
        sa.select(quarantine.c.quarantine_key, quarantine.c.file, quarantine.c.sha256)
        .where(quarantine.c.quarantine_key > after)
        .order_by(quarantine.c.quarantine_key)
        .limit(limit)
    )
    return [(key, file, sha256) for key, file, sha256 in connection.execute(found)]
