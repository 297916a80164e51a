"""A copy of database and files that fit together, made while the site runs."""

from __future__ import annotations

import contextlib
import csv
import errno
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from intu_fhir.db.copy import copied_database, copy_database, name_of_copy
from intu_fhir.db.session import Connection
from intu_fhir.db.uploads import files_and_spools
from intu_fhir.errors import StoreUnavailable
from intu_fhir.files.local import LocalFileStore
from intu_fhir.files.mark import read_mark, write_mark
from intu_fhir.files.sync import make_folders, sync

FILES, OBJECTS = "files", "objects.csv"


@dataclass(frozen=True, slots=True)
class BackupReport:
    """What a backup has copied.

    Args:
        database: the copy of the database.
        copied: files that were not in the backup yet.
        there: files that were.
        objects: how many files the copied database speaks of, by the spool in which they waited;
            under an empty name those that the bucket had. Empty without an object store.
        elsewhere: of these, those that wait in spools of other machines.
    """

    database: Path
    copied: int
    there: int
    objects: Mapping[str, int]
    elsewhere: int


def back_up(
    url: str,
    files: LocalFileStore,
    to: Path,
    *,
    on_progress: Callable[[int], None] = lambda _: None,
) -> BackupReport:
    """Copy the database, then the files that are not in the backup yet.

    A file is written before its row. So the files, copied after the database, are all that its
    rows speak of, and perhaps some more. Nothing is pruned meanwhile.

    With an object store the files are those of this machine's spool, and ``objects.csv`` names
    every file that the copied database speaks of. The bucket itself is not copied.

    Args:
        to: folder of the backup; made where it is not there.
        on_progress: told how many files more were looked at.

    Raises:
        StoreUnavailable: a disk is full or fails, or the database does not answer.
        ConfigurationError: pg_dump is not installed.
    """
    with _disk_errors(), files.keeping():
        to.mkdir(mode=0o700, parents=True, exist_ok=True)
        database, objects = _copy_database(url, to, manifest=bool(files.here))
        copied, there = _copy_files(files, to / FILES, on_progress)
        if mark := read_mark(files.root):
            write_mark(to / FILES, mark)
        sync(to)
    return BackupReport(database, copied, there, objects, _elsewhere(objects, files.here))


@contextlib.contextmanager
def _disk_errors() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise StoreUnavailable(f"The backup failed: {reason}; {_remedy(error)}") from error


def _remedy(error: OSError) -> str:
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return "free space there, or name a folder on another disk"
    if error.errno in {errno.EIO}:
        return "mend the disk"
    return "name a folder that this user can make and write to"


def _elsewhere(objects: Mapping[str, int], here: str) -> int:
    return sum(number for spool, number in objects.items() if spool not in {"", here})


def _copy_database(url: str, to: Path, *, manifest: bool) -> tuple[Path, Mapping[str, int]]:
    """Copy the database; an earlier copy stays until the new one is whole."""
    copy = to / name_of_copy(url)
    new = copy.with_suffix(".new")
    new.unlink(missing_ok=True)
    objects: Mapping[str, int] = {}
    if manifest:
        with copied_database(url, new) as connection:
            objects = _write_manifest(connection, to / f"{OBJECTS}.new")
    else:
        copy_database(url, new)
    sync(new)
    new.rename(copy)
    if manifest:
        (to / f"{OBJECTS}.new").rename(to / OBJECTS)
    return copy, objects


def _write_manifest(connection: Connection, new: Path) -> Counter[str]:
    """Write what the database speaks of: name, digest of the data set as received, spool."""
    counts: Counter[str] = Counter()
    with new.open("w", encoding="utf-8", newline="") as file:
        new.chmod(0o600)
        rows = csv.writer(file)
        rows.writerow(("file", "sha256", "spool"))
        for row in files_and_spools(connection):
            rows.writerow(row)
            counts[row[2]] += 1
    sync(new)
    return counts


def _copy_files(
    files: LocalFileStore, to: Path, on_progress: Callable[[int], None]
) -> tuple[int, int]:
    """Copy what is not there; a file never changes, so its size tells whether it is whole."""
    copied = there = 0
    touched: set[Path] = set()
    to.mkdir(mode=0o700, exist_ok=True)
    for name in files.spooled_names():
        source, target = files.path(name), to / name
        try:
            if target.is_file() and target.stat().st_size == source.stat().st_size:
                there += 1
            else:
                if target.parent not in touched:
                    make_folders(to, target.parent)
                    touched.add(target.parent)
                _copy_file(source, target)
                copied += 1
        except FileNotFoundError:
            continue  # taken back by the receiver: no row speaks of it
        on_progress(1)
    for folder in sorted(touched):
        sync(folder)
    return copied, there


def _copy_file(source: Path, target: Path) -> None:
    new = target.with_suffix(".new")
    shutil.copyfile(source, new)
    new.chmod(0o600)
    sync(new)
    new.rename(target)
