"""Text and numbers of a header as FHIR has them; nothing here raises for any input."""

from __future__ import annotations

import re
from typing import Final, Literal

from intu_fhir.model.values import Values, text

MAX_INTEGER: Final = 2**31 - 1
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ufffe\uffff]")
_DAMAGED = re.compile("[\N{REPLACEMENT CHARACTER}\ud800-\udfff]")
_NUMBER = re.compile(r"\+?(\d{1,20})(?:\.0*)?", re.ASCII)
_CODE_GAPS = re.compile(r"\s+")


def clean_text(raw: str) -> str | None:
    """Return text as FHIR allows it, ``""`` where nothing is left, None where it is damaged.

    Control characters go, except tab and line ends; text that could not be decoded is not
    published at all (FHIR R4 datatypes: string).
    """
    if raw.isascii() and raw.isprintable():
        return raw.strip()
    if _DAMAGED.search(raw):
        return None
    return _CONTROL.sub("", raw).strip()


def clean_code(raw: str) -> str:
    """Return a code without edge and double spaces, or ``""`` where it is none (FHIR code)."""
    return _CODE_GAPS.sub(" ", clean_text(raw) or "").strip()


def parts_of(raw: str) -> list[str]:
    """Return the non-empty values of a multi-valued attribute (PS3.5 6.4)."""
    return [part for part in (part.strip(" \0") for part in raw.split("\\")) if part]


def unsigned(raw: str) -> int | None:
    """Return the first value that is a whole number from 0 to 2147483647 (FHIR unsignedInt)."""
    if raw.isdigit() and raw.isascii() and len(raw) <= 9:
        return int(raw)
    for part in raw.split("\\"):
        found = _NUMBER.fullmatch(part.strip(" \0"))
        if found and int(found[1]) <= MAX_INTEGER:
            return int(found[1])
    return None


Sex = Literal["male", "female", "other"]
_SEXES: Final[dict[str, Sex]] = {"M": "male", "F": "female", "O": "other"}


def administrative_gender(raw: str) -> Sex | None:
    """Return Patient's Sex (0010,0040) as FHIR administrative gender; None says nothing."""
    return _SEXES.get(raw.strip().upper())


def first_value(values: Values, keyword: str) -> tuple[str, bool]:
    """Return the first non-empty value of a single-valued attribute, and whether it had more."""
    raw = text(values, keyword)
    if "\\" not in raw:
        return raw, False
    parts = parts_of(raw)
    return (parts[0] if parts else ""), len(parts) > 1
