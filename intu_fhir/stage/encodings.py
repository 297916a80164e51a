"""How the elements of a data set are written down, by transfer syntax (PS3.5 section 10)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from struct import Struct
from typing import Any, Self, TypeAlias

from intu_fhir.settings.schema import Receiver
from intu_fhir.stage.sources import BytesSource, check_size, inflating

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


@dataclass(frozen=True, slots=True)
class Limits:
    """What one data set may ask for before it is refused.

    Args:
        max_nesting: sequences within sequences.
        max_inflated_bytes: size of a deflated data set once inflated, pixels included.
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
    """Return the readable bytes of a data set and their real encoding (``encoding_seen``).

    Raises:
        InvalidDataSet: a deflated set is damaged or grows beyond the limit.
    """
    if transfer_syntax_uid in DEFLATED_SYNTAXES:
        buffer = inflate(buffer, limits.max_inflated_bytes)
    return buffer, encoding_seen(bytes(buffer[:8]), transfer_syntax_uid)


def encoding_seen(head: bytes, transfer_syntax_uid: str) -> Encoding:
    """Return the real encoding of a data set that begins with these eight bytes.

    A set whose first element plainly has the other VR form than its transfer syntax says is
    read as it is: such files exist, and everyone reads them.
    """
    encoding = encoding_of(transfer_syntax_uid)
    if len(head) < 8:
        return encoding
    explicit = is_value_representation(head[4:6])
    if explicit == encoding.explicit:
        return encoding
    return EXPLICIT_LITTLE if explicit else implicit_form(encoding)


def inflate(buffer: Buffer, max_bytes: int) -> bytearray:
    """Return a deflated data set inflated (PS3.5 A.5).

    Raises:
        InvalidDataSet: the stream is damaged, ends early, or holds more than ``max_bytes``.
    """
    inflated = bytearray()
    for chunk in inflating(BytesSource(buffer)):
        inflated += chunk
        check_size(len(inflated), max_bytes)
    return inflated
