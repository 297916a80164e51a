"""What a requester of storage commitment writes, and what it is told (PS3.4 annex J)."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from io import BytesIO

from pydicom.dataset import Dataset
from pydicom.filewriter import dcmwrite

from intu_fhir.errors import InvalidDataSet, LimitPassed
from intu_fhir.model.commitment import CommitmentAsked, CommitmentResult, ReferencedInstance
from intu_fhir.model.uid import is_uid
from intu_fhir.stage.elements import ITEM, Element, walk
from intu_fhir.stage.encodings import (
    EXPLICIT_BIG_ENDIAN,
    IMPLICIT_LITTLE_ENDIAN,
    Limits,
    open_data_set,
)

_SOP_CLASS_UID, _SOP_INSTANCE_UID = 0x00081150, 0x00081155
_TRANSACTION_UID, _REFERENCED_SOP_SEQUENCE = 0x00081195, 0x00081199
_FAILED_SOP_SEQUENCE, _FAILURE_REASON = 0x00081198, 0x00081197
_MAX_UID_BYTES = 64
_ELEMENTS_PER_INSTANCE = 16


def read_action_information(
    data_set: bytes, transfer_syntax_uid: str, max_instances: int
) -> CommitmentAsked:
    """Read the data set of an N-ACTION-RQ (PS3.4 table J.3-1).

    An instance that is named several times is asked for once.

    Raises:
        InvalidDataSet: it cannot be read, or lacks what has to be there.
        LimitPassed: it asks for more instances than are taken.
    """
    try:
        transaction_uid, instances = _read(data_set, transfer_syntax_uid, max_instances)
    except LimitPassed as error:
        # What bounds the reading here follows from the one setting that a person can change.
        raise _too_many(max_instances) from error
    if not is_uid(transaction_uid):
        raise InvalidDataSet("Transaction UID is missing or not a UID; the requester must send one")
    if not instances:
        raise InvalidDataSet("Referenced SOP Sequence is empty; the requester must name instances")
    return CommitmentAsked(transaction_uid, tuple(dict.fromkeys(map(_instance, instances))))


def _read(
    data_set: bytes, transfer_syntax_uid: str, max_instances: int
) -> tuple[str, list[dict[int, str]]]:
    limits = Limits(max_nesting=8, max_elements=1_000 + _ELEMENTS_PER_INSTANCE * max_instances)
    content, encoding = open_data_set(data_set, transfer_syntax_uid, limits)
    transaction_uid, instances = "", list[dict[int, str]]()
    within = 0
    for element in walk(content, encoding, limits):
        if element.depth == 0:
            within = element.tag
            if element.tag == _TRANSACTION_UID:
                transaction_uid = _uid(content, element)
        elif within == _REFERENCED_SOP_SEQUENCE and element.depth == 1:
            _collect(instances, content, element, max_instances)
    return transaction_uid, instances


def _too_many(max_instances: int) -> LimitPassed:
    return LimitPassed(
        f"More than {max_instances} instances in one request, or more than belongs there; ask in "
        "several, or raise receiver.storage_commitment.max_instances",
        "storage_commitment.max_instances",
    )


def _collect(
    instances: list[dict[int, str]], content: bytes, element: Element, max_instances: int
) -> None:
    if element.tag == ITEM:
        if len(instances) >= max_instances:
            raise _too_many(max_instances)
        instances.append({})
    elif element.tag in {_SOP_CLASS_UID, _SOP_INSTANCE_UID}:
        instances[-1][element.tag] = _uid(content, element)


def _uid(content: bytes, element: Element) -> str:
    if element.length > _MAX_UID_BYTES:
        return ""
    raw = bytes(content[element.offset : element.offset + element.length])
    return raw.strip(b" \0").decode("ascii", "replace")


def _instance(item: dict[int, str]) -> ReferencedInstance:
    instance = ReferencedInstance(item.get(_SOP_CLASS_UID, ""), item.get(_SOP_INSTANCE_UID, ""))
    if not (is_uid(instance.sop_class_uid) and is_uid(instance.sop_instance_uid)):
        raise InvalidDataSet(
            "An item of Referenced SOP Sequence lacks a valid UID; the requester must send both"
        )
    return instance


def encode_event_information(result: CommitmentResult, transfer_syntax_uid: str) -> bytes:
    """Return the data set of an N-EVENT-REPORT-RQ (PS3.4 table J.3-4).

    Written here and not by pydicom, to which ten thousand instances are as many data sets: with
    all of their objects they take a hundred megabytes and hold up everybody for seconds.
    """
    writer = _Writer(transfer_syntax_uid)
    failed = (writer.item(instance, reason) for instance, reason in result.failed)
    committed = (writer.item(instance) for instance in result.committed)
    return b"".join(
        (
            writer.uid(_TRANSACTION_UID, result.transaction_uid),
            *writer.sequence(_FAILED_SOP_SEQUENCE, failed),
            *writer.sequence(_REFERENCED_SOP_SEQUENCE, committed),
        )
    )


class _Writer:
    """Writes the few elements that are needed, in one of the syntaxes without compression."""

    def __init__(self, transfer_syntax_uid: str) -> None:
        order = ">" if transfer_syntax_uid == EXPLICIT_BIG_ENDIAN else "<"
        self._explicit = transfer_syntax_uid != IMPLICIT_LITTLE_ENDIAN
        self._short = struct.Struct(f"{order}HH2sH" if self._explicit else f"{order}HHI")
        self._long = struct.Struct(f"{order}HH2s2xI" if self._explicit else f"{order}HHI")
        self._item = struct.Struct(f"{order}HHI")
        self._number = struct.Struct(f"{order}H")

    def uid(self, tag: int, value: str) -> bytes:
        """Return an element of VR UI."""
        encoded = value.encode("ascii")
        return self._element(self._short, tag, b"UI", encoded + b"\0" * (len(encoded) % 2))

    def item(self, instance: ReferencedInstance, reason: int | None = None) -> bytes:
        """Return an item that refers to an instance, and says why it failed, if it did."""
        value = self.uid(_SOP_CLASS_UID, instance.sop_class_uid)
        value += self.uid(_SOP_INSTANCE_UID, instance.sop_instance_uid)
        if reason is not None:
            value += self._element(self._short, _FAILURE_REASON, b"US", self._number.pack(reason))
        return self._item.pack(ITEM >> 16, ITEM & 0xFFFF, len(value)) + value

    def sequence(self, tag: int, items: Iterable[bytes]) -> Iterator[bytes]:
        """Give the pieces of a sequence; none where it has no items."""
        value = b"".join(items)
        if value:
            yield self._element(self._long, tag, b"SQ", value)

    def _element(self, head: struct.Struct, tag: int, vr: bytes, value: bytes) -> bytes:
        group, element = tag >> 16, tag & 0xFFFF
        if self._explicit:
            return head.pack(group, element, vr, len(value)) + value
        return head.pack(group, element, len(value)) + value


def encode(dataset: Dataset, transfer_syntax_uid: str) -> bytes:
    """Return the bytes of a data set in one of the syntaxes without compression."""
    encoded = BytesIO()
    dcmwrite(
        encoded,
        dataset,
        implicit_vr=transfer_syntax_uid == IMPLICIT_LITTLE_ENDIAN,
        little_endian=transfer_syntax_uid != EXPLICIT_BIG_ENDIAN,
    )
    return encoded.getvalue()


def referenced_item(instance: ReferencedInstance) -> Dataset:
    """Return an item that refers to an instance."""
    item = Dataset()
    item.ReferencedSOPClassUID = instance.sop_class_uid
    item.ReferencedSOPInstanceUID = instance.sop_instance_uid
    return item
