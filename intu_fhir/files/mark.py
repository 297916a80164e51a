"""A file store has a mark: the empty folder on which its disk is to be mounted has none."""

from __future__ import annotations

import contextlib
import os
import uuid
from pathlib import Path

from intu_fhir.errors import StoreUnavailable
from intu_fhir.files.sync import sync

MARK = "file-store"
_TEXT = (
    "intu-fhir keeps image files in this folder, and takes it for another one without this file.\n"
)


def is_marked(root: Path) -> bool:
    """Say whether a folder is a file store for certain."""
    return (root / MARK).exists()


def holds_files(root: Path) -> bool:
    """Say whether anything was ever kept in a folder, as in a store of an older version."""
    for part in ("instances", "quarantine"):
        with contextlib.suppress(OSError), os.scandir(root / part) as found:
            if any(found):
                return True
    return False


def mark(root: Path) -> None:
    """Make a folder a file store, durably.

    Raises:
        StoreUnavailable: it cannot be written to.
    """
    new = root / f"{MARK}.{uuid.uuid4().hex}"
    try:
        new.write_text(_TEXT, "ascii")
        sync(new)
        new.rename(root / MARK)
        sync(root)
    except OSError as error:
        with contextlib.suppress(OSError):
            new.unlink(missing_ok=True)
        raise StoreUnavailable(
            f"Marking the file store {root} failed: {error.strerror}; mend the disk"
        ) from error
