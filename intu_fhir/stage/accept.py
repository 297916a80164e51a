"""What happens between the last byte of an object and the answer to its sender.

The order is the promise: file content, rename and directory entry are on disk, then the row is
committed, then the answer is given. This is the one place where it stands in full. For one
object:

1. Before the first object of a process, the entries of the folders that lead to the file store
   and to a SQLite database are synced, and the writer's entry is made and locked
   (``files.writers``).
2. The data set is written to the spool as it arrives, and hashed; its header is read.
3. Where the folder of this minute is new, it is made and its entry synced, and those above it.
4. The folder is opened, by which it is synced in step 6; the descriptor that wrote the file stays
   open for that as well (``files.placed`` says why).
5. Where the writer's entry does not list the folder yet, it is written anew, synced, renamed into
   place, and its folder synced: a file may stand there without a row. Then the file is renamed
   into the folder of the minute. With ``answer: uploaded`` it is uploaded next, and read back.
6. Two things at the same time. The association's thread syncs the file, then the folder. The
   committing thread begins a transaction and writes the row in it, with those of other
   associations.
7. When both syncs are done, the transaction is committed, which syncs the database's log. Where
   one takes long, the row leaves the transaction and comes again in a later one.
8. It is seen that the file still stands, and the answer is given. Without ``answer: uploaded`` an
   object store gets the file after that (``stage.uploads``).

Where a row of this SOP Instance UID is there already, step 7 tells of it and writes nothing, and
the new file is durable by then. If the bytes are the same, the stored copy is read before one of
the two goes: where it is sound, the new one goes; where it was pruned, is gone, damaged or waits on
another machine, the row is pointed at the new one in a transaction of its own, then as from step 8.
Success is never given for a row alone. Such a transaction is carried out and waited for as one of
rows is (``stage.asides``). If the bytes differ, the new file is renamed into quarantine
in the same manner (3 to 5), synced there with its folder (6), and its row follows in a transaction
of its own; the answer is a refusal.

A crash between two steps leaves a file without a row, which ``recover`` removes, and never a row
without a file, nor an answer without either. A folder stays listed until what was removed in it
is synced, so that this holds for a file as well that a power cut brings back. Where it goes wrong
without a crash, the file goes at once, or, if the disk does not let it go, before the next
object; if a bucket does not, as soon as it does (``stage.left_behind``); where nobody can tell
whether the row is there, as soon as the database can be asked (``doubts``). Who stores a row again
finds it there; that it names the very file says that it is this object's own.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from typing import Any

from intu_fhir.db.file_checks import restore_file
from intu_fhir.db.instances import NewInstance, StagedAs, staged_as
from intu_fhir.db.quarantine import Quarantined, is_quarantined, store_quarantined
from intu_fhir.db.session import Database
from intu_fhir.errors import (
    IdentityMismatch,
    IntuError,
    LimitPassed,
    OutcomeUnknown,
    StoreUnavailable,
)
from intu_fhir.files.store import FileStore
from intu_fhir.model.instance import Accepted, Disposition, InstanceHeader, ReceivedObject
from intu_fhir.observe.clock import Clock
from intu_fhir.stage.asides import Aside, asides
from intu_fhir.stage.commit import GroupCommit
from intu_fhir.stage.doubts import Doubts
from intu_fhir.stage.encodings import DEFAULT_LIMITS, DEFLATED_SYNTAXES, Limits
from intu_fhir.stage.file_source import FileSource, opened_source
from intu_fhir.stage.header import read_header
from intu_fhir.stage.turns import SHORT_ELEMENTS, Turns

OTHER_BYTES = "different_bytes"
OTHER_PARENT = "other_study_or_series"
RESTORED = "file_restored"
_LOOKS = 3
"""At a stored copy that others replace meanwhile."""


@dataclass(frozen=True)
class Accept:
    """Stages one received object; called by several threads at once, safe to repeat.

    Args:
        first_look_seconds: by channel, how long after its last instance a study is judged.
        limits: what reading one header may cost.
        character_sets: by calling AE title, what its text is really in.
        turns: how many deflated and long data sets are read at the same time.
    """

    files: FileStore
    database: Database
    rows: GroupCommit[NewInstance, StagedAs]
    clock: Clock
    receiver: str
    first_look_seconds: dict[str, float]
    limits: Limits = DEFAULT_LIMITS
    character_sets: Mapping[str, str] = field(default_factory=dict)
    turns: Turns = field(default_factory=Turns)
    asides: GroupCommit[Aside, Any] = field(init=False)
    doubts: Doubts = field(init=False)
    short: Limits = field(init=False)

    def __post_init__(self) -> None:
        beside = asides(self.database, self.rows.wait_seconds)
        undecided = lambda: self.rows.undecided() + beside.undecided()  # noqa: E731
        fewest = min(SHORT_ELEMENTS, self.limits.max_elements)
        object.__setattr__(self, "short", replace(self.limits, max_elements=fewest))
        object.__setattr__(self, "asides", beside)
        object.__setattr__(self, "doubts", Doubts(self.database, self.files, undecided))

    def __call__(self, received: ReceivedObject) -> Accepted:
        """Stage an object durably and say what became of it.

        Raises:
            InvalidDataSet: it cannot be read.
            InvalidUid: a UID is missing or invalid.
            IdentityMismatch: it is not what its command announced.
            StoreUnavailable: disk or database cannot take it now.
            Busy: as many are being read as a setting allows.
        """
        header = self._read(received)
        self.doubts.settle()
        now = self.clock.now()
        name = self.files.place(received.path, now)
        with self._row_or_no_file(name, header):
            row = self._row(received, header, name, now)
            staged = self.rows.submit(row, lambda: self.files.make_durable(name))
        if staged.new or staged.file == name:  # its own row, stored before and told only now
            self._confirm(name, header)
            return self._accepted(header, Disposition.STORED)
        if staged.sha256 == received.sha256:
            return self._already(row, staged)
        return self._quarantine(row, staged)

    def _read(self, received: ReceivedObject) -> InstanceHeader:
        header = self._read_short(received) or self._read_long(received)
        announced = (received.sop_class_uid, received.sop_instance_uid)
        if (header.sop_class_uid, header.sop_instance_uid) != announced:
            raise IdentityMismatch(
                f"The data set of {received.sop_instance_uid} names another SOP Class or Instance "
                "UID than the command; the sender must send them alike"
            )
        return header

    def _read_short(self, received: ReceivedObject) -> InstanceHeader | None:
        """Read a header as nearly every image has it; None where that takes longer."""
        if received.transfer_syntax_uid in DEFLATED_SYNTAXES:
            return None
        try:
            return self._header(received, self.short)
        except LimitPassed as error:
            if error.limit != "max_elements":
                raise
            return None

    def _read_long(self, received: ReceivedObject) -> InstanceHeader:
        with self.turns.turn():
            return self._header(received, self.limits)

    def _header(self, received: ReceivedObject, limits: Limits) -> InstanceHeader:
        really = self.character_sets.get(received.origin.calling_ae_title, "")
        with _data_set(received) as data_set:
            return read_header(data_set, received.transfer_syntax_uid, limits, really)

    def _row(
        self, received: ReceivedObject, header: InstanceHeader, name: str, now: datetime
    ) -> NewInstance:
        return NewInstance(
            header=header,
            origin=received.origin,
            file=name,
            data_set_offset=received.data_set_offset,
            data_set_bytes=received.size,
            sha256=received.sha256,
            received_at=now,
            first_look_seconds=self.first_look_seconds.get(received.origin.channel, 0.0),
        )

    def _already(self, row: NewInstance, staged: StagedAs) -> Accepted:
        """Let one of two like objects go, once the other one is surely here.

        Success promises that the bytes are on disk; their row says only that they were.
        """
        header, name = row.header, row.file
        with self._row_or_no_file(name, header):
            restored = self._restored(row, staged)
        if restored:
            self._confirm(name, header)
            return self._accepted(header, Disposition.ALREADY_STORED, RESTORED)
        self._let_go(name)
        return self._accepted(header, Disposition.ALREADY_STORED, "same_bytes")

    def _restored(self, row: NewInstance, staged: StagedAs) -> bool:
        """Give the row this file if its own is not surely here; False where it is."""
        for _ in range(_LOOKS):
            if not staged.wants_file and self.files.holds(
                staged.file, staged.data_set_offset, staged.sha256
            ):
                return False
            if self._restore(row, staged):
                return True
            # Another association was first, with a file that is looked at as well.
            found = self._aside(partial(staged_as, sop_instance_uid=row.header.sop_instance_uid))
            if found is None:
                break
            staged = found
        raise StoreUnavailable(
            f"The stored copy of {row.header.sop_instance_uid} is being replaced; send it again"
        )

    def _restore(self, row: NewInstance, staged: StagedAs) -> bool:
        """Keep an object whose file was pruned, is damaged, or cannot be found."""
        restored: bool = self._aside(
            partial(
                restore_file,
                sop_instance_uid=row.header.sop_instance_uid,
                sha256=row.sha256,
                file=row.file,
                data_set_offset=row.data_set_offset,
                now=row.received_at,
                spool=self.files.spool,
                instead_of=staged.file,
                here=self.files.here,
            )
        )
        return restored

    def _quarantine(self, row: NewInstance, staged: StagedAs) -> Accepted:
        """Keep the second of two different objects with one UID aside; the first one stays."""
        header, name = row.header, row.file
        same_parents = (
            staged.study_instance_uid == header.study_instance_uid
            and staged.series_instance_uid == header.series_instance_uid
        )
        reason = OTHER_BYTES if same_parents else OTHER_PARENT
        with self._row_or_no_file(name, header):
            uid = header.sop_instance_uid
            if self._aside(partial(is_quarantined, sop_instance_uid=uid, sha256=row.sha256)):
                self._let_go(name)
                return self._accepted(header, Disposition.QUARANTINED, reason)
            aside = self.files.quarantine(self.files.path(name), row.received_at)
        is_moved = self.files.moved(name)
        item = Quarantined(
            header=header,
            origin=row.origin,
            reason=reason,
            detail="Staging holds another object under this SOP Instance UID; "
            "`intu-fhir quarantine show` says in what they differ. Where this one is wanted too, "
            "have it sent under a UID of its own; then `intu-fhir quarantine remove`",
            file=aside,
            sha256=row.sha256,
            stored_sha256=staged.sha256,
            received_at=row.received_at,
            data_set_offset=row.data_set_offset,
            spool=self.files.spool,
            left_behind="" if is_moved else name,
        )
        with self._row_or_no_file(aside, header):
            self._aside(partial(store_quarantined, item=item, receiver=self.receiver))
        self._confirm(aside, header)
        return self._accepted(header, Disposition.QUARANTINED, reason)

    def _let_go(self, name: str) -> None:
        """Remove a file of which there is another one; where that fails, it is tried again.

        Its sender need not hear of that: it would send the object again, and leave one more.
        """
        with contextlib.suppress(StoreUnavailable):
            self.files.remove(name)

    def _confirm(self, name: str, header: InstanceHeader) -> None:
        """Note that a row speaks of a file, and see once more that the file is there.

        Whoever takes this process for dead, and a person with a shell, may remove it before the
        row can be seen.
        """
        try:
            stands = self.files.stands(name)
        finally:
            self.files.confirm(name)
        if not stands:
            raise StoreUnavailable(
                f"The file of {header.sop_instance_uid} went while its row was stored; see who "
                "removes files from the store, and send the instance again"
            )

    def _aside(self, do: Aside) -> Any:
        """Ask or tell the database something beside the row, and wait for that as for a row."""
        self.asides.start()
        return self.asides.submit(do)

    @contextlib.contextmanager
    def _row_or_no_file(self, name: str, header: InstanceHeader) -> Iterator[None]:
        """If no row comes of what is done inside, the file ``name`` goes as well.

        Errors of our own say that none came. What else there is, such as a lack of memory, may come
        when the row is stored.
        """
        try:
            yield
        except IntuError as error:
            if isinstance(error, OutcomeUnknown):
                self.doubts.add(name, header.sop_instance_uid)
                raise
            self._let_go(name)  # where even that fails, it stays listed as one without a row
            raise
        except BaseException:
            self.doubts.add(name, header.sop_instance_uid)
            raise

    @staticmethod
    def _accepted(header: InstanceHeader, what: Disposition, reason: str = "") -> Accepted:
        return Accepted(what, header.sop_instance_uid, header.study_instance_uid, reason)


@contextlib.contextmanager
def _data_set(received: ReceivedObject) -> Iterator[memoryview | FileSource]:
    """Give a data set without reading the whole file into memory."""
    if received.data_set is not None or received.size == 0:
        yield memoryview(received.data_set or b"")
        return
    try:
        with opened_source(received.path, received.data_set_offset, received.size) as source:
            yield source
    except OSError as error:
        raise StoreUnavailable(
            f"Reading a spooled file failed: {error.strerror}; mend the disk or "
            "allow more open files"
        ) from error
