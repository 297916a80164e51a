"""The file store of a site, and what brings files from this machine into an object store."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

from intu_fhir.db.file_stores import know_mark, replace_mark
from intu_fhir.db.session import Database
from intu_fhir.db.uploads import spool_of
from intu_fhir.errors import ConfigurationError, StoreUnavailable
from intu_fhir.files.local import LocalFileStore
from intu_fhir.files.mark import new_mark, read_mark, write_mark
from intu_fhir.model.extra import install
from intu_fhir.observe.clock import Clock
from intu_fhir.settings.schema import Site
from intu_fhir.upkeep.this_store import require_this_store

if TYPE_CHECKING:
    from intu_fhir.files.s3 import ObjectFileStore
    from intu_fhir.stage.uploads import Uploader


def open_files(site: Site, database: Database) -> LocalFileStore:
    """Return the file store that a site asks for.

    Raises:
        ConfigurationError: it cannot be used as it is configured.
        StoreUnavailable: its disk fails, or is not mounted.
    """
    if isinstance(site.files, Path):
        return _local_files(site.files, database)
    return _object_files(site, site.files, database)


def _local_files(root: Path, database: Database) -> LocalFileStore:
    """Open a folder, unless it is not the file store that the database knows."""
    known, found = require_this_store(root, database)
    files = LocalFileStore(root)
    if not known or not found:
        with contextlib.suppress(StoreUnavailable):  # the next one who opens it does it
            _agree(root, database, found or new_mark())
    return files


def _agree(root: Path, database: Database, mark: str) -> None:
    """Let folder and database have the same mark: of several who begin at once, the first one's.

    The folder has it before the database does, whose transaction others wait for: a crash between
    leaves a folder that is known by its own mark.
    """
    with database.write() as connection:
        counts = know_mark(connection, mark)
        if read_mark(root) != counts:
            write_mark(root, counts)


def begin_anew(site: Site, database: Database) -> Path:
    """Make the folder of the files the file store, whatever the database knows; return it.

    Raises:
        ConfigurationError: the files are in an object store.
        StoreUnavailable: its disk fails.
    """
    if not isinstance(site.files, Path):
        raise ConfigurationError("names an object store; there is no folder to begin", key="files")
    LocalFileStore(site.files).close()
    mark = read_mark(site.files) or new_mark()
    write_mark(site.files, mark)
    with database.write() as connection:
        replace_mark(connection, mark)
    return site.files


def _object_files(site: Site, url: str, database: Database) -> ObjectFileStore:
    # Imported here, since it is an extra that most sites do without.
    try:
        from intu_fhir.files.s3 import ObjectFileStore
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            f"an object store needs {error.name}; run {install('s3')}",
            key="files",
        ) from None

    def ask_ledger(name: str) -> str:
        with database.read() as connection:
            return spool_of(connection, name)

    return ObjectFileStore(url, site.object_store, ask_ledger)


def uploader_of(
    site: Site, files: LocalFileStore, database: Database, clock: Clock
) -> Uploader | None:
    """Return what uploads from this machine's spool, or None where files stay."""
    if isinstance(site.files, Path):
        return None
    from intu_fhir.files.s3 import ObjectFileStore
    from intu_fhir.stage.uploads import Uploader

    assert isinstance(files, ObjectFileStore)
    return Uploader(database, files, clock, site.object_store)
