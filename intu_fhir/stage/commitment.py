"""What a requester of storage commitment writes, and what it is told (PS3.4 annex J)."""

from __future__ import annotations

from collections.abc import Iterable
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
_MAX_UID_BYTES = 64
_ELEMENTS_PER_INSTANCE = 16


def read_action_information(
    data_set: bytes, transfer_syntax_uid: str, max_instances: int
) -> CommitmentAsked:
    """Read the data set of an N-ACTION-RQ (PS3.4 table J.3-1).

    Raises:
        InvalidDataSet: it cannot be read, or lacks what has to be there.
        LimitPassed: it asks for more instances than are taken.
    """
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
    if not is_uid(transaction_uid):
        raise InvalidDataSet("Transaction UID is missing or not a UID; the requester must send one")
    if not instances:
        raise InvalidDataSet("Referenced SOP Sequence is empty; the requester must name instances")
    return CommitmentAsked(transaction_uid, tuple(map(_instance, instances)))


def _collect(
    instances: list[dict[int, str]], content: bytes, element: Element, max_instances: int
) -> None:
    if element.tag == ITEM:
        if len(instances) >= max_instances:
            raise LimitPassed(
                f"More than {max_instances} instances in one request; ask in several, or raise "
                "receiver.storage_commitment.max_instances",
                "storage_commitment.max_instances",
            )
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
    """Return the data set of an N-EVENT-REPORT-RQ (PS3.4 table J.3-4)."""
    dataset = Dataset()
    dataset.TransactionUID = result.transaction_uid
    if result.failed:
        dataset.FailedSOPSequence = [
            referenced_item(instance, FailureReason=reason) for instance, reason in result.failed
        ]
    if result.committed:
        dataset.ReferencedSOPSequence = _items(result.committed)
    return encode(dataset, transfer_syntax_uid)


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


def _items(instances: Iterable[ReferencedInstance]) -> list[Dataset]:
    return [referenced_item(instance) for instance in instances]


def referenced_item(instance: ReferencedInstance, **more: int) -> Dataset:
    """Return an item that refers to an instance, with more values by keyword."""
    item = Dataset()
    item.ReferencedSOPClassUID = instance.sop_class_uid
    item.ReferencedSOPInstanceUID = instance.sop_instance_uid
    for keyword, value in more.items():
        setattr(item, keyword, value)
    return item
