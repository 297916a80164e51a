"""After a crash: what no row speaks of is removed, what was left open is closed."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

from intu_fhir.db.associations import close_lost
from intu_fhir.db.instances import files_received_since, newest_received_at
from intu_fhir.db.session import Database
from intu_fhir.files.local import LocalFileStore

MARGIN = timedelta(minutes=2)
"""How far before the newest row a crash may have left files without one: the longest wait
for a commit, with room to spare."""


def recover(database: Database, files: LocalFileStore, receiver: str, now: datetime) -> int:
    """Put staging in order before anything is received; return how many files were removed.

    Files that were being written, and files whose row never came, were not acknowledged to
    any sender: removing them loses nothing. Only this receiver may be running.
    """
    with database.write() as connection:
        close_lost(connection, receiver, now)
    removed = files.clear_incoming()
    with database.read() as connection:
        newest = newest_received_at(connection)
        since = newest - MARGIN if newest else None
        spoken_of = files_received_since(connection, since - MARGIN if since else None)
    for folder in files.folders_since(since):
        removed += _remove_orphans(files, folder, spoken_of)
    return removed


def _remove_orphans(files: LocalFileStore, folder: Path, spoken_of: set[str]) -> int:
    names = {str(path.relative_to(files.root)) for path in folder.iterdir() if path.is_file()}
    orphans = names - spoken_of
    for name in orphans:
        files.remove(name)
    return len(orphans)
