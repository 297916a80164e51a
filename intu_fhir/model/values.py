"""Raw attribute values of a header, by DICOM keyword."""

from __future__ import annotations

from typing import TypeAlias

Value: TypeAlias = "str | list[Values]"
"""A decoded value as received, backslashes included, or the items of a sequence."""

Values: TypeAlias = dict[str, Value]
"""Values by DICOM keyword; a private attribute is keyed ``ggggxxee:CREATOR``, for example
``0019xx10:SIEMENS MR HEADER``."""


def text(values: Values, keyword: str) -> str:
    """Return the raw string of ``keyword`` without padding, or ``""`` where it has none."""
    value = values.get(keyword, "")
    return value.strip(" \0") if isinstance(value, str) else ""


MOST_CHARACTERS = 640
"""Of a value in a column, the rest is cut: ten times what PS3.5 6.2 allows, and short enough for an
index of PostgreSQL."""


MOST_DIGITS = 12
"""Of a number of VR IS (PS3.5 table 6.2-1); a longer one may be one that Python does not read."""


def is_number(raw: str) -> bool:
    """Say whether a text is a whole number without a sign, as a count or an index is."""
    return raw.isascii() and raw.isdigit() and len(raw) <= MOST_DIGITS


def items(values: Values, keyword: str) -> list[Values]:
    """Return the non-empty items of the sequence ``keyword``."""
    value = values.get(keyword, "")
    return [item for item in value if item] if isinstance(value, list) else []
