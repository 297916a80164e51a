"""What PS3.6 says of a tag: its value representation and its keyword."""

from __future__ import annotations

from functools import lru_cache

from pydicom._dicom_dict import DicomDictionary
from pydicom.datadict import (
    dictionary_keyword,
    dictionary_VR,
    private_dictionary_VR,
)

SEQUENCES = frozenset(tag for tag, entry in DicomDictionary.items() if entry[0] == "SQ")
"""Every standard sequence."""

# PS3.6 section 6: 50xx, 60xx and 7Fxx as groups, and elements such as (0020,31xx) within these.
_REPEATING_GROUPS = frozenset({0x50, 0x60, 0x7F})
_REPEATING_ELEMENTS = frozenset({0x0020, 0x0028, 0x1000, 0x1010})


def is_private(tag: int) -> bool:
    """Say whether the group of ``tag`` is odd (PS3.5 7.8)."""
    return bool(tag >> 16 & 1)


def is_private_creator(tag: int) -> bool:
    """Say whether ``tag`` reserves a block of private elements (PS3.5 7.8.1)."""
    return is_private(tag) and 0x10 <= tag & 0xFFFF <= 0xFF


@lru_cache(maxsize=8192)
def keyword_of(tag: int) -> str:
    """Return the keyword of a standard tag, repeating groups (PS3.5 7.6) included, or ``""``."""
    return "" if is_private(tag) or not _is_known(tag) else dictionary_keyword(tag)


@lru_cache(maxsize=8192)
def vr_of(tag: int, creator: str = "") -> str:
    """Return the VR of a tag, or ``UN`` where nobody knows.

    Ambiguous ones come as the dictionary has them, such as ``US or SS``. Private elements are
    looked up under their creator.
    """
    if tag & 0xFFFF == 0:
        return "UL"
    if not is_private(tag):
        return dictionary_VR(tag) if _is_known(tag) else "UN"
    if is_private_creator(tag):
        return "LO"
    try:
        return private_dictionary_VR(tag, creator)
    except KeyError:
        return "UN"


def _is_known(tag: int) -> bool:
    """Say whether the dictionary has a standard tag, itself or as one of a repeating group."""
    if tag in DicomDictionary:
        return True
    # Looking through all masks takes its time, which foreign tags are not worth.
    if tag >> 24 not in _REPEATING_GROUPS and tag >> 16 not in _REPEATING_ELEMENTS:
        return False
    try:
        dictionary_VR(tag)
    except KeyError:
        return False
    return True
