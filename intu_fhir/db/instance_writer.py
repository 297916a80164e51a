"""The writer of instance rows: one transaction after the other on a connection of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

import sqlalchemy as sa

from intu_fhir.db.instances import ForgottenParent, NewInstance, StagedAs, store_instances
from intu_fhir.db.kept import KeptConnection
from intu_fhir.db.parents import Known
from intu_fhir.db.prepared import run_as_it_is
from intu_fhir.db.session import Database
from intu_fhir.errors import Deadlocked

_MOMENT = "300ms"


def _nothing() -> None:
    """Wait for nothing."""


class InstanceWriter:
    """Stores batches of instances, each in a transaction of its own, one after the other.

    Args:
        receiver: names the process that received them.
        spool: name of the spool in which their files wait for their upload; empty = they do not.
    """

    def __init__(self, database: Database, receiver: str, spool: str = "") -> None:
        self._connection = KeptConnection(database)
        self._receiver = receiver
        self._spool = spool
        self._known = Known()
        self._turn = threading.Lock()

    def __call__(
        self, new: Sequence[NewInstance], before_commit: Callable[[], None] = _nothing
    ) -> list[StagedAs]:
        """Store a batch durably; see ``store_instances``.

        Args:
            before_commit: called when all but the commit is done; if it raises, nothing is stored.

        Raises:
            StoreUnavailable: the database cannot take it now.
            OutcomeUnknown: it may have taken it.
        """
        return self._in_turn(new, before_commit, wait="")

    def briefly(
        self, new: Sequence[NewInstance], before_commit: Callable[[], None] = _nothing
    ) -> list[StagedAs]:
        """As when it is called, but a row that somebody else keeps is waited for only a moment."""
        return self._in_turn(new, before_commit, wait=_MOMENT)

    def _in_turn(
        self, new: Sequence[NewInstance], before_commit: Callable[[], None], *, wait: str
    ) -> list[StagedAs]:
        with self._turn:
            try:
                return self._store(new, before_commit, wait)
            except (ForgottenParent, sa.exc.IntegrityError, Deadlocked):
                return self._store(new, before_commit, wait)  # once more, not relying on memory

    def _store(
        self, new: Sequence[NewInstance], before_commit: Callable[[], None], wait: str
    ) -> list[StagedAs]:
        try:
            with self._connection.write() as connection:
                if wait and connection.dialect.name == "postgresql":
                    run_as_it_is(connection, f"SET LOCAL lock_timeout = '{wait}'")
                staged = store_instances(
                    connection,
                    new,
                    receiver=self._receiver,
                    known=self._known,
                    spool=self._spool,
                )
                before_commit()
                return staged
        except BaseException:
            # Rows that it made are not there, and their keys will be given to others.
            self._known = Known()
            raise
