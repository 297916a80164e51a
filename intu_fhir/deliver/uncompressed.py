"""A stored data set for a PACS that takes nothing but uncompressed ones, made while it is read.

In memory are its header and one frame, compressed and decoded; both have a limit. The stored file
stays as it is.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import BinaryIO

from pydicom.uid import (
    AllTransferSyntaxes,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    MPEGTransferSyntaxes,
)

from intu_fhir.deliver.decoder import Decoder
from intu_fhir.deliver.edited import Changes, NotEditable, header_elements
from intu_fhir.deliver.explicit_vr import (
    Element,
    NotConvertible,
    NotTakenApart,
    encode,
    encode_head,
    read_elements,
)
from intu_fhir.deliver.image import Image
from intu_fhir.deliver.image_header import (
    Decode,
    bits_allocated,
    changed,
    compressed_image,
    decompressed_header,
    padded,
    with_plain_icons,
)
from intu_fhir.deliver.pixel_values import DecodedValue, PixelValue, read_pixel_group

MAX_HEADER_BYTES = 32 << 20
"""Longest header that is converted, and longest deflated data set once it is inflated."""
_MAX_BEHIND_BYTES = 1 << 20
_ELSEWHERE = frozenset(f"1.2.840.10008.1.2.4.{number}" for number in (94, 95, 204, 205))
"""JPIP, where the data set says only from where pixels can be had (PS3.5 A.6, A.7)."""
_SURE_BITS = 16
"""Programs differ in how they swap longer samples of OW in big endian."""
_NATIVE = frozenset({ExplicitVRLittleEndian, ExplicitVRBigEndian})


@dataclass(frozen=True, slots=True)
class Conversion:
    """What a data set is, and what it becomes.

    Args:
        source: transfer syntax that it is stored in.
        target: Explicit or Implicit VR Little Endian.
        changes: what else is changed in its header.
    """

    source: str
    target: str
    changes: Changes

    @property
    def implicit(self) -> bool:
        """Whether it becomes Implicit VR."""
        return self.target == ImplicitVRLittleEndian


class UncompressedDataSet:
    """A data set as it is sent; it reads like a file.

    Args:
        offset: where it begins in the file.

    Raises:
        NotConvertible: it cannot be decompressed; also while it is read.
        NotNow, Stopped: the decoding process was killed, or ``keep_going`` said no.
        OSError: the file cannot be read.
    """

    def __init__(
        self,
        file: BinaryIO,
        offset: int,
        conversion: Conversion,
        decoder: Decoder,
        keep_going: Callable[[], bool],
    ) -> None:
        def decode(image: Image, frame: bytes) -> tuple[bytes, str]:
            return decoder.decode(image, frame, keep_going)

        parts = _parts(file, offset, conversion, decode)
        self.size = sum(len(one) if isinstance(one, bytes) else one.size for one in parts)
        self._blocks = _blocks(parts)
        self._left = memoryview(b"")

    def read(self, size: int) -> bytes:
        """Return so many bytes; fewer only at the end."""
        parts: list[memoryview] = []
        while size:
            if not self._left:
                self._left = memoryview(next(self._blocks, b""))
                if not self._left:
                    break
            parts.append(self._left[:size])
            self._left = self._left[size:]
            size -= len(parts[-1])
        return b"".join(parts)


def _blocks(parts: Sequence[bytes | PixelValue]) -> Iterator[bytes]:
    for part in parts:
        blocks = iter((part,)) if isinstance(part, bytes) else part.blocks()
        yield from (block for block in blocks if block)


def _parts(
    file: BinaryIO, offset: int, conversion: Conversion, decode: Decode
) -> list[bytes | PixelValue]:
    """Return what is sent, in its order: bytes, and values that are made when they are due."""
    source = conversion.source
    if source in MPEGTransferSyntaxes:
        raise NotConvertible("it is a video, which is not taken apart into images")
    if source in _ELSEWHERE or source not in AllTransferSyntaxes:
        raise NotConvertible("its pixels are elsewhere, or its transfer syntax is not known here")
    if source == DeflatedExplicitVRLittleEndian:
        file, offset, source = _inflated(file, offset), 0, str(ExplicitVRLittleEndian)
    header, begin = _header(file, offset, source)
    values, behind = _values(file, begin, source, header, decode)
    if source not in _NATIVE:
        header = with_plain_icons(header, source, decode)
    for value in values:
        if isinstance(value, DecodedValue):
            changes = decompressed_header(_by_tag(header), value.found.image, value.colours)
            header = changed(header, changes)
    header = changed(header, _edits(conversion.changes))
    parts: list[bytes | PixelValue] = [encode(header, implicit=conversion.implicit)]
    for value in values:
        head = encode_head(value.tag, value.vr, value.size, implicit=conversion.implicit)
        parts += [head, value]
    return [*parts, encode(behind, implicit=conversion.implicit)]


def _values(
    file: BinaryIO, begin: int, source: str, header: Sequence[Element], decode: Decode
) -> tuple[list[PixelValue], list[Element]]:
    """Return the values of group 7FE0, and the elements behind it."""
    big_endian, found = source == ExplicitVRBigEndian, None
    file.seek(begin)
    if source not in _NATIVE and file.read(2) == b"\xe0\x7f":
        found = compressed_image(_by_tag(header), source)
    group = read_pixel_group(file, begin, found, big_endian=big_endian)
    if big_endian and group.native and bits_allocated(_by_tag(header)) > _SURE_BITS:
        raise NotTakenApart("the byte order of its samples is not sure")
    file.seek(group.end)
    behind = file.read(_MAX_BEHIND_BYTES)
    if file.read(1):
        raise NotTakenApart("there is too much behind its pixel data")
    elements = read_elements(behind, big_endian=big_endian) if behind.strip(b"\0") else []
    if found is None or group.fragments is None:
        return [*group.native], elements
    return [DecodedValue(found, group.fragments, decode)], elements


def _header(file: BinaryIO, offset: int, source: str) -> tuple[list[Element], int]:
    """Return the elements before the pixels, and where these begin."""
    size = file.seek(0, 2)
    file.seek(offset)
    try:
        places = header_elements(file, offset, size, source)
    except NotEditable as error:
        raise NotTakenApart(str(error)) from None
    end = places[-1][2] if places else offset
    if end - offset > MAX_HEADER_BYTES:
        raise NotTakenApart(f"its header is longer than {MAX_HEADER_BYTES >> 20} MiB")
    file.seek(offset)
    return read_elements(file.read(end - offset), big_endian=source == ExplicitVRBigEndian), end


def _inflated(file: BinaryIO, offset: int) -> BinaryIO:
    """Return a deflated data set inflated (PS3.5 A.5)."""
    file.seek(offset)
    inflate = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        data = inflate.decompress(file.read(MAX_HEADER_BYTES), MAX_HEADER_BYTES)
    except zlib.error:
        raise NotTakenApart("it cannot be inflated") from None
    if not inflate.eof:
        raise NotTakenApart(f"it is longer than {MAX_HEADER_BYTES >> 20} MiB, or cut short")
    return BytesIO(data)


def _by_tag(elements: Sequence[Element]) -> dict[int, Element]:
    return {one.tag: one for one in elements}


def _edits(changes: Changes) -> dict[int, Element | None]:
    return {
        tag: change and Element(tag, change[0], padded(change[1].encode("ascii")))
        for tag, change in changes.items()
    }
