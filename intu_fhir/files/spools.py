"""A spool folder has a name, by which the ledger says where the bytes are."""

from __future__ import annotations

import os
import socket
import uuid
from pathlib import Path

from intu_fhir.errors import ConfigurationError, StoreUnavailable
from intu_fhir.files.sync import sync

NAME_FILE = "spool-name"


def spool_name(folder: Path) -> str:
    """Return the name that a spool folder got when it was first used.

    The name stands in the folder, so it goes where the bytes go, whatever the machine is called.

    Raises:
        ConfigurationError: the folder holds files of a local file store.
        StoreUnavailable: it cannot be written to.
    """
    file = folder / NAME_FILE
    try:
        return file.read_text("ascii").strip()
    except FileNotFoundError:
        pass
    if any((folder / "instances").glob("*")):
        raise ConfigurationError(
            f"{folder} holds files of a local file store; name an empty folder, or bring them "
            "into the object store with `intu-fhir uploads adopt`",
            key="object_store.spool",
        )
    return name_spool(folder)


def name_spool(folder: Path) -> str:
    """Make a folder a spool; one that is a spool already keeps its name."""
    file, new = folder / NAME_FILE, folder / f"{NAME_FILE}.{uuid.uuid4().hex}"
    name = f"{socket.gethostname()[:40]}-{uuid.uuid4().hex[:8]}"
    try:
        new.write_text(f"{name}\n", "ascii")
        sync(new)
        try:
            os.link(new, file)  # the first of several processes names it
            sync(folder)
        except FileExistsError:
            pass
        finally:
            new.unlink()
        return file.read_text("ascii").strip()
    except OSError as error:
        raise StoreUnavailable(f"Naming the spool {folder} failed: {error.strerror}") from error
