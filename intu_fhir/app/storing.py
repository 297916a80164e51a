"""The file store of a site, and what brings files from this machine into an object store."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

from intu_fhir.db.file_checks import speaks_of_files
from intu_fhir.db.session import Database
from intu_fhir.db.uploads import spool_of
from intu_fhir.errors import ConfigurationError, StoreUnavailable
from intu_fhir.files.local import LocalFileStore
from intu_fhir.files.mark import holds_files, is_marked, mark
from intu_fhir.observe.clock import Clock
from intu_fhir.settings.schema import Site

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
    """Open a folder, unless it is empty and the database speaks of files: its disk is elsewhere.

    What was taken in there would be hidden by the disk as soon as that is mounted, and files
    that are sound would count as missing. A store of an older version gets its mark here.
    """
    if is_marked(root):
        return LocalFileStore(root)
    if not holds_files(root):
        with database.read() as connection:
            if speaks_of_files(connection):
                raise StoreUnavailable(
                    f"The folder {root} is empty, and the database speaks of files in it; mount "
                    "the disk of the file store, or put the files back from a backup, or, where "
                    "they are lost, run `intu-fhir files begin-anew`"
                )
    files = LocalFileStore(root)
    with contextlib.suppress(StoreUnavailable):  # the next one who opens it marks it
        mark(root)
    return files


def begin_anew(site: Site) -> Path:
    """Make the folder of the files a file store, whatever the database speaks of; return it.

    Raises:
        ConfigurationError: the files are in an object store.
        StoreUnavailable: its disk fails.
    """
    if not isinstance(site.files, Path):
        raise ConfigurationError("names an object store; there is no folder to begin", key="files")
    LocalFileStore(site.files).close()
    mark(site.files)
    return site.files


def _object_files(site: Site, url: str, database: Database) -> ObjectFileStore:
    # Imported here, since it is an extra that most sites do without.
    try:
        from intu_fhir.files.s3 import ObjectFileStore
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            f"an object store needs {error.name}; install it with `pip install 'intu-fhir[s3]'`",
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
