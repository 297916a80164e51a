"""Holds the file store against the database: is each file there, and is it what was received?"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from intu_fhir.db import file_checks as table
from intu_fhir.db.file_checks import KeptFile
from intu_fhir.db.kept_files import close_the_past, files_with_row
from intu_fhir.db.session import Database
from intu_fhir.errors import StoreUnavailable
from intu_fhir.files.digest import data_set_digest
from intu_fhir.files.local import LocalFileStore
from intu_fhir.observe.clock import Clock
from intu_fhir.stage.part10 import find_data_set

_log = structlog.get_logger("intu_fhir.upkeep")
_BATCH = 200
_HEAD_BYTES = 4_096
MISSING, DAMAGED, UNREADABLE = "missing", "damaged", "unreadable"


@dataclass(frozen=True, slots=True)
class Fault:
    """A file that is not what its row says.

    Args:
        what: missing, damaged (other bytes than were received) or unreadable.
    """

    what: str
    file: str
    sop_instance_uid: str


@dataclass
class VerifyReport:
    """What a check has found.

    Args:
        checked: files that rows speak of.
        without_row: files that no row speaks of.
    """

    checked: int = 0
    faults: list[Fault] = field(default_factory=list)
    without_row: list[str] = field(default_factory=list)

    @property
    def good(self) -> bool:
        """Whether files and rows agree."""
        return not self.faults and not self.without_row


@dataclass(frozen=True)
class Verifier:
    """Checks the files of a site, while it runs or not.

    Args:
        contents: read each file and compare it; else only look whether it is there.
        on_progress: told how many files more were checked.
    """

    database: Database
    files: LocalFileStore
    clock: Clock
    contents: bool = True
    on_progress: Callable[[int], None] = lambda _: None

    def total(self) -> int:
        """Return about how many files there are to check."""
        with self.database.read() as connection:
            return table.count_files(connection)

    def run(self) -> VerifyReport:
        """Check every file that a row speaks of, then look for files that none speaks of.

        What is found wrong is noted in the row, so that ``v_failures`` shows it and the instance
        is taken again when it is sent again.

        Raises:
            StoreUnavailable: the database or the file store does not answer.
        """
        report = VerifyReport()
        for batch in self._batches(table.instance_files):
            self._check_instances(batch, report)
        for batch in self._batches(table.quarantined_files):
            report.faults += [f for one in batch if (f := self._fault(one))]
            self._count(len(batch), report)
        report.without_row = self.without_row()
        return report

    def _batches(self, read: Callable[..., Sequence[KeptFile]]) -> Iterator[Sequence[KeptFile]]:
        after = 0
        while True:
            with self.database.read() as connection:
                batch = read(connection, after, _BATCH)
            if not batch:
                return
            yield batch
            after = batch[-1].key

    def _check_instances(self, batch: Sequence[KeptFile], report: VerifyReport) -> None:
        faults = {one.key: fault for one in batch if (fault := self._fault(one))}
        if faults:
            with self.database.read() as connection:
                kept = table.still_kept(connection, faults)
            faults = {key: fault for key, fault in faults.items() if key in kept}
        mended = {one.key for one in batch if one.damaged and one.key not in faults}
        if not self.contents:
            mended = set()  # that a file is there does not say that it is good
        self._note(faults, mended)
        report.faults += faults.values()
        self._count(len(batch), report)

    def _note(self, faults: dict[int, Fault], mended: set[int]) -> None:
        for fault in faults.values():
            _log.error(
                "file_damaged",
                instance=fault.sop_instance_uid,
                file=fault.file,
                result=fault.what,
                reason="restore it from a backup, or have the instance sent again",
            )
        if faults or mended:
            with self.database.write() as connection:
                table.note_damage(connection, faults, self.clock.now())
                table.note_soundness(connection, mended)

    def _count(self, number: int, report: VerifyReport) -> None:
        report.checked += number
        self.on_progress(number)

    def _fault(self, one: KeptFile) -> Fault | None:
        what = self._judge(one, self.files.path(one.file))
        return Fault(what, one.file, one.sop_instance_uid) if what else None

    def _judge(self, one: KeptFile, path: Path) -> str:
        try:
            if not self.contents:
                return "" if path.is_file() else MISSING
            with path.open("rb") as file:
                offset = one.data_set_offset
                if offset is None:
                    place = find_data_set(file.read(_HEAD_BYTES))
                    offset = place.offset if place else 0
                return "" if data_set_digest(file, offset) == one.sha256 else DAMAGED
        except FileNotFoundError:
            return MISSING
        except OSError:
            return UNREADABLE

    def without_row(self) -> list[str]:
        """Return files that no row speaks of, also when asked again for the object in them."""
        with self.database.read() as connection:
            suspects = list(_only_first(self.files.names(), table.names_in_order(connection)))
        uid_of = {name: uid for name in suspects if (uid := self._uid(name)) is not None}
        if not uid_of:
            return []
        with self.database.write() as connection:
            # What was received meanwhile has its row by now.
            close_the_past(connection)
            return sorted(uid_of.keys() - files_with_row(connection, uid_of))

    def _uid(self, name: str) -> str | None:
        """Return the SOP Instance UID in a file; empty = unknown, None = the file is gone."""
        try:
            with self.files.open(name) as file:
                place = find_data_set(file.read(_HEAD_BYTES))
        except StoreUnavailable:
            return None
        return place.sop_instance_uid if place else ""


def _only_first(first: Iterator[str], second: Iterator[str]) -> Iterator[str]:
    """Give what stands in the first of two sorted sequences and not in the second."""
    marked = heapq.merge(((name, 1) for name in second), ((name, 2) for name in first))
    seen = ""
    for name, which in marked:
        if which == 1:
            seen = name
        elif name != seen:
            yield name
