"""Which folder is the file store of this database, by the mark that the folder has."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy import Connection

from intu_fhir.db.file_tables import file_stores
from intu_fhir.db.upsert import insert

_FILES = "files"


def known_mark(connection: Connection) -> str:
    """Return the mark of the file store; empty where no program has opened it yet."""
    found = sa.select(file_stores.c.mark).where(file_stores.c.place == _FILES)
    return connection.execute(found).scalar_one_or_none() or ""


def know_mark(connection: Connection, mark: str) -> str:
    """Keep a mark unless there is one, and return the one that counts.

    Where another transaction keeps one at the same time, this waits for its end.
    """
    row = {"place": _FILES, "mark": mark}
    connection.execute(insert(connection, file_stores).on_conflict_do_nothing(), row)
    return known_mark(connection)


def replace_mark(connection: Connection, mark: str) -> None:
    """Let another folder be the file store."""
    if know_mark(connection, mark) != mark:
        connection.execute(
            sa.update(file_stores).where(file_stores.c.place == _FILES).values(mark=mark)
        )
