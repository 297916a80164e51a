"""An instance in the file store on its way out: whether it is sound, and what of it is sent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import BinaryIO, Literal

from pydicom._uid_dict import UID_dictionary

from intu_fhir.deliver.association import Source
from intu_fhir.deliver.edited import Changes, EditedDataSet, NotEditable
from intu_fhir.deliver.explicit_vr import NotConvertible
from intu_fhir.deliver.outcomes import Rule, Verdict
from intu_fhir.errors import TransientError
from intu_fhir.files.digest import data_set_digest
from intu_fhir.files.store import FileStore, Openable

DEFLATED = "1.2.840.10008.1.2.1.99"
"""Deflated Explicit VR Little Endian, whose odd stream is padded to be sent (PS3.5 A.5)."""


@dataclass(frozen=True, slots=True)
class ObjectToSend:
    """An instance in a Part 10 file.

    Args:
        data_set_offset: where the data set starts in the file.
        sha256: of the data set as it was received; empty = it is not compared.
    """

    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    file: Openable
    data_set_offset: int
    sha256: str = ""

    @property
    def syntax(self) -> tuple[str, str]:
        """What a presentation context for it has to be."""
        return self.sop_class_uid, self.transfer_syntax_uid


@dataclass(frozen=True, slots=True)
class KeptFile:
    """A file of a store; it is gone only where the store is there and lacks it."""

    store: FileStore
    name: str

    def open(self, mode: Literal["rb"], /) -> BinaryIO:
        """Open it.

        Raises:
            FileNotFoundError: it is gone.
            StoreUnavailable: the store is not there, which says nothing of any file.
        """
        try:
            return self.store.file(self.name).open(mode)
        except FileNotFoundError:
            self.store.ask()
            raise


class NotNow(TransientError):
    """An instance cannot be sent now, for a reason of this house: the PACS is not to blame."""


def name_of(uid: str) -> str:
    """Return the name of a SOP class or a transfer syntax (PS3.6 annex A), or the UID itself."""
    return UID_dictionary[uid][0] if uid in UID_dictionary else uid


def unreadable(error: OSError) -> NotNow:
    """Say that the store could not be read; it is tried again."""
    reason = error.strerror or type(error).__name__
    return NotNow(f"the stored file cannot be read ({reason}); see to the disk")


def not_now(error: TransientError) -> Rule:
    """Say that an instance is tried again later; the others of its study do not wait for it."""
    return Rule(Verdict.RETRY, str(error))


def not_edited(error: NotEditable) -> Rule:
    """Say that an instance waits for a person: unedited it may not leave."""
    return Rule(
        Verdict.DEAD,
        f"the edits of this destination cannot be made: {error}",
        "send it to a destination without edits, or by hand",
    )


def not_converted(transfer_syntax_uid: str, error: NotConvertible) -> Rule:
    """Say that an instance waits for a person: the PACS does not take it as it is."""
    return Rule(
        Verdict.DEAD,
        f"the PACS takes no {name_of(transfer_syntax_uid)}, and it cannot be decompressed: {error}",
        "have this transfer syntax enabled at the PACS, or install a decoder for it and restart, "
        "then replay",
    )


GONE = Rule(
    Verdict.DEAD,
    "the stored file is gone, or was pruned",
    "restore the file store or have the image sent again, then replay",
)
DAMAGED = Rule(
    Verdict.DEAD,
    "the stored file is not what was received",
    "restore it from a backup or have the image sent again, then replay",
)

LOCKED = Rule(
    Verdict.DEAD,
    "the stored file was sealed with a key that is not there",
    "add its key file to object_store.key_files, restart, then replay",
)


def is_sound(one: ObjectToSend, file: BinaryIO) -> bool:
    """Say whether a file holds what was received: a bad one never leaves the house."""
    try:
        return not one.sha256 or data_set_digest(file, one.data_set_offset) == one.sha256
    except OSError as error:
        raise unreadable(error) from error


def opened(one: ObjectToSend, file: BinaryIO, changes: Changes) -> tuple[Source, int]:
    """Return what is sent of a file, ready to be read, and its size.

    Raises:
        NotEditable: there are changes, and they cannot be made.
        NotNow: the file cannot be read.
    """
    if not changes:
        size = file.seek(0, 2) - one.data_set_offset
        file.seek(one.data_set_offset)
        return file, size
    try:
        edited = EditedDataSet(file, one.data_set_offset, one.transfer_syntax_uid, changes)
    except OSError as error:
        raise unreadable(error) from error
    return edited, edited.size
