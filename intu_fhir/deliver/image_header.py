"""What a header says of its pixels, and what it has to say once they are decompressed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from io import BytesIO

from intu_fhir.deliver.explicit_vr import (
    Element,
    NotTakenApart,
    encode,
    encode_item,
    read_items,
)
from intu_fhir.deliver.fragments import Fragments
from intu_fhir.deliver.image import Image
from intu_fhir.model.values import is_number

PIXEL_DATA = 0x7FE00010
_PHOTOMETRIC_INTERPRETATION, _PLANAR_CONFIGURATION = 0x00280004, 0x00280006
_NUMBER_OF_FRAMES, _LOSSY_IMAGE_COMPRESSION = 0x00280008, 0x00282110
_NUMBERS = {
    "samples_per_pixel": 0x00280002,
    "rows": 0x00280010,
    "columns": 0x00280011,
    "bits_allocated": 0x00280100,
    "bits_stored": 0x00280101,
    "pixel_representation": 0x00280103,
}
_ALWAYS_LOSSY = frozenset({"1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51"})

Header = Mapping[int, Element]
Edits = Mapping[int, Element | None]
Decode = Callable[[Image, bytes], tuple[bytes, str]]
"""Gives a decoded frame and its Photometric Interpretation."""


@dataclass(frozen=True, slots=True)
class CompressedImage:
    """An image and how many frames it has."""

    image: Image
    frames: int

    @property
    def pixel_bytes(self) -> int:
        """Bytes of its decoded pixel data, without padding."""
        return self.frames * self.image.frame_bytes

    @property
    def pixel_vr(self) -> str:
        """Value representation of its decoded pixel data (PS3.5 8.2)."""
        return "OB" if self.image.bits_allocated == 8 else "OW"


def compressed_image(header: Header, transfer_syntax_uid: str) -> CompressedImage:
    """Read the Image Pixel module (PS3.3 C.7.6.3).

    Raises:
        NotTakenApart: it is not complete.
    """
    numbers = {name: _number(header, tag, name) for name, tag in _NUMBERS.items()}
    image = Image(
        transfer_syntax_uid=transfer_syntax_uid,
        photometric_interpretation=_text(header, _PHOTOMETRIC_INTERPRETATION),
        planar_configuration=_number(header, _PLANAR_CONFIGURATION, "", absent=0),
        **numbers,
    )
    if image.bits_allocated not in {8, 16, 32} or not image.frame_bytes:
        raise NotTakenApart(f"it has {image.bits_allocated} bits for a sample, or no pixels")
    return CompressedImage(image, _frames(header))


def bits_allocated(header: Header) -> int:
    """Return Bits Allocated (0028,0100); 0 where the header does not say."""
    return _number(header, _NUMBERS["bits_allocated"], "", absent=0)


def _frames(header: Header) -> int:
    text = _text(header, _NUMBER_OF_FRAMES) or "1"
    if not (is_number(text) and int(text)):
        raise NotTakenApart("its number of frames is none")
    return int(text)


def _number(header: Header, tag: int, name: str, absent: int | None = None) -> int:
    value = header[tag].value if tag in header else b""
    if len(value) < 2:
        if absent is None:
            raise NotTakenApart(f"its header does not say {name.replace('_', ' ')}")
        return absent
    return int.from_bytes(value[:2], "little")


def _text(header: Header, tag: int) -> str:
    value = header[tag].value if tag in header else b""
    return value.split(b"\\")[0].decode("ascii", "replace").strip(" \0")


def decompressed_header(header: Header, image: Image, colours: str) -> dict[int, Element]:
    """Return the elements that change when an image is decompressed.

    The rest stays: a lossy image is told by (0028,2110) and so on as before, and it is the same
    image with the same SOP Instance UID. Where lossy JPEG came without (0028,2110), that is set:
    once it is decompressed nothing else would tell (PS3.3 C.7.6.1.1.5).
    """
    changes = {}
    if colours != image.photometric_interpretation:
        tag = _PHOTOMETRIC_INTERPRETATION
        changes[tag] = Element(tag, "CS", padded(colours.encode("ascii")))
    if image.samples_per_pixel > 1:
        tag = _PLANAR_CONFIGURATION
        changes[tag] = Element(tag, "US", b"\0\0")
    if image.transfer_syntax_uid in _ALWAYS_LOSSY and not _text(header, _LOSSY_IMAGE_COMPRESSION):
        tag = _LOSSY_IMAGE_COMPRESSION
        changes[tag] = Element(tag, "CS", b"01")
    return changes


def padded(value: bytes) -> bytes:
    """Return a text of even length (PS3.5 6.2)."""
    return value + b" " * (len(value) % 2)


def changed(elements: Sequence[Element], changes: Edits) -> list[Element]:
    """Return elements with the changes in their places; None leaves one out."""
    kept: dict[int, Element | None] = {one.tag: one for one in elements}
    kept.update(changes)
    return [one for _, one in sorted(kept.items()) if one is not None]


def with_plain_icons(
    elements: Sequence[Element], transfer_syntax_uid: str, decode: Decode, depth: int = 0
) -> list[Element]:
    """Return elements whose sequences hold no compressed pixel data (PS3.5 A.4).

    Raises:
        NotConvertible: an icon cannot be decompressed.
    """
    return [_plain(one, transfer_syntax_uid, decode, depth) for one in elements]


def _plain(one: Element, transfer_syntax_uid: str, decode: Decode, depth: int) -> Element:
    if not one.is_sequence or b"\xe0\x7f\x10\x00OB\0\0\xff\xff\xff\xff" not in one.value:
        return one
    parts = []
    for undefined, item in read_items(one, depth + 1):
        inner = with_plain_icons(item, transfer_syntax_uid, decode, depth + 1)
        plain = _plain_item(inner, transfer_syntax_uid, decode)
        parts.append(encode_item(encode(plain, implicit=False), undefined=undefined))
    return replace(one, value=b"".join(parts))


def _plain_item(
    elements: Sequence[Element], transfer_syntax_uid: str, decode: Decode
) -> Sequence[Element]:
    header = {one.tag: one for one in elements}
    pixels = header.get(PIXEL_DATA)
    if pixels is None or not pixels.undefined:
        return elements
    found = compressed_image(header, transfer_syntax_uid)
    frame = b"".join(Fragments(BytesIO(pixels.value), 1))
    decoded, colours = decode(found.image, frame)
    decoded += b"\0" * (len(decoded) % 2)
    changes = decompressed_header(header, found.image, colours)
    changes[PIXEL_DATA] = Element(PIXEL_DATA, found.pixel_vr, decoded)
    return changed(elements, changes)
