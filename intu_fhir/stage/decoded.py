"""Turns the bytes of one element into values, by value representation (PS3.5 6.2)."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from struct import iter_unpack
from typing import Any, TypeAlias

from intu_fhir.stage.charsets import Charset, decode

Number: TypeAlias = int | float

# Layout and width of numbers.
_NUMBERS = {
    "US": ("H", 2),
    "SS": ("h", 2),
    "UL": ("I", 4),
    "SL": ("i", 4),
    "UV": ("Q", 8),
    "SV": ("q", 8),
    "FL": ("f", 4),
    "FD": ("d", 8),
}
# Bytes per word where the byte order matters; one for plain bytes.
WORDS = {"OB": 1, "UN": 1, "OW": 2, "OF": 4, "OL": 4, "OD": 8, "OV": 8}
_SINGLE_TEXTS = frozenset({"ST", "LT", "UT", "UR"})
_INTEGER = re.compile(r"[+-]?\d{1,12}", re.ASCII)
_DECIMAL = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[Ee][+-]?\d+)?", re.ASCII)
_SAFE_INTEGER = 2**53


@dataclass(frozen=True, slots=True)
class Decoded:
    """Values of one element.

    Args:
        raw: all values as one string, joined by backslashes; ``None`` for plain bytes.
        values: as the DICOM JSON model has them, ``None`` for an empty one.
        binary: plain bytes, little endian.
        problem: code of what was wrong, or ``""``.
    """

    raw: str | None
    values: list[Any] | None = None
    binary: bytes | None = None
    problem: str = ""


def decode_value(vr: str, value: bytes, *, little: bool, charset: Charset) -> Decoded:
    """Return the values of one element that is not a sequence; never raises."""
    if vr in WORDS:
        return Decoded(None, binary=_little_endian(value, WORDS[vr], little=little))
    if vr in _NUMBERS:
        return _numbers(vr, value, little=little)
    if vr == "AT":
        return _tags(value, little=little)
    return _text(vr, value, charset)


def _little_endian(value: bytes, width: int, *, little: bool) -> bytes:
    if little or width == 1 or len(value) % width:
        return value
    swapped = bytearray(len(value))
    for at in range(width):
        swapped[at::width] = value[width - 1 - at :: width]
    return bytes(swapped)


def _unpack(layout: str, width: int, value: bytes, *, little: bool) -> list[Any]:
    whole = value[: len(value) - len(value) % width]
    return [number for (number,) in iter_unpack(("<" if little else ">") + layout, whole)]


def _numbers(vr: str, value: bytes, *, little: bool) -> Decoded:
    layout, width = _NUMBERS[vr]
    numbers = _unpack(layout, width, value, little=little)
    values = [_json_number(number) for number in numbers]
    raw = "\\".join(map(str, numbers))
    problem = "length_not_multiple" if len(value) % width else ""
    if any(isinstance(v, str) for v in values) and vr in {"FL", "FD"}:
        problem = "not_a_number"
    return Decoded(raw, values=values, problem=problem)


def _json_number(number: Number) -> Number | str:
    """Keep what JSON can hold exactly; the rest goes as text (PS3.18 F.2.3)."""
    if isinstance(number, float) and not math.isfinite(number):
        return "NaN" if math.isnan(number) else "Infinity" if number > 0 else "-Infinity"
    if isinstance(number, int) and abs(number) > _SAFE_INTEGER:
        return str(number)
    return number


def _tags(value: bytes, *, little: bool) -> Decoded:
    halves = _unpack("H", 2, value, little=little)
    tags = [f"{g:04X}{e:04X}" for g, e in zip(halves[::2], halves[1::2], strict=False)]
    problem = "length_not_multiple" if len(value) % 4 else ""
    return Decoded("\\".join(tags), values=list(tags), problem=problem)


def _text(vr: str, value: bytes, charset: Charset) -> Decoded:
    padded = value.rstrip(b" \0") if vr in _SINGLE_TEXTS else value.strip(b" \0")
    text, good = decode(padded, charset, name=vr == "PN")
    problem = "" if good else "undecodable_text"
    if not text:
        return Decoded("", values=[])
    parts = [text] if vr in _SINGLE_TEXTS else [part.strip(" ") for part in text.split("\\")]
    if vr in {"IS", "DS"}:
        values: list[Any] = [_number(vr, part) for part in parts]
        if any(isinstance(v, str) for v in values):
            problem = problem or "invalid_number"
    elif vr == "PN":
        values = [_name(part) for part in parts]
    else:
        values = [part or None for part in parts]
    return Decoded(text, values=values, problem=problem)


def _number(vr: str, text: str) -> Number | str | None:
    """Return a number, or the text as it is where it is no valid one."""
    if not text:
        return None
    if _INTEGER.fullmatch(text):
        return int(text)
    if vr == "DS" and _DECIMAL.fullmatch(text) and math.isfinite(float(text)):
        return float(text)
    return text


def _name(text: str) -> dict[str, str] | None:
    """Return the component groups of a person name (PS3.18 F.2.2)."""
    groups = zip(("Alphabetic", "Ideographic", "Phonetic"), text.split("="), strict=False)
    return {group: value for group, value in groups if value} or None
