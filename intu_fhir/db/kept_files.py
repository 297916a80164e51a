"""Which files of the store a row speaks of; asked where a file may be one too many."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice

import sqlalchemy as sa
from sqlalchemy import Connection

from intu_fhir.db.session import BUSY_SECONDS
from intu_fhir.db.tables import instances, quarantine
from intu_fhir.errors import StoreUnavailable

_AT_A_TIME = 500
_PAUSE_SECONDS = 0.02
_WRITERS = sa.text(
    """SELECT virtualtransaction FROM pg_locks
    WHERE database = (SELECT oid FROM pg_database WHERE datname = current_database())
      AND relation IN (CAST('instances' AS regclass), CAST('quarantine' AS regclass))
      AND mode = 'RowExclusiveLock' AND granted AND pid IS DISTINCT FROM pg_backend_pid()"""
)


def close_the_past(connection: Connection) -> None:
    """Make sure that no transaction begun before this one can still become visible later.

    To be called in a write transaction. When that has been committed, a row that cannot be seen
    is not there, and will not appear by itself: PostgreSQL may still have been at work on the
    commit of a client that is gone, so it is waited for; SQLite may have a complete transaction
    in its log whose sync failed, which a crash would bring back, so it is written over.

    Raises:
        StoreUnavailable: PostgreSQL is still at work on one.
    """
    if connection.dialect.name == "postgresql":
        _wait_for_writers(connection)
        return
    version = connection.exec_driver_sql("PRAGMA user_version").scalar_one()
    connection.exec_driver_sql(f"PRAGMA user_version = {int(version)}")


def _wait_for_writers(connection: Connection) -> None:
    """Wait until every transaction has ended that writes to the tables of files now.

    As an index built beside the writers waits for them, and as it does without a lock of its own:
    a lock that keeps writers out would wait for such an index and for VACUUM too, and every
    receiver behind it. Whoever has written a row holds ROW EXCLUSIVE on its table from then until
    its commit can be seen, for locks go last. That leaves out nothing that can still be committed:

    * A commit without an answer was asked for when all inserts had been answered, so its lock was
      there, even where the client is dead or its COMMIT still on the way. Who has the lock not yet
      was not answered, so nobody asks for its commit who is gone; and what this process has
      itself in hand is known by ``Doubts``.
    * A transaction without an id has written nothing; readers, dumps and VACUUM have none or hold
      other locks, so that they are not waited for, nor is anything in another database.
    * A prepared transaction, which is never ours, keeps its locks: it is waited for in vain, and
      that is said.
    """
    until = time.monotonic() + BUSY_SECONDS
    left = _writers(connection)
    while left:
        if time.monotonic() > until:
            raise StoreUnavailable(
                "The staging database is still at work on what was stored last; it is asked again"
            )
        time.sleep(_PAUSE_SECONDS)
        left &= _writers(connection)


def _writers(connection: Connection) -> set[str]:
    return set(connection.execute(_WRITERS).scalars())


def newest_files(connection: Connection, count: int) -> set[str]:
    """Return the files of the instances that were stored last."""
    newest = sa.select(instances.c.file).order_by(instances.c.instance_key.desc()).limit(count)
    return set(connection.execute(newest).scalars())


def files_with_row(connection: Connection, uid_of: Mapping[str, str]) -> set[str]:
    """Return those files that a row of instances or quarantine speaks of.

    Args:
        uid_of: by file, the SOP Instance UID of its object, or ``""`` where it is unknown; those
            cost a look at every row.
    """
    found: set[str] = set()
    uids = sorted({uid for uid in uid_of.values() if uid})
    nameless = sorted(file for file, uid in uid_of.items() if not uid)
    for table in (instances, quarantine):
        for some in _slices(uids):
            wanted = table.c.sop_instance_uid.in_(some)
            found.update(connection.execute(sa.select(table.c.file).where(wanted)).scalars())
        for some in _slices(nameless):
            wanted = table.c.file.in_(some)
            found.update(connection.execute(sa.select(table.c.file).where(wanted)).scalars())
    return found & uid_of.keys()


def _slices(values: Sequence[str]) -> Iterator[Sequence[str]]:
    rest = iter(values)
    while some := list(islice(rest, _AT_A_TIME)):
        yield some
