"""A DICOM peer that may do what none should: PDUs by hand, over a plain socket (PS3.8 9.3)."""

from __future__ import annotations

import socket
import struct
from typing import Self

VERIFICATION = "1.2.840.10008.1.1"
CT_IMAGE_STORAGE = "1.2.840.10008.5.1.4.1.1.2"
MR_IMAGE_STORAGE = "1.2.840.10008.5.1.4.1.1.4"
IMPLICIT, EXPLICIT = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1"
APPLICATION_CONTEXT = "1.2.840.10008.3.1.1.1"
DATA, COMMAND, LAST = 0, 1, 2
STATUS = 0x0900
ASSOCIATE_AC, ASSOCIATE_RJ, P_DATA, RELEASE_RP, ABORT = 2, 3, 4, 6, 7

VERIFICATION_ID, CT_ID, MR_ID = 1, 3, 5
CONTEXTS = (
    (VERIFICATION_ID, VERIFICATION, (IMPLICIT,)),
    (CT_ID, CT_IMAGE_STORAGE, (EXPLICIT,)),
    (MR_ID, MR_IMAGE_STORAGE, (EXPLICIT,)),
)

Context = tuple[int, str, tuple[str, ...]]


def item(kind: int, value: bytes) -> bytes:
    """Return one item of an A-ASSOCIATE PDU."""
    return struct.pack(">BxH", kind, len(value)) + value


def pdu(kind: int, body: bytes) -> bytes:
    """Return one PDU."""
    return struct.pack(">BxI", kind, len(body)) + body


def context_item(context: Context) -> bytes:
    """Return a proposed presentation context."""
    context_id, abstract_syntax, transfer_syntaxes = context
    value = bytes((context_id, 0, 0, 0)) + item(0x30, abstract_syntax.encode())
    return item(0x20, value + b"".join(item(0x40, uid.encode()) for uid in transfer_syntaxes))


def associate_request(
    contexts: tuple[Context, ...] = CONTEXTS,
    *,
    called: str = "INTU_SCP",
    calling: str = "PEER",
    version: int = 1,
    application_context: str = APPLICATION_CONTEXT,
    max_pdu_bytes: int = 16_384,
    user_items: bytes = b"",
) -> bytes:
    """Return an A-ASSOCIATE-RQ."""
    fixed = struct.pack(">HH", version, 0)
    fixed += called.encode("latin-1").ljust(16) + calling.encode("latin-1").ljust(16) + bytes(32)
    user = item(0x51, struct.pack(">I", max_pdu_bytes)) + item(0x52, b"1.2.3.4") + user_items
    items = [item(0x10, application_context.encode()), *map(context_item, contexts)]
    return pdu(1, fixed + b"".join(items) + item(0x50, user))


def pdv(context_id: int, header: int, data: bytes) -> bytes:
    """Return one presentation data value."""
    return struct.pack(">IBB", len(data) + 2, context_id, header) + data


def element(number: int, value: bytes) -> bytes:
    """Return one element of a command set, padded to even length."""
    return struct.pack("<HHI", 0, number, len(value) + len(value) % 2) + value.ljust(
        len(value) + len(value) % 2, b"\0"
    )


def us(number: int, value: int) -> bytes:
    """Return one number of a command set."""
    return element(number, struct.pack("<H", value))


def command(*elements: bytes) -> bytes:
    """Return a command set with its group length."""
    body = b"".join(elements)
    return element(0, struct.pack("<I", len(body))) + body


def store_command(
    sop_instance_uid: str,
    *,
    sop_class_uid: str = CT_IMAGE_STORAGE,
    message_id: int = 7,
    data_set_type: int = 0,
) -> bytes:
    """Return a C-STORE-RQ."""
    return command(
        element(0x0002, sop_class_uid.encode()),
        us(0x0100, 0x0001),
        us(0x0110, message_id),
        us(0x0700, 0),
        us(0x0800, data_set_type),
        element(0x1000, sop_instance_uid.encode()),
    )


def echo_command(message_id: int = 1, sop_class_uid: str = VERIFICATION) -> bytes:
    """Return a C-ECHO-RQ."""
    return command(
        element(0x0002, sop_class_uid.encode()),
        us(0x0100, 0x0030),
        us(0x0110, message_id),
        us(0x0800, 0x0101),
    )


def elements_of(data: bytes) -> dict[int, bytes]:
    """Return the elements of a command set by number."""
    elements = {}
    while data:
        _, number, length = struct.unpack_from("<HHI", data)
        elements[number] = data[8 : 8 + length]
        data = data[8 + length :]
    return elements


class RawPeer:
    """A connection to a receiver; every wait ends after a minute."""

    def __init__(self, port: int, *, source: str = "127.0.0.1") -> None:
        address = ("127.0.0.1", port)
        self.socket = socket.create_connection(address, timeout=60, source_address=(source, 0))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, data: bytes) -> None:
        """Send bytes as they are."""
        self.socket.sendall(data)

    def associate(self, *args: object, **options: object) -> bytes:
        """Request an association and return the body of the A-ASSOCIATE-AC."""
        self.send(associate_request(*args, **options))  # type: ignore[arg-type]
        kind, body = self.read()
        assert kind == ASSOCIATE_AC, (kind, body)
        return body

    def send_pdvs(self, *pdvs: bytes) -> None:
        """Send one P-DATA-TF."""
        self.send(pdu(P_DATA, b"".join(pdvs)))

    def send_command(self, data: bytes, context_id: int = CT_ID) -> None:
        """Send a command set in one fragment."""
        self.send_pdvs(pdv(context_id, COMMAND | LAST, data))

    def send_data(self, data: bytes, context_id: int = CT_ID, *, last: bool = True) -> None:
        """Send a piece of a data set."""
        self.send_pdvs(pdv(context_id, DATA | (LAST if last else 0), data))

    def store(self, data: bytes, sop_instance_uid: str) -> dict[int, bytes]:
        """Store one CT object and return the elements of the answer."""
        self.send_command(store_command(sop_instance_uid))
        self.send_data(data)
        return self.response()

    def echo(self) -> dict[int, bytes]:
        """Send a C-ECHO and return the elements of the answer."""
        self.send_command(echo_command(), VERIFICATION_ID)
        return self.response()

    def release(self) -> None:
        """Release the association and close."""
        self.send(pdu(5, bytes(4)))
        assert self.read()[0] == RELEASE_RP
        self.socket.close()

    def read(self) -> tuple[int, bytes]:
        """Return type and body of the next PDU; type 0 at the end of the connection."""
        head = self._exactly(6)
        if len(head) < 6:
            return 0, head
        kind, length = struct.unpack(">BxI", head)
        return kind, self._exactly(length)

    def response(self) -> dict[int, bytes]:
        """Return the elements of the response that comes next, however it is cut up."""
        return elements_of(self.message())

    def message(self) -> bytes:
        """Return the command set or data set that comes next, however it is cut up."""
        whole = b""
        while True:
            kind, body = self.read()
            assert kind == P_DATA, (kind, body)
            length, _, header = struct.unpack_from(">IBB", body)
            assert length + 4 == len(body)
            whole += body[6:]
            if header & LAST:
                return whole

    def is_ended(self) -> bool:
        """Read to the end; say whether the last PDU, if any, was an A-ABORT."""
        last = ABORT
        while (kind := self.read()[0]) != 0:
            last = kind
        return last == ABORT

    def _exactly(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            try:
                part = self.socket.recv(count - len(data))
            except ConnectionError:
                break
            if not part:
                break
            data += part
        return data


def status_of(response: dict[int, bytes]) -> int:
    """Return Status (0000,0900) of an answer."""
    return int.from_bytes(response[STATUS], "little")
