"""One byte form per content, so that equal content can be recognised."""

from __future__ import annotations

import hashlib
import json
from decimal import Decimal
from typing import Any

import orjson

_LONG = 19


def canonical_json(resource: dict[str, Any]) -> bytes:
    """Return the resource as UTF-8 JSON with sorted keys and no white space."""
    return orjson.dumps(resource, default=exact_number, option=orjson.OPT_SORT_KEYS)


def content_hash(resource: dict[str, Any]) -> str:
    """Return the SHA-256 of the canonical form, in hex."""
    return hashlib.sha256(canonical_json(resource)).hexdigest()


def exact_number(value: Any) -> orjson.Fragment:
    """Write a Decimal digit by digit: its precision is part of its meaning (FHIR decimal)."""
    if isinstance(value, Decimal) and value.is_finite():
        return orjson.Fragment(format(value, "f").encode())
    raise TypeError(f"{type(value).__name__} has no JSON form")


def read_exact(content: str) -> Any:
    """Read JSON, its fractions as Decimal with every digit they have."""
    return json.loads(content, parse_float=Decimal, parse_int=_integer)


def _integer(digits: str) -> int | Decimal:
    """Read a whole number; one of more than 64 bits can only be written digit by digit."""
    return int(digits) if len(digits) < _LONG else Decimal(digits)
