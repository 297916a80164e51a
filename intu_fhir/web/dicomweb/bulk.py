"""Finds the value that an address of bulk data names, by the path that the header has (F.2.2)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from intu_fhir.errors import InvalidDataSet
from intu_fhir.stage.elements import PIXEL_DATA, UNDEFINED, Element, is_walked, walk, walk_items
from intu_fhir.stage.encodings import Limits
from intu_fhir.stage.tree import Node, items_below, nodes
from intu_fhir.web.dicomweb.pixels import Opened

_PATH = re.compile(r"[0-9A-F]{8}(?:/\d{1,7}/[0-9A-F]{8}){0,63}", re.ASCII)
_WORDS = {b"OW": 2, b"US": 2, b"SS": 2, b"AT": 2, b"OF": 4, b"OL": 4, b"UL": 4, b"SL": 4}
_LONG_WORDS = {b"FL": 4, b"FD": 8, b"OD": 8, b"OV": 8, b"SV": 8, b"UV": 8}


@dataclass(frozen=True, slots=True)
class BulkValue:
    """Where a value stands in its data set.

    Args:
        word: bytes that stand in big endian order together; 1 = none.
    """

    offset: int
    length: int
    is_encapsulated: bool
    word: int


def find_bulk(opened: Opened, path: str, limits: Limits) -> BulkValue | None:
    """Return the value of a path of tags and item numbers, or None where there is none.

    Raises:
        InvalidDataSet: the data set ends before it.
    """
    if not _PATH.fullmatch(path):
        return None
    tags = [int(tag, 16) for tag in path.split("/")[::2]]
    items = [int(number) for number in path.split("/")[1::2]]
    for node in nodes(walk(opened.data_set, opened.encoding, limits)):
        if node.element.tag == tags[0]:
            element = _inside(opened, node, tags[1:], items, limits)
            return None if element is None or _has_items(element) else _value(element)
    return None


def _inside(
    opened: Opened, node: Node, tags: Sequence[int], items: Sequence[int], limits: Limits
) -> Element | None:
    for tag, number in zip(tags, items, strict=True):
        below = node.items or _unwalked(opened, node.element, limits)
        item = below[number - 1] if 1 <= number <= len(below) else []
        found = next((one for one in item if one.element.tag == tag), None)
        if found is None:
            return None
        node = found
    return node.element


def _unwalked(opened: Opened, element: Element, limits: Limits) -> list[list[Node]]:
    """Return the items of a sequence that is not written as one."""
    if is_walked(element) or element.length == UNDEFINED:
        return []
    try:
        below = walk_items(opened.data_set, element, limits)
        return items_below(Node(element), below).items
    except InvalidDataSet:
        return []


def _has_items(element: Element) -> bool:
    """Say whether it is a sequence, which has no value of its own; fragments are one."""
    return is_walked(element) and element.tag != PIXEL_DATA


def _value(element: Element) -> BulkValue:
    word = 1 if element.little else {**_WORDS, **_LONG_WORDS}.get(element.vr, 1)
    is_encapsulated = element.length == UNDEFINED
    return BulkValue(element.offset, element.length, is_encapsulated, word)
