"""Instances on their way out, and peers that answer associations by hand."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from pydicom.dataset import Dataset

from intu_fhir.deliver.dicom import ObjectToSend, StorageScu
from intu_fhir.deliver.upper_layer import IMPLICIT_VR_LITTLE_ENDIAN
from intu_fhir.files.part10 import part10_head
from intu_fhir.model.outcome import InstanceOutcome
from intu_fhir.settings.schema import DicomDestination
from tests.support.far_sides import Gone, Peer
from tests.support.raw_peer import (
    ABORT,
    ASSOCIATE_AC,
    ASSOCIATE_RJ,
    COMMAND,
    EXPLICIT,
    LAST,
    P_DATA,
    RELEASE_RP,
    item,
    pdu,
)
from tests.support.studies import data_set_bytes, make_instance

CT = "1.2.840.10008.5.1.4.1.1.2"


def outgoing(
    folder: Path,
    uid: str,
    data_set: bytes,
    *,
    sop_class_uid: str = CT,
    transfer_syntax_uid: str = EXPLICIT,
) -> ObjectToSend:
    """Write a Part 10 file with these data set bytes and return it as an object to send."""
    folder.mkdir(parents=True, exist_ok=True)
    head = part10_head(sop_class_uid, uid, transfer_syntax_uid)
    path = folder / f"{uid}-{len(list(folder.iterdir()))}.dcm"
    path.write_bytes(head + data_set)
    return ObjectToSend(sop_class_uid, uid, transfer_syntax_uid, path, len(head))


def outgoing_study(folder: Path, instances: int = 5, study: object = "study") -> list[ObjectToSend]:
    """Return the instances of a study, ready to be sent."""
    made = [make_instance(study, number=number) for number in range(1, instances + 1)]
    return [_outgoing(folder, dataset) for dataset in made]


def _outgoing(folder: Path, dataset: Dataset) -> ObjectToSend:
    return outgoing(folder, str(dataset.SOPInstanceUID), data_set_bytes(dataset))


class Sending:
    """A SCU whose answers are kept."""

    def __init__(self, port: int, *, seconds: float = 5.0, **settings: Any) -> None:
        values: dict[str, Any] = {"type": "dicom", "host": "127.0.0.1", "port": port}
        values |= {"called_ae_title": "PACS", "timeout_seconds": seconds}
        self.scu = StorageScu(DicomDestination(**{**values, **settings}))
        self.answers: list[InstanceOutcome] = []

    def send(
        self, objects: Iterable[ObjectToSend], keep_going: Callable[[], bool] = lambda: True
    ) -> Any:
        """Send what was not delivered before, as the next try does."""
        done = {answer.sop_instance_uid for answer in self.answers if answer.delivered}
        left = [one for one in objects if one.sop_instance_uid not in done]
        return self.scu.send(left, self.answers.append, keep_going=keep_going)

    @property
    def delivered(self) -> list[str]:
        """UIDs that count as delivered, in the order of the answers."""
        return [answer.sop_instance_uid for answer in self.answers if answer.delivered]


# ---- a PACS by hand


def accept(
    max_pdu_bytes: int = 16_384, result: int = 0, contexts: int = 1, syntax: str = EXPLICIT
) -> bytes:
    """Return an A-ASSOCIATE-AC that grants (or refuses) the first contexts, in Explicit VR."""
    fixed = struct.pack(">HH", 1, 0) + b"PACS".ljust(16) + b"INTU_SCU".ljust(16) + bytes(32)
    granted = b"".join(
        item(0x21, bytes((2 * number + 1, 0, result, 0)) + item(0x40, syntax.encode()))
        for number in range(contexts)
    )
    user = item(0x50, item(0x51, struct.pack(">I", max_pdu_bytes)))
    return pdu(ASSOCIATE_AC, fixed + item(0x10, b"1.2.840.10008.3.1.1.1") + granted + user)


def reject(result: int, source: int, reason: int) -> bytes:
    """Return an A-ASSOCIATE-RJ."""
    return pdu(ASSOCIATE_RJ, bytes((0, result, source, reason)))


def abort() -> bytes:
    """Return an A-ABORT of the service provider."""
    return pdu(ABORT, bytes((0, 0, 2, 1)))


def element(number: int, value: bytes) -> bytes:
    """Return one element of a command set."""
    return struct.pack("<HHI", 0, number, len(value)) + value


def us(number: int, value: int) -> bytes:
    """Return one element with a number."""
    return element(number, struct.pack("<H", value))


def command_pdu(command: bytes, *, flags: int = COMMAND | LAST, context_id: int = 1) -> bytes:
    """Return a P-DATA-TF with one fragment."""
    return pdu(P_DATA, struct.pack(">IBB", len(command) + 2, context_id, flags) + command)


def response(message_id: int, uid: str | None, *, status: int = 0, field: int = 0x8001) -> bytes:
    """Return a C-STORE-RSP; without a UID where that is None."""
    parts = [us(0x0100, field), us(0x0120, message_id), us(0x0800, 0x0101), us(0x0900, status)]
    if uid is not None:
        parts.append(element(0x1000, uid.encode() + b"\0" * (len(uid) % 2)))
    body = b"".join(parts)
    return command_pdu(element(0, struct.pack("<I", len(body))) + body)


class StoreRequest:
    """What a peer by hand learns of a C-STORE-RQ."""

    def __init__(self, command: bytes) -> None:
        elements, begin = {}, 0
        while begin < len(command):
            _, number, length = struct.unpack_from("<HHI", command, begin)
            elements[number] = command[begin + 8 : begin + 8 + length]
            begin += 8 + length
        (self.message_id,) = struct.unpack("<H", elements[0x0110])
        self.uid = elements[0x1000].rstrip(b"\0").decode()


def associate(peer: Peer, answer: bytes | None = None) -> None:
    """Take an association request and answer it."""
    peer.pdu()
    peer.send(accept() if answer is None else answer)


def read_command(peer: Peer) -> StoreRequest:
    """Read a C-STORE-RQ, without its data set; a release is answered and ends the peer."""
    kind, body = peer.pdu()
    if kind != P_DATA:
        peer.send(pdu(RELEASE_RP, bytes(4)))
        raise Gone
    return StoreRequest(body[6:])


def read_data_set(peer: Peer) -> bytes:
    """Read data set fragments to the last one, each in a PDU of its own."""
    parts, is_last = [], False
    while not is_last:
        _, body = peer.pdu()
        parts.append(body[6:])
        is_last = bool(body[5] & LAST)
    return b"".join(parts)


IMPLICIT = IMPLICIT_VR_LITTLE_ENDIAN


def path_of(one: ObjectToSend) -> Path:
    """Return where the file of an object stands on the disk of the test."""
    assert isinstance(one.file, Path)
    return one.file
