"""One byte form per content, so that equal content can be recognised."""

from __future__ import annotations

import hashlib
from typing import Any

import orjson


def canonical_json(resource: dict[str, Any]) -> bytes:
    """Return the resource as UTF-8 JSON with sorted keys and no white space."""
    return orjson.dumps(resource, option=orjson.OPT_SORT_KEYS)


def content_hash(resource: dict[str, Any]) -> str:
    """Return the SHA-256 of the canonical form, in hex."""
    return hashlib.sha256(canonical_json(resource)).hexdigest()
