"""What PS3.6 says of a tag: its value representation and its keyword."""

from __future__ import annotations

from functools import lru_cache

from pydicom._dicom_dict import DicomDictionary
from pydicom.datadict import (
    dictionary_has_tag,
    dictionary_keyword,
    dictionary_VR,
    private_dictionary_VR,
)

SEQUENCES = frozenset(tag for tag, entry in DicomDictionary.items() if entry[0] == "SQ")
"""Every standard sequence."""


def is_private(tag: int) -> bool:
    """Say whether the group of ``tag`` is odd (PS3.5 7.8)."""
    return bool(tag >> 16 & 1)


def is_private_creator(tag: int) -> bool:
    """Say whether ``tag`` reserves a block of private elements (PS3.5 7.8.1)."""
    return is_private(tag) and 0x10 <= tag & 0xFFFF <= 0xFF


@lru_cache(maxsize=8192)
def keyword_of(tag: int) -> str:
    """Return the keyword of a standard tag, repeating groups included, or ``""``."""
    return dictionary_keyword(tag) if dictionary_has_tag(tag) or _repeats(tag) else ""


@lru_cache(maxsize=8192)
def vr_of(tag: int, creator: str = "") -> str:
    """Return the VR of a tag, or ``UN`` where nobody knows.

    Ambiguous ones come as the dictionary has them, such as ``US or SS``. Private elements are
    looked up under their creator.
    """
    if tag & 0xFFFF == 0:
        return "UL"
    try:
        if not is_private(tag):
            return dictionary_VR(tag)
        return "LO" if is_private_creator(tag) else private_dictionary_VR(tag, creator)
    except KeyError:
        return "UN"


def _repeats(tag: int) -> bool:
    """Say whether the dictionary has ``tag`` as one of a repeating group (PS3.5 7.6)."""
    try:
        dictionary_VR(tag)
    except KeyError:
        return False
    return True
