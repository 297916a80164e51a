"""How the elements of a data set are written down, by transfer syntax (PS3.5 section 10)."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from struct import Struct
from typing import Any, Self, TypeAlias

from intu_fhir.errors import InvalidDataSet, LimitPassed
from intu_fhir.settings.schema import Receiver

Buffer: TypeAlias = Any
"""Bytes, a memoryview or an mmap: what ``struct`` reads from and what can be sliced.

``collections.abc.Buffer`` needs Python 3.12."""

IMPLICIT_LITTLE_ENDIAN = "1.2.840.10008.1.2"
EXPLICIT_LITTLE_ENDIAN = "1.2.840.10008.1.2.1"
DEFLATED = "1.2.840.10008.1.2.1.99"
EXPLICIT_BIG_ENDIAN = "1.2.840.10008.1.2.2"

# PS3.5 A.5 and the two JPIP syntaxes that deflate the whole data set (PS3.5 A.7, A.12).
DEFLATED_SYNTAXES = frozenset({DEFLATED, "1.2.840.10008.1.2.4.95", "1.2.840.10008.1.2.4.205"})
# The second one is private to GE: its pixels are big endian, its elements are not.
_IMPLICIT = frozenset({IMPLICIT_LITTLE_ENDIAN, "1.2.840.113619.5.2"})

_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class Limits:
    """What one data set may ask for before it is refused.

    Args:
        max_nesting: sequences within sequences.
        max_inflated_bytes: size of a deflated data set once inflated.
        max_elements: elements, items and fragments together; bounds the time of one walk
            to some seconds, and leaves room for slide images of 100,000 frames.
    """

    max_nesting: int = 64
    max_inflated_bytes: int = 64 * 1024**2
    max_elements: int = 5_000_000

    @classmethod
    def of(cls, receiver: Receiver) -> Self:
        """Return the limits that a site has configured."""
        return cls(receiver.max_nesting, receiver.max_inflated_bytes, receiver.max_elements)


DEFAULT_LIMITS = Limits()


class Encoding:
    """VR form and byte order of one data set, with the readers of its element heads.

    ``swapped`` tells that a tag read as one 32-bit number has its group in the low half.
    """

    __slots__ = ("explicit", "explicit_head", "implicit_head", "little", "number", "swapped")

    def __init__(self, *, explicit: bool, little: bool) -> None:
        order = "<" if little else ">"
        self.explicit, self.little, self.swapped = explicit, little, little
        self.explicit_head = _reader(order + "I2sH")
        self.implicit_head = _reader(order + "II")
        self.number = _reader(order + "I")

    def tag(self, key: int) -> int:
        """Return the tag ``ggggeeee`` of a tag read as one 32-bit number, or the reverse."""
        return (key & 0xFFFF) << 16 | key >> 16 if self.swapped else key


def _reader(layout: str) -> Callable[[Buffer, int], tuple[Any, ...]]:
    return Struct(layout).unpack_from


IMPLICIT_LITTLE = Encoding(explicit=False, little=True)
EXPLICIT_LITTLE = Encoding(explicit=True, little=True)
IMPLICIT_BIG = Encoding(explicit=False, little=False)
EXPLICIT_BIG = Encoding(explicit=True, little=False)


def implicit_form(encoding: Encoding) -> Encoding:
    """Return the encoding of the same byte order without value representations."""
    return IMPLICIT_LITTLE if encoding.little else IMPLICIT_BIG


@lru_cache(maxsize=256)
def encoding_of(transfer_syntax_uid: str) -> Encoding:
    """Return the encoding that PS3.5 annex A gives to a transfer syntax.

    Everything but implicit and big endian is Explicit VR Little Endian, compressed syntaxes
    and private ones included.
    """
    if transfer_syntax_uid in _IMPLICIT:
        return IMPLICIT_LITTLE
    return EXPLICIT_BIG if transfer_syntax_uid == EXPLICIT_BIG_ENDIAN else EXPLICIT_LITTLE


def is_value_representation(code: bytes) -> bool:
    """Say whether two bytes look like a VR, known or not: two capital letters."""
    return len(code) == 2 and 0x41 <= code[0] <= 0x5A and 0x41 <= code[1] <= 0x5A


def open_data_set(
    buffer: Buffer, transfer_syntax_uid: str, limits: Limits
) -> tuple[Buffer, Encoding]:
    """Return the readable bytes of a data set and their real encoding.

    A set whose first element plainly has the other VR form than its transfer syntax says is
    read as it is: such files exist, and everyone reads them.

    Raises:
        InvalidDataSet: a deflated set is damaged or grows beyond the limit.
    """
    encoding = encoding_of(transfer_syntax_uid)
    if transfer_syntax_uid in DEFLATED_SYNTAXES:
        buffer = inflate(buffer, limits.max_inflated_bytes)
    if len(buffer) < 8:
        return buffer, encoding
    explicit = is_value_representation(bytes(buffer[4:6]))
    if explicit == encoding.explicit:
        return buffer, encoding
    if explicit:
        return buffer, EXPLICIT_LITTLE
    return buffer, implicit_form(encoding)


def inflate(buffer: Buffer, max_bytes: int) -> bytes:
    """Return a deflated data set inflated (PS3.5 A.5).

    Raises:
        InvalidDataSet: the stream is damaged, ends early, or holds more than ``max_bytes``.
    """
    stream = zlib.decompressobj(-zlib.MAX_WBITS)
    inflated = bytearray()
    try:
        for start in range(0, len(buffer), _CHUNK):
            piece = bytes(buffer[start : start + _CHUNK])
            while not stream.eof and (chunk := stream.decompress(piece, _CHUNK)):
                piece = stream.unconsumed_tail
                inflated += chunk
                _check_size(len(inflated), max_bytes)
    except zlib.error:
        raise InvalidDataSet("The deflated data set is damaged; send it again") from None
    if not stream.eof:
        raise InvalidDataSet("The deflated data set ends early; send it again")
    return bytes(inflated)


def _check_size(size: int, max_bytes: int) -> None:
    if size > max_bytes:
        raise LimitPassed(
            f"The deflated data set holds more than {max_bytes} bytes; "
            "raise receiver.max_inflated_bytes if that is wanted",
            "max_inflated_bytes",
        )
