"""Files whose row may be in the database or not, because a commit ended without an answer."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable

from intu_fhir.db.kept_files import close_the_past, files_with_row
from intu_fhir.db.session import Database
from intu_fhir.errors import StoreUnavailable
from intu_fhir.files.store import FileStore

_TURN_SECONDS = 5.0


class Doubts:
    """Remembers such files until the database can be asked again.

    Nothing more is taken while there are any, so there are never more of them than there are
    associations, however long the database fails and however often senders try again.

    Args:
        undecided: how many rows are being stored this very moment for nobody who waits.
    """

    def __init__(self, database: Database, files: FileStore, undecided: Callable[[], int]) -> None:
        self._undecided = undecided
        self._database = database
        self._files = files
        self._uid_of: dict[str, str] = {}
        self._turn = threading.Lock()

    def __len__(self) -> int:
        return len(self._uid_of)

    def add(self, file: str, sop_instance_uid: str) -> None:
        """Remember a file and what it holds."""
        self._uid_of[file] = sop_instance_uid

    def settle(self) -> None:
        """Keep each file that a row speaks of, remove the others.

        Raises:
            StoreUnavailable: it cannot be told now.
        """
        if not self._uid_of:
            return
        if not self._turn.acquire(timeout=_TURN_SECONDS):
            raise self._not_yet()
        try:
            self._settle(dict(self._uid_of))
        finally:
            self._turn.release()

    @staticmethod
    def _not_yet() -> StoreUnavailable:
        return StoreUnavailable(
            "The staging database has not said yet what it stored last; it is asked again"
        )

    def _settle(self, uid_of: dict[str, str]) -> None:
        if not uid_of:
            return
        if self._undecided():
            raise self._not_yet()
        with self._database.write() as connection:
            close_the_past(connection)
            stored = files_with_row(connection, uid_of)
        for file in uid_of:
            if file in stored:
                self._files.confirm(file)
            else:
                # What the disk does not let go is left to ``files.leftovers``, and delays nobody.
                with contextlib.suppress(StoreUnavailable):
                    self._files.remove(file)
            del self._uid_of[file]
