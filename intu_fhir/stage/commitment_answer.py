"""What we ask a PACS to promise, as bytes, and what it answers (PS3.4 annex J, as SCU)."""

from __future__ import annotations

from collections.abc import Sequence

from pydicom.dataset import Dataset

from intu_fhir.errors import InvalidDataSet
from intu_fhir.model.commitment import CommitmentResult, ReferencedInstance
from intu_fhir.model.uid import is_uid
from intu_fhir.stage.commitment import encode, referenced_item
from intu_fhir.stage.elements import ITEM, Element, walk
from intu_fhir.stage.encodings import Limits, open_data_set

_SOP_CLASS_UID, _SOP_INSTANCE_UID = 0x00081150, 0x00081155
_TRANSACTION_UID = 0x00081195
_FAILURE_REASON = 0x00081197
_FAILED_SOP_SEQUENCE, _REFERENCED_SOP_SEQUENCE = 0x00081198, 0x00081199
_SEQUENCES = frozenset({_FAILED_SOP_SEQUENCE, _REFERENCED_SOP_SEQUENCE})
_UIDS = frozenset({_SOP_CLASS_UID, _SOP_INSTANCE_UID})
_MAX_UID_BYTES = 64
_LIMITS = Limits(max_nesting=8, max_elements=1_000_000)
_NO_REASON = 0x0110
"""What an instance failed by where the PACS does not say: processing failure."""


def encode_action_information(
    transaction_uid: str, asked: Sequence[ReferencedInstance], transfer_syntax_uid: str
) -> bytes:
    """Return the data set of an N-ACTION-RQ (PS3.4 table J.3-1)."""
    dataset = Dataset()
    dataset.TransactionUID = transaction_uid
    dataset.ReferencedSOPSequence = [referenced_item(instance) for instance in asked]
    return encode(dataset, transfer_syntax_uid)


def read_event_information(data_set: bytes, transfer_syntax_uid: str) -> CommitmentResult:
    """Read the data set of an N-EVENT-REPORT-RQ (PS3.4 table J.3-4).

    Items without a UID that can identify an instance are passed over: the others count.

    Raises:
        InvalidDataSet: it cannot be read, or names no transaction.
    """
    content, encoding = open_data_set(data_set, transfer_syntax_uid, _LIMITS)
    reader = _Reader(content)
    for element in walk(content, encoding, _LIMITS):
        reader.take(element)
    if not is_uid(reader.transaction_uid):
        raise InvalidDataSet("Transaction UID is missing or not a UID; the PACS must send one")
    committed = map(_instance, reader.items[_REFERENCED_SOP_SEQUENCE])
    failed = ((_instance(item), _reason(item)) for item in reader.items[_FAILED_SOP_SEQUENCE])
    return CommitmentResult(
        reader.transaction_uid,
        tuple(one for one in committed if is_uid(one.sop_instance_uid)),
        tuple((one, why) for one, why in failed if is_uid(one.sop_instance_uid)),
    )


class _Reader:
    """Gathers what is wanted of an Event Information."""

    def __init__(self, content: bytes | memoryview) -> None:
        self._content = content
        self._within = 0
        self.transaction_uid = ""
        self.items: dict[int, list[dict[int, bytes]]] = {tag: [] for tag in _SEQUENCES}

    def take(self, element: Element) -> None:
        """Take the next element."""
        if element.depth == 0:
            self._within = element.tag
            if element.tag == _TRANSACTION_UID:
                self.transaction_uid = _text(self._value(element))
        elif self._within in _SEQUENCES and element.depth == 1:
            items = self.items[self._within]
            if element.tag == ITEM:
                items.append({})
            elif items and (element.tag in _UIDS or element.tag == _FAILURE_REASON):
                items[-1][element.tag] = self._value(element)

    def _value(self, element: Element) -> bytes:
        if element.length > _MAX_UID_BYTES:
            return b""
        value = bytes(self._content[element.offset : element.offset + element.length])
        is_number = element.tag == _FAILURE_REASON
        return value if element.little or not is_number else value[::-1]


def _text(value: bytes) -> str:
    return value.strip(b" \0").decode("ascii", "replace")


def _instance(item: dict[int, bytes]) -> ReferencedInstance:
    return ReferencedInstance(
        _text(item.get(_SOP_CLASS_UID, b"")), _text(item.get(_SOP_INSTANCE_UID, b""))
    )


def _reason(item: dict[int, bytes]) -> int:
    value = item.get(_FAILURE_REASON, b"")
    return int.from_bytes(value, "little") if len(value) == 2 else _NO_REASON
