"""In which attributes two data sets differ that have one SOP Instance UID."""

from __future__ import annotations

import base64
import contextlib
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import orjson

from intu_fhir.errors import InvalidDataSet
from intu_fhir.stage.describe import describe
from intu_fhir.stage.dicom_json import Json
from intu_fhir.stage.dictionary import keyword_of
from intu_fhir.stage.elements import LONG_VRS, UNDEFINED, Element, walk
from intu_fhir.stage.encodings import DEFAULT_LIMITS, Buffer, Encoding, Limits, open_data_set

_BULK = "BulkDataURI"
_LONG_HEAD, _SHORT_HEAD = 12, 8
_LONG = LONG_VRS | {b"SQ"}


@dataclass(frozen=True, slots=True)
class Difference:
    """One attribute that differs; a value is None where a data set lacks it.

    Args:
        tag: with those of the sequences around it: ``(0040,0275)[1](0040,0007)``.
        keyword: likewise; of a private attribute ``private``.
    """

    tag: str
    keyword: str
    staged: str | None
    kept: str | None


class _Leaf(NamedTuple):
    keyword: str
    entry: Json


def differences(
    staged: tuple[Buffer, str], kept: tuple[Buffer, str], limits: Limits = DEFAULT_LIMITS
) -> list[Difference]:
    """Return what differs, in the order of the tags; each side is data set and transfer syntax."""
    one, other = _Side(*staged, limits), _Side(*kept, limits)
    found = {} if one.syntax == other.syntax else {"(0002,0010)": _syntaxes(one, other)}
    for path in sorted({*one.leaves, *other.leaves}):
        here, there = one.leaves.get(path), other.leaves.get(path)
        if here is None or there is None or _value(here.entry) != _value(there.entry):
            keyword = (here or there or _Leaf("", {})).keyword
            found[path] = Difference(path, keyword, _shown(here), _shown(there))
    told = {path[:11] for path in found}
    for tag in sorted({*one.spans, *other.spans}):
        path = _written(tag)
        if path not in told and (one.is_bulk(tag) or other.is_bulk(tag)):
            here_bytes, there_bytes = one.raw(tag), other.raw(tag)
            if here_bytes != there_bytes:
                keyword = keyword_of(tag) or "private"
                found[path] = Difference(path, keyword, _digest(here_bytes), _digest(there_bytes))
    return [found[path] for path in sorted(found)]


class _Side:
    """One data set: its header, and where the elements of its top level stand."""

    def __init__(self, buffer: Buffer, syntax: str, limits: Limits) -> None:
        self.syntax = syntax
        self.json = describe(buffer, syntax, {}, limits).dicom_json
        self.leaves = dict(_leaves(self.json))
        self.spans: dict[int, tuple[int, int]] = {}
        self._data_set: Buffer = b""
        # What is incomplete is compared as far as it goes.
        with contextlib.suppress(InvalidDataSet):
            self._data_set, encoding = open_data_set(buffer, syntax, limits)
            for tag, start, end in _spans(self._data_set, encoding, limits):
                self.spans[tag] = (start, end)

    def is_bulk(self, tag: int) -> bool:
        """Say whether the header does not hold all of a value."""
        entry = self.json.get(f"{tag:08X}")
        return (
            tag in self.spans
            and tag & 0xFFFF != 0
            and (entry is None or _BULK.encode() in orjson.dumps(entry))
        )

    def raw(self, tag: int) -> memoryview | None:
        """Return the bytes of a value."""
        if tag not in self.spans:
            return None
        start, end = self.spans[tag]
        return memoryview(self._data_set)[start:end]


def _spans(data_set: Buffer, encoding: Encoding, limits: Limits) -> Iterator[tuple[int, int, int]]:
    """Yield tag, beginning and end of the values of the top level."""
    before: Element | None = None
    for element in walk(data_set, encoding, limits):
        if element.depth:
            continue
        if before is not None:
            yield before.tag, before.offset, _end(before, element.offset - _head(element))
        before = element
    if before is not None:
        yield before.tag, before.offset, _end(before, len(data_set))


def _end(element: Element, following: int) -> int:
    return following if element.length == UNDEFINED else element.offset + element.length


def _head(element: Element) -> int:
    return _LONG_HEAD if element.vr in _LONG else _SHORT_HEAD


def _leaves(json: Json, tags: str = "", keywords: str = "") -> Iterator[tuple[str, _Leaf]]:
    """Yield what holds values, under its path; of a sequence its items, where it has any."""
    for tag, entry in json.items():
        path = f"{tags}{_written(int(tag, 16))}"
        keyword = f"{keywords}{keyword_of(int(tag, 16)) or 'private'}"
        items = entry.get("Value", []) if entry["vr"] == "SQ" else []
        if not items:
            yield path, _Leaf(keyword, entry)
        for number, item in enumerate(items, 1):
            yield from _leaves(item, f"{path}[{number}]", f"{keyword}[{number}].")


def _written(tag: int) -> str:
    return f"({tag >> 16:04X},{tag & 0xFFFF:04X})"


def _syntaxes(one: _Side, other: _Side) -> Difference:
    return Difference("(0002,0010)", "TransferSyntaxUID", one.syntax, other.syntax)


def _value(entry: Json) -> Any:
    """Return what counts: the VR is that of the dictionary where it is not written."""
    return entry.get("InlineBinary") or entry.get("Value") or []


def _shown(leaf: _Leaf | None) -> str | None:
    if leaf is None:
        return None
    if _BULK in leaf.entry:
        return "bytes"
    if "InlineBinary" in leaf.entry:
        return f"{len(base64.b64decode(leaf.entry['InlineBinary']))} bytes"
    return "\\".join(_one(value) for value in leaf.entry.get("Value", []))


def _one(value: Any) -> str:
    return "=".join(value.values()) if isinstance(value, dict) else str(value or "")


def _digest(value: memoryview | None) -> str | None:
    if value is None:
        return None
    return f"{len(value)} bytes, SHA-256 {hashlib.sha256(value).hexdigest()[:16]}…"
