"""Reads a strace log: which answers were sent before everything was on disk?"""

from __future__ import annotations

import ast
import heapq
import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from operator import itemgetter
from pathlib import Path, PurePosixPath

from tests.support.raw_peer import elements_of

CALLS = "openat,write,pwrite64,pwritev,fsync,fdatasync,rename,mkdir,unlink,sendto"
TEXT_BYTES = 1 << 17
_SAMPLE_UID = re.compile(r"1\.2\.826\.0\.1\.3680043\.9\.9999\.1\.1\d{25}")
_LINE = re.compile(r"(?:(\d+) +)?(\d+\.\d+) (.*)", re.DOTALL)
_CALL = re.compile(r"(\w+)\((.*)", re.DOTALL)
_RESUMED = re.compile(r"<\.\.\. (\w+) resumed>(.*)", re.DOTALL)
_UNFINISHED = "<unfinished ...>"
_DESCRIPTOR = re.compile(r"\d+<([^>]*)>")
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"')
_RESULT = re.compile(r" = (-?\d+)[^=]*$")
_STORE_RESPONSE, _DATA_PDU = 0x8001, 4


@dataclass(frozen=True, slots=True)
class Call:
    """One system call; ``begun`` and ``ended`` are line numbers of the log."""

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
    def quoted(self) -> list[str]:
        """The texts that the call was given."""
        return _QUOTED.findall(self.text)


def read_calls(*logs: Path) -> Iterator[Call]:
    """Give the calls of logs that were written at the same time, in the order of their end."""
    open_calls: dict[str, tuple[int, str, str]] = {}
    for number, (_, task, rest) in enumerate(heapq.merge(*map(_lines, logs), key=itemgetter(0))):
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
        else:
            yield Call(task, number, number, call[1], call[2], _result(rest))


def _lines(log: Path) -> Iterator[tuple[float, str, str]]:
    """Give time, thread and text of each line; where only one thread was traced, none is named."""
    with log.open(errors="replace") as lines:
        for line in lines:
            found = _LINE.fullmatch(line.rstrip("\n"))
            if found:
                yield float(found[2]), found[1] or str(log), found[3]


def _result(text: str) -> int:
    found = _RESULT.search(text[-200:])
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
        self.writes: dict[str, Call] = {}
        self.renames: dict[str, tuple[Call, str]] = {}
        self.folders: dict[str, Call] = {}
        self.syncs: dict[str, list[Call]] = defaultdict(list)
        self.failed_syncs: dict[str, list[Call]] = defaultdict(list)
        for call in calls:
            self._take(call)

    def _take(self, call: Call) -> None:
        if call.name == "sendto":
            self._take_answer(call)
        elif call.result < 0:
            if call.name in {"fsync", "fdatasync"}:
                self.failed_syncs[call.path].append(call)
        elif call.name in {"fsync", "fdatasync"}:
            self.syncs[call.path].append(call)
        elif call.name in {"pwrite64", "pwritev"}:
            if call.path.endswith("-wal") or "/pg_wal/" in call.path:
                for uid in set(_SAMPLE_UID.findall(call.text)):
                    self.rows[uid].append(call)
        elif call.name == "write":
            self.writes[call.path] = call
        elif call.name == "rename":
            old, new = call.quoted[:2]
            self.renames[new] = (call, old)
        elif call.name == "mkdir":
            self.folders[call.quoted[0]] = call

    def _take_answer(self, call: Call) -> None:
        data: bytes = ast.literal_eval(f'b"{call.quoted[0]}"') if call.quoted else b""
        if data[:1] != bytes((_DATA_PDU,)):
            return
        elements = elements_of(data[12:])
        number = {n: int.from_bytes(elements.get(n, b""), "little") for n in (0x0100, 0x0900)}
        if number[0x0100] == _STORE_RESPONSE and number[0x0900] == 0:
            uid = elements[0x1000].rstrip(b"\0").decode()
            self.answers.append((uid, call.begun))

    def newest(self, files: Collection[Path], before: int) -> Path | None:
        """Return which of the files had got its name last, at a moment."""
        named = [
            (self.renames[str(file)][0].ended, file) for file in files if str(file) in self.renames
        ]
        return max((one for one in named if one[0] < before), default=(0, None))[1]

    def synced(self, path: str, written: Call, before: int) -> bool:
        """Say whether a sync of ``path`` lies between a write and a moment."""
        return any(sync.begun > written.ended and sync.ended < before for sync in self.syncs[path])

    def is_whole(self, row: Call, before: int) -> bool:
        """Say whether what a log took was synced before a moment, by the first sync after it.

        Where that failed, a later one says nothing: the system takes what was lost for written.
        """
        of_log = (*self.syncs[row.path], *self.failed_syncs[row.path])
        after = [sync for sync in of_log if sync.begun > row.ended]
        first = min(after, key=lambda sync: sync.ended, default=None)
        return first is not None and first.result >= 0 and first.ended < before

    def failed(self, path: str, written: Call, before: int) -> bool:
        """Say whether a sync of ``path`` failed between a write and a moment."""
        failed = self.failed_syncs[path]
        return any(sync.begun > written.ended and sync.ended < before for sync in failed)


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
    renamed, _ = disk.renames.get(str(file), (None, ""))
    # The row of a file comes when that has its name; before, it was that of an earlier file.
    named = renamed.ended if renamed else 0
    rows = [row for row in disk.rows.get(uid, []) if named < row.begun and row.ended < moment]
    if not any(disk.is_whole(row, moment) for row in rows):
        yield "row"
    yield from _missing_of_file(disk, file, moment)
    # SQLite's log takes a row when it is committed, PostgreSQL's earlier.
    committed = min((row.begun for row in rows if row.path.endswith("-wal")), default=None)
    if committed is not None and any(_missing_of_file(disk, file, committed)):
        yield "file before row"


def _missing_of_file(disk: _Disk, file: Path | None, moment: int) -> Iterator[str]:
    renamed, spooled = disk.renames.get(str(file), (None, ""))
    if file is None or renamed is None or renamed.ended >= moment:
        yield "file"
        return
    names = (spooled, str(file))
    writes = [disk.writes[name] for name in names if name in disk.writes]
    written = max(writes, key=lambda write: write.ended, default=None)
    if (
        written is None
        or any(disk.failed(name, written, moment) for name in names)
        or not any(disk.synced(name, written, moment) for name in names)
    ):
        yield "file"
    if not disk.synced(str(file.parent), renamed, moment):
        yield "folder"
    for parent in PurePosixPath(file).parents:
        made = disk.folders.get(str(parent))
        if made is not None and not disk.synced(str(parent.parent), made, moment):
            yield "parent folder"
