"""Reads what a peer answers to an association request (PS3.8 9.3.3, PS3.7 annex D)."""

from __future__ import annotations

from collections.abc import Iterator

from intu_fhir.deliver.upper_layer import (
    FIXED_BYTES,
    ITEM,
    PDV_HEADER_BYTES,
    Accepted,
    BadAnswer,
    text_of,
)


def parse_associate_accept(body: bytes) -> Accepted:
    """Read an A-ASSOCIATE-AC (PS3.8 9.3.3).

    Raises:
        BadAnswer: its lengths do not fit.
    """
    if len(body) < FIXED_BYTES:
        raise BadAnswer(f"A-ASSOCIATE-AC of {len(body)} bytes")
    results: dict[int, int] = {}
    syntaxes: dict[int, str] = {}
    user: dict[int, bytes] = {}
    as_provider: dict[str, bool] = {}
    for kind, value in _items(body[FIXED_BYTES:]):
        if kind == 0x21:
            if len(value) < 4:
                raise BadAnswer(f"presentation context of {len(value)} bytes")
            results[value[0]] = value[2]
            syntaxes.update((value[0], text_of(v)) for k, v in _items(value[4:]) if k == 0x40)
        elif kind == 0x50:
            parts = list(_items(value))
            user = dict(parts)
            as_provider = dict(_granted_role(role) for part, role in parts if part == 0x54)
    length = user.get(0x51, b"")
    max_pdu_bytes = int.from_bytes(length, "big") if len(length) == 4 else 0
    if 0 < max_pdu_bytes < PDV_HEADER_BYTES + 2:
        raise BadAnswer(f"the peer takes PDUs of {max_pdu_bytes} bytes only")
    return Accepted(results, syntaxes, max_pdu_bytes, text_of(user.get(0x52, b"")), as_provider)


def _granted_role(value: bytes) -> tuple[str, bool]:
    """Return SOP class and SCP role of an SCP/SCU role selection item (PS3.7 D.3.3.4.2)."""
    length = int.from_bytes(value[:2], "big")
    if len(value) != length + 4:
        raise BadAnswer(f"role selection of {len(value)} bytes")
    return text_of(value[2 : 2 + length]), value[-1] == 1


def _items(body: bytes) -> Iterator[tuple[int, bytes]]:
    begin = 0
    while begin < len(body):
        if len(body) - begin < ITEM.size:
            raise BadAnswer("A-ASSOCIATE-AC ends inside an item")
        kind, length = ITEM.unpack_from(body, begin)
        begin += ITEM.size
        if begin + length > len(body):
            raise BadAnswer(f"item {kind:#04x} of A-ASSOCIATE-AC ends outside of it")
        yield kind, body[begin : begin + length]
        begin += length
