"""Reads the complete header of an instance from its stored file."""

from __future__ import annotations

import mmap
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from intu_fhir.errors import PermanentError, StoreUnavailable
from intu_fhir.files.store import FileStore, Openable
from intu_fhir.model.stored import Stored
from intu_fhir.stage.describe import Description, describe
from intu_fhir.stage.encodings import DEFAULT_LIMITS, Limits


def read_stored(
    file: Openable,
    offset: int,
    transfer_syntax_uid: str,
    levels: Mapping[str, str],
    limits: Limits = DEFAULT_LIMITS,
    really: str = "",
) -> Description:
    """Return the complete header of a stored file.

    Args:
        offset: bytes in the file before the data set.
        really: what its text is in, where its sender says something else.

    Raises:
        OSError: the file cannot be read.
        PermanentError: its bytes are no data set, or not those that were stored.
        StoreUnavailable: it cannot be had now.
    """
    with (
        file.open("rb") as opened,
        mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as mapped,
        memoryview(mapped) as whole,
        whole[offset:] as data_set,
    ):
        return describe(data_set, transfer_syntax_uid, levels, limits, really)


@dataclass(frozen=True)
class HeadersAgain:
    """Reads anew the complete headers that retention has removed from the database.

    Args:
        character_sets: by calling AE title, what its text is really in.
    """

    files: FileStore
    limits: Limits = DEFAULT_LIMITS
    character_sets: Mapping[str, str] = field(default_factory=dict)

    def __call__(self, stored: Stored) -> dict[str, Any] | None:
        """Return a header as DICOM JSON (PS3.18 annex F); None where its file is gone or damaged.

        Raises:
            StoreUnavailable: the file is there and cannot be read now.
        """
        if not stored.is_there:
            return None
        really = self.character_sets.get(stored.calling_ae_title, "")
        file, syntax = self.files.file(stored.file), stored.transfer_syntax_uid
        try:
            seen = read_stored(file, stored.data_set_offset, syntax, {}, self.limits, really)
        except (FileNotFoundError, PermanentError, ValueError):
            return None  # ValueError: it is empty
        except OSError as error:
            raise StoreUnavailable(
                f"The stored file of {stored.sop_instance_uid} cannot be read "
                f"({type(error).__name__}); see to the disk"
            ) from None
        return seen.dicom_json
