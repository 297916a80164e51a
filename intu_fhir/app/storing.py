"""The file store of a site, and what brings files from this machine into an object store."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from intu_fhir.db.session import Database
from intu_fhir.db.uploads import spool_of
from intu_fhir.errors import ConfigurationError
from intu_fhir.files.local import LocalFileStore
from intu_fhir.observe.clock import Clock
from intu_fhir.settings.schema import Site

if TYPE_CHECKING:
    from intu_fhir.files.s3 import ObjectFileStore
    from intu_fhir.stage.uploads import Uploader


def open_files(site: Site, database: Database) -> LocalFileStore:
    """Return the file store that a site asks for.

    Raises:
        ConfigurationError: it cannot be used as it is configured.
        StoreUnavailable: its disk fails.
    """
    if isinstance(site.files, Path):
        return LocalFileStore(site.files)
    return _object_files(site, site.files, database)


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
