"""Raw values from a complete header in SQL, for attributes that were not staged when it came.

A site's mapping may want an attribute that older studies have in their headers only. It is read
from there, without the file. Numbers come back as the DICOM JSON model has them (PS3.18 F.2.3):
``7`` where the header said ``007``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from intu_fhir.model.values import Value, Values
from intu_fhir.stage.describe import by_level
from intu_fhir.stage.dictionary import is_private, keyword_of

_TAG = re.compile(r"[0-9A-Fa-f]{8}")
_GROUPS = ("Alphabetic", "Ideographic", "Phonetic")


def values_by_level(json: Any, levels: Mapping[str, str]) -> tuple[Values, Values]:
    """Return the shared and the own values of a complete header; never raises for its content.

    Args:
        json: DICOM JSON model (PS3.18 annex F).
        levels: level by keyword, or by ``ggggxxee:CREATOR`` for private attributes.
    """
    return by_level(values_of(json), levels)


def values_of(json: Any) -> Values:
    """Return the raw values of a complete header by keyword; never raises for its content."""
    values: Values = {}
    if not isinstance(json, dict):
        return values
    for tag, entry in json.items():
        if isinstance(entry, dict) and _TAG.fullmatch(tag):
            key, found = _key(int(tag, 16), json), _value(entry)
            if key and found:
                values[key] = found
    return values


def _key(tag: int, json: Mapping[str, Any]) -> str:
    if not is_private(tag):
        return keyword_of(tag)
    block = json.get(f"{tag >> 16:04X}00{tag >> 8 & 0xFF:02X}")
    creator = _value(block) if isinstance(block, dict) else ""
    return f"{tag >> 16:04x}xx{tag & 0xFF:02x}:{creator}" if creator else ""


def _value(entry: Mapping[str, Any]) -> Value:
    found = entry.get("Value")
    if not isinstance(found, list):
        return ""
    if entry.get("vr") == "SQ":
        return [values_of(item) for item in found]
    return "\\".join(map(_raw, found))


def _raw(value: Any) -> str:
    """Return one value as text; an empty one is null in JSON."""
    if isinstance(value, dict):
        return "=".join(str(value.get(group, "")) for group in _GROUPS).rstrip("=")
    return "" if value is None else str(value)
