"""Keeps describers off what another one has in hand, over all processes.

On PostgreSQL a transaction keeps the claim: it ends with the process that began it, and after
``trouble.ABANDONED_SECONDS`` where that froze or was cut off. On SQLite, which is one machine, one
describer works at a time, and the kernel ends its lock with its process. A claim that is lost
costs work done twice and nothing else, so nobody has to renew one.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from itertools import groupby

import sqlalchemy as sa
from sqlalchemy import Connection

from intu_fhir.db.locked_files import try_lock
from intu_fhir.db.session import Database

BLOCK_KEYS = 50
"""Instances with neighbouring keys are claimed together: a lock for each would fill their table."""

_LOCK = 0x494E5444
"""First key of the advisory locks of describers, "INTD" in ASCII; the second one is the block."""

_LARGEST = 2**31


class Claims:
    """What one describer has in hand until it ends.

    Args:
        connection: what it looks with; on PostgreSQL its transaction keeps the claims.
        may_take: False where another one describes on SQLite.
    """

    def __init__(self, connection: Connection, *, may_take: bool = True) -> None:
        self.connection = connection
        self._may_take = may_take

    def take(self, keys: Sequence[int], most: int) -> list[int]:
        """Return those of sorted ``keys`` that nobody else has in hand, until there are ``most``.

        One may have been described since it was seen: look again at what was taken.
        """
        taken: list[int] = []
        for block, together in groupby(keys, lambda key: key // BLOCK_KEYS):
            if len(taken) >= most:
                break
            if self._is_ours(block):
                taken += together
        return taken

    def _is_ours(self, block: int) -> bool:
        if self.connection.dialect.name == "sqlite":
            return self._may_take
        got = sa.func.pg_try_advisory_xact_lock(
            sa.cast(_LOCK, sa.Integer), sa.cast(block % _LARGEST, sa.Integer)
        )
        return bool(self.connection.execute(sa.select(got)).scalar_one())


@contextlib.contextmanager
def describing(database: Database) -> Iterator[Claims]:
    """Give what to claim with; all claims end with it."""
    if not database.is_sqlite:
        with database.read() as connection:
            yield Claims(connection)
        return
    with _alone(f"{database.engine.url.database}-describing") as alone, database.read() as reading:
        yield Claims(reading, may_take=alone)


@contextlib.contextmanager
def _alone(path: str) -> Iterator[bool]:
    """Say whether nobody else on this machine is within this."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError:
        # Such as a file that an import by another user left: what is done twice does no harm.
        yield True
        return
    try:
        yield try_lock(descriptor)
    finally:
        os.close(descriptor)
