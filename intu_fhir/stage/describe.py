"""Works out the complete header of an instance, after the answer."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

import orjson

from intu_fhir.errors import InvalidDataSet
from intu_fhir.model.finding import Finding, Severity
from intu_fhir.model.values import Values
from intu_fhir.stage.dicom_json import ItemReader, Json, Scope
from intu_fhir.stage.elements import Element, walk
from intu_fhir.stage.encodings import (
    DEFAULT_LIMITS,
    Buffer,
    Encoding,
    Limits,
    encoding_of,
    open_data_set,
)
from intu_fhir.stage.frames import PER_FRAME_TAG, anatomy_alone, with_frame_anatomy
from intu_fhir.stage.remarks import Remarks
from intu_fhir.stage.tree import Node, nodes

INSTANCE = "instance"
"""The level whose attributes an instance has for itself; all other levels are shared."""

MAX_JSON_BYTES = 4_000_000
"""Size of a staged header; the largest values are left out of one that is larger."""

_SPECIFIC_CHARACTER_SET = 0x00080005
_SOP_INSTANCE_UID = 0x00080018
_PIXEL_REPRESENTATION = 0x00280103
_SCOPE = frozenset({_SPECIFIC_CHARACTER_SET, _SOP_INSTANCE_UID, _PIXEL_REPRESENTATION})


@dataclass(frozen=True, slots=True)
class Description:
    """A complete header.

    Args:
        dicom_json: DICOM JSON model (PS3.18 annex F); bulk data by relative ``BulkDataURI``.
        shared: raw staged values of patient, study and series level.
        instance: raw staged values of the instance's own level.
        findings: what could not be decoded, without any value.
    """

    dicom_json: Json
    shared: Values
    instance: Values
    findings: tuple[Finding, ...]


@dataclass(slots=True)
class _Collected:
    """The description while it grows."""

    json: Json = field(default_factory=dict)
    values: Values = field(default_factory=dict)


def describe(
    buffer: Buffer,
    transfer_syntax_uid: str,
    levels: Mapping[str, str],
    limits: Limits = DEFAULT_LIMITS,
    really: str = "",
) -> Description:
    """Return everything a data set says, bulk data left out; never raises for its content.

    Args:
        buffer: the data set: bytes, or a view of a mapped file.
        levels: which attributes the mapping needs: their level by keyword, or by
            ``ggggxxee:CREATOR`` for private ones.
        really: character set that the site knows the sender to use, or nothing.
    """
    remarks, collected = Remarks(), _Collected()
    try:
        data_set, encoding = open_data_set(buffer, transfer_syntax_uid, limits)
        if encoding is not encoding_of(transfer_syntax_uid):
            remarks.add("other_encoding")
        reader = ItemReader(data_set, limits, remarks, really)
        _read(data_set, encoding, limits, collected, remarks, reader)
    except InvalidDataSet:
        remarks.add("incomplete", severity=Severity.ERROR)
    json = _within_size(collected.json, remarks)
    shared, instance = by_level(collected.values, levels)
    return Description(json, shared, instance, _with_uid(remarks, json))


def _read(
    data_set: Buffer,
    encoding: Encoding,
    limits: Limits,
    collected: _Collected,
    remarks: Remarks,
    reader: ItemReader,
) -> None:
    """Read all elements of the top level, those that govern the others first."""
    governing: dict[int, Node] = {}  # the last of each, since there may be millions
    with contextlib.suppress(InvalidDataSet):  # met again below, where the rest is kept
        for element in walk(data_set, encoding, limits, _SCOPE):
            governing[element.tag] = Node(element)
    scope = reader.scope(governing.values(), reader.outermost)
    last = -1
    for node in nodes(walk(data_set, encoding, limits)):
        tag = node.element.tag
        if tag <= last:
            remarks.add("out_of_order" if tag < last else "repeated")
        last = max(tag, last)
        reader.place(node, scope, collected.json, collected.values)
        if tag == PER_FRAME_TAG and node.cut:
            _read_frames(walk(data_set, encoding, limits), reader, scope, collected.values)


def _read_frames(
    elements: Iterator[Element], reader: ItemReader, scope: Scope, values: Values
) -> None:
    """Read of too many functional groups what the mapping needs of them."""
    for node in nodes(anatomy_alone(elements)):
        reader.place(node, scope, {}, values)


def _within_size(json: Json, remarks: Remarks) -> Json:
    """Leave out the largest values of a header that is too large as a whole."""
    total = len(orjson.dumps(json))
    if total <= MAX_JSON_BYTES:
        return json
    sizes = sorted(((len(orjson.dumps(value)), tag) for tag, value in json.items()), reverse=True)
    dropped = set()
    for size, tag in sizes:
        if total <= MAX_JSON_BYTES:
            break
        total -= size
        dropped.add(tag)
        remarks.add("too_large", int(tag, 16))
    return {tag: value for tag, value in json.items() if tag not in dropped}


def by_level(values: Values, levels: Mapping[str, str]) -> tuple[Values, Values]:
    """Return the shared and the own values among those that ``levels`` names."""
    values = with_frame_anatomy(values)
    shared: Values = {}
    instance: Values = {}
    for keyword, level in levels.items():
        value = values.get(_canonical(keyword))
        if value is not None:
            (instance if level == INSTANCE else shared)[keyword] = value
    return shared, instance


def _canonical(keyword: str) -> str:
    """Return a private key as ``dicom_json`` writes it, whatever case its digits have."""
    digits, colon, creator = keyword.partition(":")
    return f"{digits.lower()}:{creator}" if colon else keyword


def _with_uid(remarks: Remarks, json: Json) -> tuple[Finding, ...]:
    uid = next(iter(json.get("00080018", {}).get("Value", ())), "")
    return tuple(replace(finding, uid=str(uid)[:64]) for finding in remarks.findings)
