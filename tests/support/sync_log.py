"""Reads a strace log: which answers were sent before everything was on disk?"""

from __future__ import annotations

import ast
import heapq
import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import count
from operator import itemgetter
from pathlib import Path, PurePosixPath

from tests.support.raw_peer import elements_of

CALLS = "openat,write,writev,pwrite64,pwritev,fsync,fdatasync,rename,mkdir,unlink,sendto"
TEXT_BYTES = 1 << 17
_SAMPLE_UID = re.compile(r"1\.2\.826\.0\.1\.3680043\.9\.9999\.1\.1\d{25}")
_LINE = re.compile(r"(?:(\d+) +)?(\d+\.\d+) (.*)", re.DOTALL)
_CALL = re.compile(r"(\w+)\((.*)", re.DOTALL)
_RESUMED = re.compile(r"<\.\.\. (\w+) resumed>(.*)", re.DOTALL)
_UNFINISHED = "<unfinished ...>"
_DESCRIPTOR = re.compile(r"\d+<([^>]*)>")
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"')
_TOOK = re.compile(r" <(\d+\.\d+)>$")
_RESULT = re.compile(r" = (-?\d+)[^=]*$")
_END_OF_LINE = 200
"""So many characters hold what became of a call."""
_STORE_RESPONSE, _DATA_PDU = 0x8001, 4
_SYNCS = frozenset({"fsync", "fdatasync"})
_WRITES = frozenset({"write", "writev", "pwrite64", "pwritev"})
_COMMIT, _ROLLBACK = r"Q\0\0\0\vCOMMIT\0", r"Q\0\0\0\rROLLBACK\0"
"""How strace writes the messages that end a transaction of PostgreSQL."""


@dataclass(frozen=True, slots=True)
class Call:
    """One system call; ``begun`` and ``ended`` say where in the order of all that the logs show."""

    task: str
    begun: int
    ended: int
    name: str
    text: str
    result: int

    @property
    def path(self) -> str:
        """The file of the descriptor that the call is about."""
        found = _DESCRIPTOR.match(self.text)
        return found[1] if found else ""

    @property
    def descriptor(self) -> int:
        """The number of that descriptor."""
        return int(self.text.partition("<")[0])

    @property
    def is_sqlite(self) -> bool:
        """Say whether this is about a write-ahead log of SQLite."""
        return self.path.endswith("-wal")

    @property
    def is_injected(self) -> bool:
        """Say whether strace answered it, and not the system."""
        return "(INJECTED)" in self.text[-_END_OF_LINE:]

    @property
    def quoted(self) -> list[str]:
        """The texts that the call was given."""
        return _QUOTED.findall(self.text)


def read_calls(*logs: Path) -> Iterator[Call]:
    """Give the calls of logs that were written at the same time, in the order of their end.

    A log that shows nothing else while a call lasts has one line for it, which says how long that
    was; meanwhile there may be lines in another log.
    """
    open_calls: dict[str, tuple[int, str, str]] = {}
    lasting: list[tuple[float, int, str, str, str]] = []
    numbers = count()
    for time, task, rest in heapq.merge(*map(_lines, logs), key=itemgetter(0)):
        while lasting and lasting[0][0] <= time:
            yield _ended(*heapq.heappop(lasting)[1:], next(numbers))
        number = next(numbers)
        resumed = _RESUMED.match(rest)
        if resumed and task in open_calls:
            begun, name, text = open_calls.pop(task)
            yield Call(task, begun, number, name, text + resumed[2], _result(resumed[2]))
            continue
        call = _CALL.match(rest)
        if call is None:
            continue
        if rest.endswith(_UNFINISHED):
            open_calls[task] = (number, call[1], call[2].removesuffix(_UNFINISHED))
        elif took := _TOOK.search(rest[-_END_OF_LINE:]):
            heapq.heappush(lasting, (time + float(took[1]), number, task, call[1], call[2]))
        else:
            yield Call(task, number, number, call[1], call[2], _result(rest))
    while lasting:
        yield _ended(*heapq.heappop(lasting)[1:], next(numbers))


def _ended(begun: int, task: str, name: str, text: str, ended: int) -> Call:
    return Call(task, begun, ended, name, text, _result(text))


def _lines(log: Path) -> Iterator[tuple[float, str, str]]:
    """Give time, thread and text of each line; where only one thread was traced, none is named."""
    with log.open(errors="replace") as lines:
        for line in lines:
            found = _LINE.fullmatch(line.rstrip("\n"))
            if found:
                yield float(found[2]), found[1] or str(log), found[3]


def _result(text: str) -> int:
    found = _RESULT.search(text[-_END_OF_LINE:])
    return int(found[1]) if found else -1


@dataclass
class Verdict:
    """What a log shows.

    Args:
        answers: how often Success was answered.
        early: by what was not yet on disk, the objects answered before it was.
        unseen: objects whose row was not found in what the database wrote.
    """

    answers: int = 0
    early: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    unseen: list[str] = field(default_factory=list)

    def counts(self) -> dict[str, int]:
        """Return how many answers were early, by reason."""
        return {what: len(uids) for what, uids in sorted(self.early.items())}


class _Disk:
    """What was written and synced, as far as the log goes."""

    def __init__(self, calls: Iterable[Call]) -> None:
        self.answers: list[tuple[str, int]] = []
        self.rows: dict[str, list[Call]] = defaultdict(list)
        self.commits: dict[str, list[Call]] = defaultdict(list)
        self.writes: dict[str, list[Call]] = defaultdict(list)
        self.renames: dict[str, tuple[Call, str]] = {}
        self.folders: dict[str, Call] = {}
        self.openings: dict[tuple[str, int], list[Call]] = defaultdict(list)
        self.syncs: dict[str, list[Call]] = defaultdict(list)
        self.failed_syncs: dict[str, list[Call]] = defaultdict(list)
        self.failed_writes: dict[str, list[Call]] = defaultdict(list)
        self._said: dict[str, str] = defaultdict(str)
        for call in calls:
            self._take(call)

    def _take(self, call: Call) -> None:
        if call.name == "sendto":
            self._take_answer(call)
            self._take_statement(call)
        elif call.name in _SYNCS:
            (self.failed_syncs if call.result < 0 else self.syncs)[call.path].append(call)
        elif call.result < 0:
            if call.is_sqlite and call.name in _WRITES:
                self.failed_writes[call.path].append(call)
        elif call.name in _WRITES:
            self._take_write(call)
        elif call.name == "openat":
            self.openings[call.quoted[0], call.result].append(call)
        elif call.name == "rename":
            old, new = call.quoted[:2]
            self.renames[new] = (call, old)
        elif call.name == "mkdir":
            self.folders[call.quoted[0]] = call

    def _take_write(self, call: Call) -> None:
        if call.is_sqlite or "/pg_wal/" in call.path:
            for uid in set(_SAMPLE_UID.findall(call.text)):
                self.rows[uid].append(call)
        else:
            self.writes[call.path].append(call)

    def _take_answer(self, call: Call) -> None:
        data: bytes = ast.literal_eval(f'b"{call.quoted[0]}"') if call.quoted else b""
        if data[:1] != bytes((_DATA_PDU,)):
            return
        elements = elements_of(data[12:])
        number = {n: int.from_bytes(elements.get(n, b""), "little") for n in (0x0100, 0x0900)}
        if number[0x0100] == _STORE_RESPONSE and number[0x0900] == 0:
            uid = elements[0x1000].rstrip(b"\0").decode()
            self.answers.append((uid, call.begun))

    def _take_statement(self, call: Call) -> None:
        """Note for which objects PostgreSQL was told to commit: those named since the last end."""
        text = call.quoted[0] if call.quoted else ""
        self._said[call.path] += text
        if _COMMIT in text:
            for uid in set(_SAMPLE_UID.findall(self._said[call.path])):
                self.commits[uid].append(call)
        if _COMMIT in text or _ROLLBACK in text:
            self._said[call.path] = ""

    def newest(self, files: Collection[Path], before: int) -> Path | None:
        """Return which of the files had got its name last, at a moment."""
        named = [
            (self.renames[str(file)][0].ended, file) for file in files if str(file) in self.renames
        ]
        return max((one for one in named if one[0] < before), default=(0, None))[1]

    def rows_of(self, uid: str, file: Path | None, before: int) -> list[Call]:
        """Return the writes of the row that names a file: those after the file had its name.

        A page of SQLite holds rows of others too, and is written again with each of them; so the
        row is told by the name of its file. PostgreSQL leaves out of an UPDATE what stays.
        """
        named = self._named(file)
        return [
            row
            for row in self.rows.get(uid, [])
            if named < row.begun
            and row.ended < before
            and (file is None or not row.is_sqlite or file.stem in row.text)
        ]

    def commits_of(self, uid: str, file: Path | None, before: int) -> list[Call]:
        """Return the requests to PostgreSQL to commit the row of a file."""
        named = self._named(file)
        return [one for one in self.commits.get(uid, []) if named < one.begun < before]

    def _named(self, file: Path | None) -> int:
        renamed, _ = self.renames.get(str(file), (None, ""))
        return renamed.ended if renamed else -1

    def last_write(self, names: Iterable[str], before: int) -> Call | None:
        """Return the last write to a file under any of its names."""
        writes = (call for name in names for call in self.writes[name] if call.begun < before)
        return max(writes, key=lambda call: call.ended, default=None)

    def synced(self, path: str, written: Call, before: int) -> bool:
        """Say whether a sync of ``path`` lies between a write and a moment."""
        return any(_between(written, sync, before) for sync in self.syncs[path])

    def failed(self, path: str, before: int) -> bool:
        """Say whether a sync of ``path`` failed before a moment."""
        return any(sync.ended < before for sync in self.failed_syncs[path])

    def logged(self, row: Call, before: int) -> bool:
        """Say whether a row is on disk in its log at a moment.

        After a sync that failed no later one of the same log says anything of it, nor after a write
        that failed: SQLite writes over what it could not commit, and whoever wants the row there
        writes it again.
        """
        syncs = [one for one in self.syncs[row.path] if _between(row, one, before)]
        failures = self.failed_syncs[row.path] + self.failed_writes[row.path]
        failed = [one for one in failures if _between(row, one, before)]
        first = min((one.ended for one in failed), default=before)
        return any(sync.ended < first for sync in syncs)

    def committed(self, uid: str, file: Path | None, before: int) -> bool:
        """Say whether PostgreSQL synced its log after it had been told to commit a row."""
        first = min((one.begun for one in self.commits_of(uid, file, before)), default=before)
        return any(
            first < sync.begun and sync.ended < before
            for path, syncs in self.syncs.items()
            if "/pg_wal/" in path
            for sync in syncs
        )

    def entered(self, folder: str, entry: Call, before: int) -> bool:
        """Say whether an entry of a folder is on disk at a moment.

        That says a sync alone whose descriptor is older than the entry and was told of no loss
        since (decision 22). Where the log does not show how old it is, it says so only as long as
        nobody was told of one.
        """
        return any(
            _between(entry, sync, before) and self._tells(folder, entry, sync)
            for sync in self.syncs[folder]
        )

    def _tells(self, folder: str, entry: Call, sync: Call) -> bool:
        opened = self._opened(folder, sync)
        failed = [one for one in self.failed_syncs[folder] if _between(entry, one, sync.begun)]
        if opened is None:
            return not failed
        is_older = opened.ended < entry.begun
        return is_older and all(self._opened(folder, one) is not opened for one in failed)

    def _opened(self, folder: str, sync: Call) -> Call | None:
        """Return the opening of the descriptor that a folder was synced by."""
        openings = self.openings[folder, sync.descriptor]
        earlier = [one for one in openings if one.ended < sync.begun]
        return earlier[-1] if earlier else None


def _between(written: Call, sync: Call, before: int) -> bool:
    return sync.begun > written.ended and sync.ended < before


def judge(logs: Iterable[Path], files_of: Mapping[str, Collection[Path]]) -> Verdict:
    """Hold every Success of the logs against what was on disk by then.

    Args:
        files_of: by SOP Instance UID, the files that its row names or has named.
    """
    disk, verdict = _Disk(read_calls(*logs)), Verdict()
    for uid, moment in disk.answers:
        verdict.answers += 1
        for what in _missing(disk, uid, moment, disk.newest(files_of.get(uid, ()), moment)):
            verdict.early[what].append(uid)
        if uid not in disk.rows:
            verdict.unseen.append(uid)
    return verdict


def _missing(disk: _Disk, uid: str, moment: int, file: Path | None) -> Iterator[str]:
    """Name what was not on disk at a moment, when an object was answered."""
    rows = disk.rows_of(uid, file, moment)
    if not any(
        disk.logged(row, moment) and (row.is_sqlite or disk.committed(uid, file, moment))
        for row in rows
    ):
        yield "row"
    yield from _missing_of_file(disk, file, moment)
    # SQLite takes a row into its log when it is committed; PostgreSQL earlier, but is told when.
    commits = [row for row in rows if row.is_sqlite] or disk.commits_of(uid, file, moment)
    committed = min((one.begun for one in commits), default=None)
    if committed is not None and any(_missing_of_file(disk, file, committed)):
        yield "file before row"


def _missing_of_file(disk: _Disk, file: Path | None, moment: int) -> Iterator[str]:
    renamed, spooled = disk.renames.get(str(file), (None, ""))
    if file is None or renamed is None or renamed.ended >= moment:
        yield "file"
        return
    names = (spooled, str(file))
    written = disk.last_write(names, moment)
    if (
        written is None
        or any(disk.failed(name, moment) for name in names)
        or not any(disk.synced(name, written, moment) for name in names)
    ):
        yield "file"
    if not disk.entered(str(file.parent), renamed, moment):
        yield "folder"
    for parent in PurePosixPath(file).parents:
        made = disk.folders.get(str(parent))
        if made is not None and not disk.entered(str(parent.parent), made, moment):
            yield "parent folder"
