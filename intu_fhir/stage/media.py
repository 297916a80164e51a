"""Finds DICOM objects in files, folders, DICOMDIR media and zip archives."""

from __future__ import annotations

import lzma
import os
import stat
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, TypeAlias, cast

from intu_fhir.errors import InvalidDataSet, PermanentError
from intu_fhir.stage.elements import walk
from intu_fhir.stage.encodings import DEFAULT_LIMITS, open_data_set
from intu_fhir.stage.part10 import (
    HEAD_BYTES,
    MAX_META_BYTES,
    DataSetPlace,
    find_data_set,
    has_preamble,
)

_REFERENCED_FILE_ID = 0x00041500
_MAX_DIRECTORY_BYTES = 256 * 1024**2
_LEADS_ON = "a DICOMDIR: it lists objects and holds none"
_ZIP_START = b"PK\3\4"
# What reading media can raise; RuntimeError is how zipfile says encrypted or unsupported, and
# ValueError and IndexError are what it trips over: names that are no UTF-8, or none at all.
_UNREADABLE = (
    OSError,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    RuntimeError,
    ValueError,
    IndexError,
)


class UnreadableMedia(PermanentError):
    """A file or an archive member cannot be read to its end."""


@dataclass(frozen=True, slots=True)
class ArchiveLimits:
    """What one zip archive may unfold to.

    Args:
        max_ratio: inflated by stored bytes of the whole archive, once beyond ``free_bytes``.
    """

    max_members: int = 200_000
    max_member_bytes: int = 4 * 1024**3
    max_ratio: int = 100
    free_bytes: int = 1024**3


@dataclass(frozen=True, slots=True)
class Candidate:
    """Something that looks like a DICOM object.

    Args:
        name: path, or archive and member, for people.
        open: opens the bytes; valid until the next candidate is asked for.
        max_bytes: more than this is not to be read.
    """

    name: str
    place: DataSetPlace
    open: Callable[[], BinaryIO]
    max_bytes: int


@dataclass(frozen=True, slots=True)
class NotDicom:
    """Something without an object in it; ``reason`` says why, for people."""

    name: str
    reason: str = "not a DICOM file"


@dataclass(frozen=True, slots=True)
class Unreadable:
    """Something that may hold objects, or should, and cannot be read; a person must look."""

    name: str
    reason: str


@dataclass(frozen=True, slots=True)
class Missing:
    """A file that a DICOMDIR refers to and that its media lacks."""

    name: str
    directory: str


Found: TypeAlias = Candidate | NotDicom | Unreadable | Missing


@contextmanager
def reading() -> Iterator[None]:
    """Turn what goes wrong while bytes of media are read into our own error.

    Raises:
        UnreadableMedia: the disc, the network drive or the archive does not give its bytes.
    """
    try:
        yield
    except _UNREADABLE as error:
        raise UnreadableMedia(
            f"A file cannot be read to its end ({_reason(error)}); copy it again"
        ) from error


def find_objects(paths: Iterable[Path], limits: ArchiveLimits | None = None) -> Iterator[Found]:
    """Yield what stands in files, folders (in order of name), DICOMDIR media and archives.

    Each file is met once, however often links, folders and directories lead to it. A DICOMDIR
    that is named itself gives the files it refers to; in a folder that is walked anyway it
    only gives those it misses. Nothing outside its own folder is followed from a DICOMDIR.
    """
    search = _Search(limits or ArchiveLimits())
    for path in paths:
        yield from search.path(path)


class _Search:
    """One walk; remembers what it has seen."""

    def __init__(self, limits: ArchiveLimits) -> None:
        self._limits = limits
        self._seen: set[tuple[int, int]] = set()

    def path(self, path: Path) -> Iterator[Found]:
        """Yield what a path named by a person leads to."""
        try:
            is_folder = path.is_dir()
        except OSError as error:
            yield Unreadable(readable(path), _reason(error))
            return
        if is_folder:
            yield from self._folder(path)
        else:
            yield from self._file(path, in_folder=False)

    def _folder(self, top: Path) -> Iterator[Found]:
        waiting = [top]
        while waiting:
            folder = waiting.pop()
            try:
                folders, others = self._entries(folder)
            except OSError as error:
                yield Unreadable(readable(folder), _reason(error))
                continue
            waiting.extend(reversed(folders))
            for entry in others:
                yield from self._file(entry, in_folder=True)

    def _entries(self, folder: Path) -> tuple[list[Path], list[Path]]:
        """Return the folders and the other entries of a folder that was not met before."""
        if not self._first_time(folder.stat()):
            return [], []
        folders: list[Path] = []
        others: list[Path] = []
        for entry in sorted(folder.iterdir()):
            (folders if entry.is_dir() else others).append(entry)
        return folders, others

    def _first_time(self, found: os.stat_result) -> bool:
        key = (found.st_dev, found.st_ino)
        new = key not in self._seen
        self._seen.add(key)
        return new

    def _file(self, path: Path, *, in_folder: bool) -> Iterator[Found]:
        try:
            found = path.stat()
            if not stat.S_ISREG(found.st_mode):
                yield NotDicom(readable(path), "not a regular file")
                return
            if not self._first_time(found):
                return
            with path.open("rb") as file:
                head = _head(file)
        except OSError as error:
            yield Unreadable(readable(path), _reason(error))
            return
        yield from self._content(path, head, found.st_size, in_folder=in_folder)

    def _content(self, path: Path, head: bytes, size: int, *, in_folder: bool) -> Iterator[Found]:
        place = find_data_set(head)
        if place and place.is_media_directory:
            yield from self._directory(path, place, in_folder=in_folder)
        elif place:
            yield Candidate(readable(path), place, lambda: path.open("rb"), size)
        elif head.startswith(_ZIP_START):
            yield from _archive(path, size, self._limits)
        else:
            yield NotDicom(readable(path))

    def _directory(self, path: Path, place: DataSetPlace, *, in_folder: bool) -> Iterator[Found]:
        """Follow a DICOMDIR (PS3.10 8.6)."""
        references, problem = _references(path, place)
        if problem:
            yield Unreadable(readable(path), problem)
        else:
            yield NotDicom(readable(path), _LEADS_ON)
        media = _Media(path.parent)
        for reference in references:
            name = readable(path.parent.joinpath(*reference))
            try:
                target = media.file(reference)
                stays = target is None or _stays_below(path.parent, target)
            except _UNREADABLE as error:
                yield Unreadable(name, _reason(error))
                continue
            if target is None:
                yield Missing(name, readable(path))
            elif not stays:
                yield Unreadable(name, "outside the folder of its DICOMDIR: not followed")
            elif not in_folder:
                yield from self._file(target, in_folder=True)


def _references(path: Path, place: DataSetPlace) -> tuple[list[list[str]], str]:
    """Return the components of each Referenced File ID (0004,1500), and a problem if any."""
    references: list[list[str]] = []
    try:
        with path.open("rb") as file:
            content = file.read(_MAX_DIRECTORY_BYTES)[place.offset :]
        data_set, encoding = open_data_set(content, place.transfer_syntax_uid, DEFAULT_LIMITS)
        for element in walk(data_set, encoding, DEFAULT_LIMITS):
            if element.tag == _REFERENCED_FILE_ID and element.length:
                raw = data_set[element.offset : element.offset + element.length]
                text = raw.strip(b" \0").decode("latin_1")
                references.append([part.strip(" ") for part in text.split("\\")])
    except InvalidDataSet:
        return references, "the DICOMDIR is damaged; name its folder instead to import all files"
    except OSError as error:
        return references, _reason(error)
    return references, ""


class _Media:
    """The files that the references of one DICOMDIR lead to; looks into each folder once."""

    def __init__(self, top: Path) -> None:
        self._top = top
        self._plain: dict[Path, dict[str, Path]] = {}

    def file(self, reference: list[str]) -> Path | None:
        """Return the file a reference leads to, whatever case its media was copied in.

        A reference that climbs is returned as it is, for ``_stays_below`` to judge.

        Raises:
            OSError: a folder cannot be read, or no file can have such a name.
        """
        found = self._top
        if any(part in {"", ".", ".."} or "/" in part or "\0" in part for part in reference):
            return found / ".."
        for part in reference:
            exact = found / part
            found = exact if exact.exists() else self._other_case(found, part) or exact
        return found if found.is_file() else None

    def _other_case(self, folder: Path, name: str) -> Path | None:
        """Find ``name`` in lower case or with the version that ISO 9660 appends."""
        if folder not in self._plain:
            self._plain[folder] = _plain_names(folder)
        return self._plain[folder].get(name.casefold())


def _plain_names(folder: Path) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for entry in folder.iterdir() if folder.is_dir() else ():
        found.setdefault(entry.name.partition(";")[0].rstrip(".").casefold(), entry)
    return found


def _stays_below(folder: Path, target: Path) -> bool:
    """Say whether a file is inside of a folder, links followed."""
    return target.resolve().is_relative_to(folder.resolve())


def _head(file: BinaryIO) -> bytes:
    """Return what of a file is needed to find its data set.

    Private Information (0002,0102) may make the meta information as long as its writer likes.
    """
    head = file.read(HEAD_BYTES)
    if len(head) == HEAD_BYTES and has_preamble(head) and find_data_set(head) is None:
        head += file.read(MAX_META_BYTES - HEAD_BYTES)
    return head


def _archive(path: Path, size: int, limits: ArchiveLimits) -> Iterator[Found]:
    """Yield the members of a zip archive; their names are shown, never used as paths."""
    try:
        with zipfile.ZipFile(path) as archive:
            yield from _members(archive, readable(path), size, limits)
    except _UNREADABLE as error:
        yield Unreadable(readable(path), f"the archive cannot be read: {_reason(error)}")


def _members(
    archive: zipfile.ZipFile, name: str, size: int, limits: ArchiveLimits
) -> Iterator[Found]:
    members = [member for member in archive.infolist() if not member.is_dir()]
    if len(members) > limits.max_members:
        yield Unreadable(name, f"the archive has more than {limits.max_members} files; unpack it")
        return
    left = max(limits.free_bytes, limits.max_ratio * size)
    for member in sorted(members, key=lambda m: m.filename):
        shown = f"{name}!{readable(member.filename)}"
        left -= member.file_size
        if member.file_size > limits.max_member_bytes or left < 0:
            yield Unreadable(shown, "the archive unfolds beyond its limits; unpack it by hand")
            continue
        yield _member(archive, member, shown)


def _member(archive: zipfile.ZipFile, member: zipfile.ZipInfo, shown: str) -> Found:
    def opened() -> BinaryIO:
        return cast(BinaryIO, archive.open(member))

    try:
        with closing(opened()) as file:
            head = _head(file)
    except _UNREADABLE as error:
        return Unreadable(shown, f"cannot be read: {_reason(error)}")
    place = find_data_set(head)
    if place is None:
        return NotDicom(shown)
    if place.is_media_directory:
        return NotDicom(shown, _LEADS_ON)
    # zipfile stops at the announced size, so what is announced is what is counted.
    return Candidate(shown, place, opened, member.file_size)


def readable(path: Path | str) -> str:
    """Return a name fit for a terminal and for JSON, whatever bytes it has on disk."""
    name = str(path).encode("utf-8", "replace").decode("utf-8")
    return "".join(letter if letter.isprintable() else "?" for letter in name)


def _reason(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return "encrypted or unsupported" if isinstance(error, RuntimeError) else "damaged"
