"""Addresses of bulk data: staged headers have them relative to their instance (PS3.18 F.2.2)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

LINK = "BulkDataURI"
_STAGED = "tag/"


def with_links(header: Mapping[str, Any], address: str) -> dict[str, Any]:
    """Return a data set in the DICOM JSON model whose bulk data can be retrieved.

    Args:
        address: of the instance.
    """
    return {tag: _linked(entry, address) for tag, entry in header.items()}


def _linked(entry: Any, address: str) -> Any:
    if LINK in entry:
        path = entry[LINK].removeprefix(_STAGED)
        return {**entry, LINK: f"{address}/bulkdata/{path}"}
    if entry.get("vr") == "SQ" and "Value" in entry:
        return {**entry, "Value": [with_links(item or {}, address) for item in entry["Value"]]}
    return entry
