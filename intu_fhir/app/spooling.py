"""A local file store becomes a spool, or a spool is lost: what the ledger is to say of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path

from intu_fhir.db.file_checks import note_damage
from intu_fhir.db.session import Database
from intu_fhir.db.uploads import (
    Upload,
    give_up,
    images_in,
    quarantined_files,
    stored_files,
    want_uploads,
)
from intu_fhir.errors import ConfigurationError
from intu_fhir.files.spools import name_spool
from intu_fhir.stage.part10 import find_data_set

_BATCH = 500
_HEAD_BYTES = 4_096


def adopt_files(
    database: Database,
    folder: Path,
    now: datetime,
    *,
    on_progress: Callable[[int], None] = lambda _: None,
) -> int:
    """Note for upload every file of a local file store that staging speaks of; safe to repeat.

    The folder is the spool from then on. Files stay readable all the while.

    Args:
        on_progress: told how many files were noted so far.

    Returns:
        how many files were noted.

    Raises:
        StoreUnavailable: database or disk cannot be used.
    """
    if not folder.is_dir():
        raise ConfigurationError(
            f"{folder} is not there; name the folder of the files", key="object_store.spool"
        )
    spool, noted = name_spool(folder), 0
    for batch in _batches(database, folder):
        here = [one for one in batch if (folder / one.file).exists()]
        with database.write() as connection:
            want_uploads(connection, spool, here, now)
        noted += len(here)
        on_progress(noted)
    return noted


def lose_spool(database: Database, spool: str, now: datetime) -> tuple[int, int]:
    """Note that what waits in a spool is lost for good; safe to repeat.

    Its instances count as damaged from then on: no PACS waits for them, and they are taken again
    when they are sent again. Should the disk turn up after all, ``adopt_files`` notes its files
    anew.

    Returns:
        how many instances are lost, and how many files of other kinds.

    Raises:
        StoreUnavailable: the database cannot be used.
    """
    with database.read() as connection:
        found = sorted(images_in(connection, spool).items())
    lost = 0
    for begin in range(0, len(found), _BATCH):
        some = dict(found[begin : begin + _BATCH])
        with database.write() as connection:
            gone = give_up(connection, spool, some.values())
            note_damage(connection, {key: file for key, file in some.items() if file in gone}, now)
        lost += len(gone)
    with database.write() as connection:
        others = give_up(connection, spool)
    return lost, len(others)


def _batches(database: Database, folder: Path) -> Iterator[list[Upload]]:
    after = 0
    while True:
        with database.read() as connection:
            rows = stored_files(connection, after, _BATCH)
        if not rows:
            break
        after = rows[-1][0]
        yield [upload for _, upload in rows]
    after = 0
    while True:
        with database.read() as connection:
            aside = quarantined_files(connection, after, _BATCH)
        if not aside:
            return
        after = aside[-1][0]
        yield [
            Upload(file, _data_set_offset(folder / file), sha256)
            for _, file, sha256 in aside
            if (folder / file).exists()
        ]


def _data_set_offset(file: Path) -> int:
    with file.open("rb") as opened:
        place = find_data_set(opened.read(_HEAD_BYTES))
    return place.offset if place else 0
