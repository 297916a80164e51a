"""The file store of a site, and what brings files from this machine into an object store."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

from intu_fhir.db.file_checks import speaks_of_files
from intu_fhir.db.file_stores import know_mark, known_mark, replace_mark
from intu_fhir.db.session import Database
from intu_fhir.db.uploads import spool_of
from intu_fhir.errors import ConfigurationError, StoreUnavailable
from intu_fhir.files.local import LocalFileStore
from intu_fhir.files.mark import holds_files, new_mark, read_mark, write_mark
from intu_fhir.model.extra import install
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
    """Open a folder, unless it is not the file store that the database knows.

    An empty one is where its disk is to be mounted, and one with another mark belongs to another
    site. What was taken in there would be hidden by the right disk as soon as that is mounted,
    and files that are sound would count as missing.
    """
    with database.read() as connection:
        known = known_mark(connection)
        speaks = not known and speaks_of_files(connection)
    found = read_mark(root)  # afterwards: the folder gets its mark before the database knows it
    if found is None and (known or (speaks and not holds_files(root))):
        raise StoreUnavailable(_not_mounted(root))
    if found and known and found != known:
        raise StoreUnavailable(_of_another_site(root))
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


def _not_mounted(root: Path) -> str:
    return (
        f"The folder {root} has no mark of a file store, and the database speaks of one; mount "
        "the disk of the file store, or put the files back from a backup. Where they are lost, or "
        "the backup has no file `file-store`, run `intu-fhir files begin-anew`"
    )


def _of_another_site(root: Path) -> str:
    return (
        f"The folder {root} is the file store of another database; correct `files` or `database`, "
        "or mount the right disk. If it really is the one of this database, run "
        "`intu-fhir files begin-anew`"
    )


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
