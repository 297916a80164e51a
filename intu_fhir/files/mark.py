"""A file store has a mark: the empty folder on which its disk is to be mounted has none.

The mark says which store it is, and the database knows that, so that neither the folder below the
disk nor the store of another site is taken for it.
"""

from __future__ import annotations

import contextlib
import os
import re
import uuid
from pathlib import Path

from intu_fhir.errors import StoreUnavailable
from intu_fhir.files.sync import sync

MARK = "file-store"
_TEXT = (
    "intu-fhir keeps image files in this folder, and takes it for another one without this file.\n"
)
_NUMBER = re.compile(r"[0-9a-f]{32}")
_LONGEST = 1_024


def new_mark() -> str:
    """Return what no other store has for a mark."""
    return uuid.uuid4().hex


def read_mark(root: Path) -> str | None:
    """Return the mark of a folder, None where it has none; empty = one of an older version.

    Raises:
        StoreUnavailable: it cannot be read.
    """
    try:
        with (root / MARK).open("rb") as file:
            content = file.read(_LONGEST).decode("ascii", "replace")
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise StoreUnavailable(
            f"The mark of the file store {root} cannot be read: {error.strerror}; mend the disk"
        ) from error
    found = _NUMBER.search(content)
    return found.group() if found else ""


def holds_files(root: Path) -> bool:
    """Say whether anything was ever kept in a folder, as in a store of an older version."""
    for part in ("instances", "quarantine"):
        with contextlib.suppress(OSError), os.scandir(root / part) as found:
            if any(found):
                return True
    return False


def write_mark(root: Path, mark: str) -> None:
    """Make a folder the file store of that mark, durably.

    Raises:
        StoreUnavailable: it cannot be written to.
    """
    new = root / f"{MARK}.{uuid.uuid4().hex}"
    try:
        new.write_text(f"{_TEXT}{mark}\n", "ascii")
        sync(new)
        new.rename(root / MARK)
        sync(root)
    except OSError as error:
        with contextlib.suppress(OSError):
            new.unlink(missing_ok=True)
        raise StoreUnavailable(
            f"Marking the file store {root} failed: {error.strerror}; mend the disk"
        ) from error
