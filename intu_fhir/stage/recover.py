"""After a crash: what no row speaks of is removed, what was left open is closed."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from datetime import datetime
from functools import partial

import structlog

from intu_fhir.db.associations import close_lost
from intu_fhir.db.kept_files import close_the_past, files_with_row, newest_files
from intu_fhir.db.session import Database
from intu_fhir.errors import DamagedFile, StoreUnavailable
from intu_fhir.files.local import LocalFileStore
from intu_fhir.stage.part10 import find_data_set

_log = structlog.get_logger("intu_fhir.recover")
_HEAD_BYTES = 4_096
_SPARE_ROWS = 1_000


def recover(
    database: Database,
    files: LocalFileStore,
    receiver: str,
    now: datetime,
    *,
    others: Collection[str] = (),
) -> int:
    """Put staging in order before anything is received; return how many files were removed.

    Files that were being written, and files whose row never came, were not acknowledged to
    any sender: removing them loses nothing. Only files of processes that have ended are looked
    at, so others may write meanwhile; and a file goes only when the database was asked for the
    very object in it, whatever clocks say. One that a disk or a bucket does not let go stays for
    the next start, and is named in the log: nobody was answered for it, and nothing waits for it.
    Of a bucket it is tried again before that, as what this process leaves there itself.

    Args:
        receiver: name of the process that was.
        others: names of more that have ended.
    """
    with database.write() as connection:
        close_lost(connection, [receiver, *others], now)
    with files.abandoned() as (left, spooled):
        gone = sum(_is_gone(path.name, partial(path.unlink, missing_ok=True)) for path in spooled)
        names = set(left.files(files.root))
        orphans = _orphans(database, files, names)
        for name in sorted(orphans):
            if _is_gone(name, partial(files.remove, name)):
                gone += 1
            else:
                left.stays(name)
        files.recovered(names - orphans)
    return gone


def _is_gone(name: str, remove: Callable[[], None]) -> bool:
    try:
        remove()
    except (OSError, StoreUnavailable) as error:
        _log.error("leftover_stays", file=name, reason=str(error))
        return False
    return True


def _orphans(database: Database, files: LocalFileStore, names: set[str]) -> set[str]:
    """Return those files that no row speaks of."""
    if not names:
        return set()
    with database.read() as connection:
        # Nearly all of them have their row among the newest ones, which needs no look inside.
        doubtful = names - newest_files(connection, len(names) + _SPARE_ROWS)
    if not doubtful:
        return set()
    uid_of = _uids(files, doubtful)
    with database.write() as connection:
        close_the_past(connection)
        return doubtful - files_with_row(connection, uid_of)


def _uids(files: LocalFileStore, names: Iterable[str]) -> dict[str, str]:
    """Read the SOP Instance UID of each file from its head (PS3.10 7.1).

    One whose head cannot be read has none: it is then looked for by its name in every row.
    """
    return {name: _uid(files, name) for name in names}


def _uid(files: LocalFileStore, name: str) -> str:
    try:
        with files.open(name) as file:
            place = find_data_set(file.read(_HEAD_BYTES))
    except (OSError, StoreUnavailable, DamagedFile):
        return ""
    return place.sop_instance_uid if place else ""
