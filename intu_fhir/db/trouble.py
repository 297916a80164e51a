"""What the database's own errors mean: is it away for now, or is something wrong for good?"""

from __future__ import annotations

import contextlib
import re
import sqlite3
from collections.abc import Iterator

import sqlalchemy as sa

from intu_fhir.errors import (
    Deadlocked,
    IntuError,
    PermanentError,
    RowLocked,
    StoreUnavailable,
)

ABANDONED_SECONDS = 20
"""After so long without a word PostgreSQL ends a transaction: who began it froze or is cut off.

It would keep its locks for as long as its connection seems to live, hours where a network parted.
"""


@contextlib.contextmanager
def database_errors() -> Iterator[None]:
    """Turn the database's own trouble into ``StoreUnavailable``.

    Mistakes of ours (a constraint, a wrong statement) stay what they are.
    """
    try:
        yield
    except (sa.exc.DBAPIError, sa.exc.TimeoutError) as error:
        failure = _failure(error)
        if failure is None:
            raise
        raise failure from None


def _failure(error: sa.exc.DBAPIError | sa.exc.TimeoutError) -> IntuError | None:
    """Return what an error of the driver means; None where it is a mistake of ours."""
    name = type(getattr(error, "orig", None)).__name__
    if name == "IdleInTransactionSessionTimeout":
        return StoreUnavailable(
            f"This process stood still for more than {ABANDONED_SECONDS} seconds within a "
            "transaction, which the staging database has ended; nothing was written"
        )
    if name == "ReadOnlySqlTransaction":
        return StoreUnavailable(
            "The staging database can only be read, as a standby before its promotion; it is "
            "tried again; if it stays so, name the primary server"
        )
    if _is_away(error):
        return _unavailable(error)
    if name == "InsufficientPrivilege":
        return PermanentError(
            "The staging database does not allow this to its user; grant it, or use another one"
        )
    if isinstance(error, sa.exc.DataError):
        return PermanentError(
            f"The staging database refuses a value ({reason_of(error)}); this is a fault of "
            "this program, please report it"
        )
    return None


_AWAY = (sa.exc.OperationalError, sa.exc.InterfaceError, sa.exc.TimeoutError)


def _is_away(error: sa.exc.DBAPIError | sa.exc.TimeoutError) -> bool:
    """Say whether the database is not there right now, or its connection was lost on the way.

    The driver has other classes for a lost connection, too, such as for an answer that never came.
    """
    return isinstance(error, _AWAY) or error.connection_invalidated


def _unavailable(error: sa.exc.DBAPIError | sa.exc.TimeoutError) -> StoreUnavailable:
    if reason_of(error) == "LockNotAvailable":
        return RowLocked(
            "Another transaction keeps a row of the staging database (LockNotAvailable); it is "
            "tried again; if it stays so, look in pg_stat_activity for who is in a transaction"
        )
    unavailable = Deadlocked if reason_of(error) == "DeadlockDetected" else StoreUnavailable
    reason = reason_of(error)
    failure = unavailable(
        f"The staging database does not answer ({reason}); {_REMEDIES.get(reason, _REMEDY)}"
    )
    if why := _unreached(error):
        failure.add_note(why)
    return failure


_REMEDY = "check that it runs and has space"
_MAY = "check that this user may read and write its file and the folder; see `intu-fhir check`"
_REMEDIES = {
    "unable to open database file": _MAY,
    "attempt to write a readonly database": _MAY,
}
"""What to do about what SQLite says, where it is not space."""

_CONNECTING = re.compile(
    r"(?:connection failed: )?((?:connection to server|failed to resolve|connection timeout).*)"
)
"""What psycopg and libpq say, in one line, before any statement: which server, and why not."""


def reason_of(error: sa.exc.SQLAlchemyError) -> str:
    """Name the driver's reason without statement or values, which may hold patient data."""
    original = getattr(error, "orig", None)
    if isinstance(original, sqlite3.Error):
        return str(original)
    return type(original or error).__name__


def _unreached(error: sa.exc.SQLAlchemyError) -> str:
    """Return which server was not reached and why, or nothing where a statement failed."""
    said = _CONNECTING.match(str(getattr(error, "orig", None)))
    return said[1] if said else ""
