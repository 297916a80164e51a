"""A connection that is kept for one write transaction after the other."""

from __future__ import annotations

import contextlib
import select
from collections.abc import Iterator
from typing import Any

from sqlalchemy import Connection

from intu_fhir.db.session import Database, transaction
from intu_fhir.db.trouble import database_errors


class KeptConnection:
    """Writes as ``Database.write`` does, one thread at a time, without going to the pool.

    Taking a connection out of the pool, asking it whether it is alive and putting it back takes
    as long as storing an instance. Here it is let go when a transaction fails, or when the server
    has closed it meanwhile, which its socket tells without a question.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._connection: Connection | None = None
        database.at_close(self.close)

    @contextlib.contextmanager
    def write(self) -> Iterator[Connection]:
        """Give the connection in a write transaction, committed durably at the end.

        Raises:
            StoreUnavailable: the database cannot be reached, is full or is locked; nothing was
                written.
            OutcomeUnknown: the commit itself failed; it may have been written all the same.
        """
        with self._database.turn(), database_errors():
            connection = self._usable()
            try:
                with transaction(connection):
                    yield connection
            except BaseException:
                self.close()
                raise

    def close(self) -> None:
        """Let the connection go; the next transaction takes another one."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _usable(self) -> Connection:
        if self._connection is not None and self._hung_up(self._connection):
            self._connection.invalidate()
            self.close()
        if self._connection is None:
            self._connection = self._database.engine.connect()
        return self._connection

    def _hung_up(self, connection: Connection) -> bool:
        """Say whether the server has something to tell, which between transactions is farewell."""
        if self._database.is_sqlite:
            return False
        driver: Any = connection.connection.driver_connection
        socket = select.poll()
        socket.register(driver.fileno(), select.POLLIN)
        return bool(socket.poll(0))
