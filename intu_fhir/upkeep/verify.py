"""Holds the file store against the database: is each file there, and is it what was received?"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import structlog

from intu_fhir.db import file_checks as table
from intu_fhir.db.file_checks import KeptFile
from intu_fhir.db.kept_files import close_the_past, files_with_row
from intu_fhir.db.session import Database
from intu_fhir.errors import DamagedFile, NotHereYet, StoreUnavailable, UnknownKey
from intu_fhir.files.digest import digest_of_blocks
from intu_fhir.files.local import LocalFileStore
from intu_fhir.files.shortage import could_not_look
from intu_fhir.observe.clock import Clock
from intu_fhir.stage.part10 import find_data_set, with_head

_log = structlog.get_logger("intu_fhir.upkeep")
_BATCH = 200
_SOUND, _ELSEWHERE = "", "elsewhere"
MISSING, DAMAGED, UNREADABLE = "missing", "damaged", "unreadable"
WITHHELD, LOCKED = "withheld", "locked"
_NOTED = frozenset({MISSING, DAMAGED, UNREADABLE})
"""What says that the bytes are not to be had; the others say that we were not let in."""


@dataclass(frozen=True, slots=True)
class Fault:
    """A file that is not what its row says.

    Args:
        what: missing, damaged (other bytes than were received), unreadable (the disk fails), or
            withheld (the store answers, but this file could not be looked at: it may not be read,
            or this machine lacks open files or memory); from an object store also locked (sealed
            with a key that is not in ``key_files`` here).
    """

    what: str
    file: str
    sop_instance_uid: str


@dataclass
class VerifyReport:
    """What a check has found.

    Args:
        checked: files that rows speak of.
        elsewhere: of these, those that wait in the spools of other machines, so that only
            these machines can read them.
        without_row: files that no row speaks of.
    """

    checked: int = 0
    elsewhere: int = 0
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
        contents: read each file and compare it; else only look whether it is there, and read those
            of which damage is noted: that one is there does not say that it is good.
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
        self.files.ask()
        report = VerifyReport()
        for batch in self._batches(table.instance_files):
            self._check_instances(batch, report)
        for batch in self._batches(table.quarantined_files):
            report.faults += self._faults(batch, report)[0].values()
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
        faults, sound = self._faults(batch, report)
        if faults:
            with self.database.read() as connection:
                kept = table.still_kept(connection, _files(faults))
            faults = {key: fault for key, fault in faults.items() if key in kept}
        mended = {one.key: one.file for one in batch if one.damaged and one.key in sound}
        self._note({key: one for key, one in faults.items() if one.what in _NOTED}, mended)
        report.faults += faults.values()
        self._count(len(batch), report)

    def _note(self, faults: dict[int, Fault], mended: dict[int, str]) -> None:
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
                table.note_damage(connection, _files(faults), self.clock.now())
                table.note_soundness(connection, mended)

    def _count(self, number: int, report: VerifyReport) -> None:
        report.checked += number
        self.on_progress(number)

    def _faults(
        self, batch: Sequence[KeptFile], report: VerifyReport
    ) -> tuple[dict[int, Fault], set[int]]:
        """Return the faults of a batch by key, and the keys of what is sound."""
        with ThreadPoolExecutor(self.files.at_once, thread_name_prefix="verify") as pool:
            found = dict(zip(batch, pool.map(self._judge, batch), strict=True))
        report.elsewhere += sum(what == _ELSEWHERE for what in found.values())
        bad = {one: what for one, what in found.items() if what not in {_SOUND, _ELSEWHERE}}
        faults = {o.key: Fault(what, o.file, o.sop_instance_uid) for o, what in bad.items()}
        return faults, {one.key for one, what in found.items() if what == _SOUND}

    def _judge(self, one: KeptFile) -> str:
        what = self._look(one)
        if what in {MISSING, WITHHELD}:
            self.files.ask()  # a store that is down says nothing of any file
        return what

    def _look(self, one: KeptFile) -> str:
        try:
            if not self.contents and not one.damaged:
                return _SOUND if self.files.has(one.file) else MISSING
            return _SOUND if self._is_whole(one) else DAMAGED
        except FileNotFoundError:
            return MISSING
        except NotHereYet:
            return _ELSEWHERE
        except StoreUnavailable:
            return WITHHELD
        except UnknownKey:
            return LOCKED
        except DamagedFile:
            return DAMAGED
        except OSError as error:
            return WITHHELD if could_not_look(error) else UNREADABLE

    def _is_whole(self, one: KeptFile) -> bool:
        """Read all of a file: its data set, and what stands before it, from which readers learn."""
        head, blocks = with_head(self.files.blocks(one.file))
        place = find_data_set(head)
        offset = one.data_set_offset
        if offset is None:
            offset = place.offset if place else 0
        elif offset:
            wanted = (offset, one.sop_instance_uid, one.transfer_syntax_uid)
            if place is None or not place.is_of(*wanted):
                return False
        return digest_of_blocks(blocks, offset) == one.sha256

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
            head, _ = with_head(self.files.blocks(name))
            place = find_data_set(head)
        except FileNotFoundError:
            return None
        except StoreUnavailable:
            self.files.ask()
            return ""
        except (DamagedFile, OSError):
            return ""
        return place.sop_instance_uid if place else ""


def _files(faults: dict[int, Fault]) -> dict[int, str]:
    return {key: fault.file for key, fault in faults.items()}


def _only_first(first: Iterator[str], second: Iterator[str]) -> Iterator[str]:
    """Give what stands in the first of two sorted sequences and not in the second."""
    marked = heapq.merge(((name, 1) for name in second), ((name, 2) for name in first))
    seen = ""
    for name, which in marked:
        if which == 1:
            seen = name
        elif name != seen:
            yield name
