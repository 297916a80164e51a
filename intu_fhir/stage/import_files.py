"""The batch door: brings files into staging by the same ``accept`` as the network."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import BinaryIO

from intu_fhir.errors import (
    IdentityMismatch,
    InvalidDataSet,
    InvalidUid,
    PermanentError,
    StoreUnavailable,
)
from intu_fhir.files.part10 import part10_head
from intu_fhir.files.store import FileStore, SpooledFile
from intu_fhir.model.finding import Finding, Severity
from intu_fhir.model.instance import (
    Accepted,
    Disposition,
    InstanceHeader,
    Origin,
    ReceivedObject,
)
from intu_fhir.stage.file_source import opened_source
from intu_fhir.stage.header import read_header
from intu_fhir.stage.media import (
    Candidate,
    Found,
    Missing,
    NotDicom,
    Unreadable,
    UnreadableMedia,
    reading,
)
from intu_fhir.stage.part10 import DataSetPlace

_CHUNK = 1 << 20
_NO_ROOM = (
    "Too little space is left for files or database: no more is taken in below "
    "receiver.min_free_bytes; free space, then run the import again: it goes on where it ended"
)
_REASONS = {
    InvalidDataSet: "invalid_data_set",
    InvalidUid: "invalid_uid",
    IdentityMismatch: "identity_mismatch",
    UnreadableMedia: "unreadable",
}


class Result(StrEnum):
    """What became of one thing that was found; each ends as exactly one of these."""

    STORED = "stored"
    ALREADY_STORED = "already_stored"
    DUPLICATE = "duplicate"
    QUARANTINED = "quarantined"
    REFUSED = "refused"
    NOT_DICOM = "not_dicom"
    MISSING = "missing"


_FINE = frozenset({Result.STORED, Result.ALREADY_STORED, Result.DUPLICATE})


@dataclass(frozen=True, slots=True)
class Imported:
    """What became of one thing that was found.

    Args:
        name: path, or archive and member.
        reason: a short code for anything but STORED; a sentence for NOT_DICOM.
        detail: what happened and what to do about it, without patient data.
    """

    name: str
    result: Result
    reason: str = ""
    detail: str = ""
    sop_instance_uid: str = ""


@dataclass(frozen=True, slots=True)
class ImportReport:
    """What became of everything that was found; ``counts`` add up to ``total``.

    Args:
        counts: how many ended as what; every result is there.
        problems: each thing that is neither stored nor known already, by name.
        findings: remarks on what was stored.
    """

    counts: dict[Result, int]
    problems: tuple[Imported, ...] = ()
    findings: tuple[Finding, ...] = ()

    @property
    def total(self) -> int:
        """How many things were found."""
        return sum(self.counts.values())


@dataclass(slots=True)
class _Run:
    """One import while it runs."""

    files: FileStore
    accept: Callable[[ReceivedObject], Accepted]
    origin: Origin
    has_room: Callable[[int], bool]
    seen: set[tuple[str, str]] = field(default_factory=set)
    findings: list[Finding] = field(default_factory=list)


def import_objects(
    candidates: Iterable[Found],
    *,
    files: FileStore,
    accept: Callable[[ReceivedObject], Accepted],
    origin: Origin,
    on_progress: Callable[[Imported], None] = lambda _: None,
    has_room: Callable[[int], bool] = lambda _: True,
) -> ImportReport:
    """Stage what ``media.find_objects`` found; safe to repeat.

    Data set bytes are kept exactly; preamble and meta information are written anew.

    Args:
        on_progress: told of each thing once it is done.
        has_room: whether so many more bytes may be written; asked before they are.

    Raises:
        StoreUnavailable: disk or database cannot take more now; run the import again later.
    """
    run = _Run(files, accept, origin, has_room)
    counts: Counter[Result] = Counter()
    problems = []
    for candidate in candidates:
        imported = _import(run, candidate)
        counts[imported.result] += 1
        if imported.result not in _FINE:
            problems.append(imported)
        on_progress(imported)
    return ImportReport(
        {result: counts[result] for result in Result}, tuple(problems), tuple(run.findings)
    )


def _import(run: _Run, found: Found) -> Imported:
    if isinstance(found, NotDicom):
        return Imported(found.name, Result.NOT_DICOM, found.reason)
    if isinstance(found, Unreadable):
        return Imported(found.name, Result.REFUSED, _REASONS[UnreadableMedia], found.reason)
    if isinstance(found, Missing):
        return Imported(found.name, Result.MISSING, "missing", f"{found.directory} refers to it")
    try:
        with _spooled(run, found) as (header, spooled):
            return _hand_over(run, found, header, spooled)
    except PermanentError as error:
        reason = _REASONS.get(type(error), "refused")
        return Imported(found.name, Result.REFUSED, reason, str(error))


def _hand_over(
    run: _Run, candidate: Candidate, header: InstanceHeader, spooled: SpooledFile
) -> Imported:
    received = ReceivedObject(
        path=spooled.path,
        data_set_offset=spooled.data_set_offset,
        size=spooled.size,
        sha256=spooled.sha256,
        sop_class_uid=header.sop_class_uid,
        sop_instance_uid=header.sop_instance_uid,
        transfer_syntax_uid=header.transfer_syntax_uid,
        origin=run.origin,
    )
    accepted = run.accept(received)
    result = Result(accepted.disposition.value)
    key = (header.sop_instance_uid, spooled.sha256)
    if accepted.disposition is Disposition.ALREADY_STORED and key in run.seen:
        result = Result.DUPLICATE
    run.seen.add(key)
    return Imported(candidate.name, result, accepted.reason, "", header.sop_instance_uid)


@contextlib.contextmanager
def _spooled(run: _Run, candidate: Candidate) -> Iterator[tuple[InstanceHeader, SpooledFile]]:
    """Copy an object into the spool, under the UIDs of its data set; gone if not moved on.

    Media is only read, never mapped: a scratched disc is then an error and not a crash.
    """
    place = candidate.place
    with reading(), candidate.open() as source:
        first = _copy(run, source, place, candidate.max_bytes)
    try:
        header = _header(first, place.transfer_syntax_uid)
        spooled = first
        if _differs(header, place):
            _note_difference(run, header, place)
            spooled = _again(run, first, header)
        try:
            yield header, spooled
        finally:
            spooled.path.unlink(missing_ok=True)
    finally:
        first.path.unlink(missing_ok=True)


def _copy(run: _Run, source: BinaryIO, place: DataSetPlace, max_bytes: int) -> SpooledFile:
    """Copy everything behind the meta information."""
    head = part10_head(place.sop_class_uid, place.sop_instance_uid, place.transfer_syntax_uid)
    spool = run.files.open_spool(head)
    with contextlib.ExitStack() as undo:
        undo.callback(spool.discard)
        source.read(place.offset)
        left = max_bytes - place.offset
        while left > 0 and (chunk := source.read(min(_CHUNK, left))):
            if not run.has_room(len(chunk)):
                raise StoreUnavailable(_NO_ROOM)
            spool.write(chunk)
            left -= len(chunk)
        finished = spool.finish()
        undo.pop_all()
    return finished


def _header(spooled: SpooledFile, transfer_syntax_uid: str) -> InstanceHeader:
    if not spooled.size:
        return read_header(b"", transfer_syntax_uid)
    with opened_source(spooled.path, spooled.data_set_offset, spooled.size) as data_set:
        return read_header(data_set, transfer_syntax_uid)


def _differs(header: InstanceHeader, place: DataSetPlace) -> bool:
    stated = (place.sop_class_uid, place.sop_instance_uid)
    return stated != (header.sop_class_uid, header.sop_instance_uid)


def _note_difference(run: _Run, header: InstanceHeader, place: DataSetPlace) -> None:
    """The data set wins over meta information that says otherwise; absent is no difference."""
    if not place.sop_class_uid and not place.sop_instance_uid:
        return
    run.findings.append(
        Finding(
            Severity.WARNING,
            "meta_information_differs",
            "File Meta Information names another SOP Class or Instance UID; the data set counts",
            level="instance",
            uid=header.sop_instance_uid,
        )
    )


def _again(run: _Run, first: SpooledFile, header: InstanceHeader) -> SpooledFile:
    """Copy a spooled data set below a head that states its own UIDs."""
    place = DataSetPlace(
        first.data_set_offset,
        header.transfer_syntax_uid,
        header.sop_class_uid,
        header.sop_instance_uid,
    )
    with first.path.open("rb") as source:
        return _copy(run, source, place, first.data_set_offset + first.size)
