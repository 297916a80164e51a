"""Whether a folder is the file store that the database knows; asked, and nothing changed."""

from __future__ import annotations

from pathlib import Path

from intu_fhir.db.file_checks import speaks_of_files
from intu_fhir.db.file_stores import known_mark
from intu_fhir.db.session import Database
from intu_fhir.errors import StoreUnavailable
from intu_fhir.files.mark import holds_files, read_mark


def require_this_store(root: Path, database: Database) -> tuple[str, str | None]:
    """Return the mark that the database knows and the one that the folder has.

    An empty folder is where its disk is to be mounted, and one with another mark belongs to another
    site. What was taken in there would be hidden by the right disk as soon as that is mounted,
    and files that are sound would count as missing.

    Raises:
        StoreUnavailable: it is not the file store of this database, or cannot be read.
    """
    with database.read() as connection:
        known = known_mark(connection)
    found = read_mark(root)  # afterwards: the folder gets its mark before the database knows it
    if found is None and not known and not holds_files(root):
        with database.read() as connection:
            speaks = speaks_of_files(connection)
        found = read_mark(root)  # who began at the same time may have stored an image meanwhile
        if speaks and found is None:
            raise StoreUnavailable(_not_mounted(root))
    elif found is None and known:
        raise StoreUnavailable(_not_mounted(root))
    if found and known and found != known:
        raise StoreUnavailable(_of_another_site(root))
    return known, found


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
