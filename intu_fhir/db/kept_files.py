"""Which files of the store a row speaks of; asked where a file may be one too many."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice

import sqlalchemy as sa
from sqlalchemy import Connection

from intu_fhir.db.tables import instances, quarantine

_AT_A_TIME = 500


def close_the_past(connection: Connection) -> None:
    """Make sure that no transaction begun before this one can still become visible later.

    To be called in a write transaction. When that has been committed, a row that cannot be seen
    is not there, and will not appear by itself: PostgreSQL may still have been at work on the
    commit of a client that is gone, so it is waited for; SQLite may have a complete transaction
    in its log whose sync failed, which a crash would bring back, so it is written over.
    """
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql("LOCK TABLE instances, quarantine IN SHARE MODE")
        return
    version = connection.exec_driver_sql("PRAGMA user_version").scalar_one()
    connection.exec_driver_sql(f"PRAGMA user_version = {int(version)}")


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
