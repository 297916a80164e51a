"""Elements as the DICOM JSON model has them (PS3.18 annex F) and as raw staged values."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from intu_fhir.errors import InvalidDataSet
from intu_fhir.model.values import Value, Values
from intu_fhir.stage.charsets import UNDECLARED, Charset, charset_of
from intu_fhir.stage.decoded import WORDS, decode_value
from intu_fhir.stage.dictionary import is_private, is_private_creator, keyword_of, vr_of
from intu_fhir.stage.elements import (
    KNOWN_VRS,
    PIXEL_DATA,
    UNDEFINED,
    Element,
    is_walked,
    walk_items,
)
from intu_fhir.stage.encodings import Buffer, Limits
from intu_fhir.stage.remarks import Remarks
from intu_fhir.stage.tree import Node, items_below

MAX_INLINE_BYTES = 1_024
MAX_TEXT_BYTES = 65_536
MAX_TOTAL_BYTES = 16_000_000
"""Bytes of values read of one data set; four times what is staged of it in the end."""

_SPECIFIC_CHARACTER_SET = 0x00080005
_PIXEL_REPRESENTATION = 0x00280103
_TRAILING_PADDING = 0xFFFCFFFC
# PS3.18 F.2.2 has no bulk data for these, so a longer value is left out.
_NEVER_BULK = frozenset({"AE", "AS", "AT", "CS", "DA", "DT", "LO", "PN", "SH", "TM", "UI", "SQ"})
_KNOWN = frozenset(vr.decode("ascii") for vr in KNOWN_VRS)
_BINARY = frozenset(WORDS) | {"US", "SS", "UL", "SL", "UV", "SV", "FL", "FD", "AT"}
# VRs that depend on the context, where it decides nothing (PS3.5 A.1, PS3.3 C.7.6.3).
_AMBIGUOUS = {"OB or OW": "OW", "US or OW": "OW", "US or SS or OW": "OW"}

Json: TypeAlias = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Scope:
    """What governs the elements of one data set or item.

    Args:
        signed: pixel representation, which decides between US and SS.
        creators: private creators by group and block, filled in while reading.
        path: of the item, for references to its bulk data.
        depth: sequences around it.
    """

    charset: Charset = UNDECLARED
    signed: bool = False
    creators: dict[int, str] = field(default_factory=dict)
    path: str = "tag"
    depth: int = 0


class ItemReader:
    """Reads nodes of one data set.

    Args:
        really: character set that the site knows the sender to use, or nothing.
    """

    def __init__(
        self, data_set: Buffer, limits: Limits, remarks: Remarks, really: str = ""
    ) -> None:
        self._data_set, self._limits, self._remarks = data_set, limits, remarks
        self._really = really
        self._left = MAX_TOTAL_BYTES

    @property
    def outermost(self) -> Scope:
        """What governs a data set that declares nothing."""
        return Scope(charset_of("", self._really))

    def scope(self, item: Iterable[Node], parent: Scope, path: str = "tag") -> Scope:
        """Return the scope of an item: its own character set, else that around it."""
        charset, signed = parent.charset, parent.signed
        for node in item:
            element = node.element
            if element.tag == _SPECIFIC_CHARACTER_SET:
                declared = decode_value("CS", self._bytes(element), little=True, charset=UNDECLARED)
                charset = charset_of(declared.raw or "", self._really)
                if charset.unknown:
                    self._remarks.add("unknown_character_set", element.tag)
            elif element.tag == _PIXEL_REPRESENTATION:
                signed = any(self._bytes(element)[:2])
        return Scope(charset, signed, path=path, depth=parent.depth + 1)

    def place(self, node: Node, scope: Scope, json: Json, values: Values) -> None:
        """Add one element to an item under its tag and under its keyword."""
        tag = node.element.tag
        if tag & 0xFFFF == 0 or tag == _TRAILING_PADDING:
            return
        creator = scope.creators.get(tag >> 8, "") if is_private(tag) else ""
        vr = self._vr(node, creator, scope)
        entry, value = self._entry(node, vr, scope)
        if entry is not None:
            json[f"{tag:08X}"] = entry
        if is_private_creator(tag) and isinstance(value, str):
            # Elements of this block have its number in the third byte of their tags.
            scope.creators[tag >> 16 << 8 | tag & 0xFF] = value
        key = f"{tag >> 16:04x}xx{tag & 0xFF:02x}:{creator}" if creator else keyword_of(tag)
        if key and value:
            values[key] = value

    def _vr(self, node: Node, creator: str, scope: Scope) -> str:
        """Return the VR as written, or as the dictionary has it."""
        written = node.element.vr.decode("ascii")
        if written not in {"", "UN"}:
            return written if written in _KNOWN else "UN"
        known = vr_of(node.element.tag, creator)
        if node.items:
            return "SQ"
        if known == "US or SS":
            return "SS" if scope.signed else "US"
        if known == "OB or OW" and node.element.length == UNDEFINED:
            return "OB"
        return _AMBIGUOUS.get(known, known)

    def _entry(self, node: Node, vr: str, scope: Scope) -> tuple[Json | None, Value | None]:
        """Return what stands under the tag, and the raw value if it is staged by keyword."""
        element = node.element
        if node.cut:
            self._remarks.add("too_large", element.tag)
            return None, None
        if vr == "SQ":
            return self._sequence(node, scope)
        return self._unread(vr, element, scope)

    def _unread(self, vr: str, element: Element, scope: Scope) -> tuple[Json | None, Value | None]:
        if element.tag == PIXEL_DATA or element.length == UNDEFINED:
            return self._bulk(vr, element, scope), None
        most = MAX_INLINE_BYTES if vr in _BINARY else MAX_TEXT_BYTES
        if element.length > min(most, self._left):
            return self._large(vr, element, scope), None
        self._left -= element.length
        return self._plain(vr, element, scope)

    def _large(self, vr: str, element: Element, scope: Scope) -> Json | None:
        if vr not in _BINARY:
            self._remarks.add("too_large", element.tag)
        return None if vr in _NEVER_BULK else self._bulk(vr, element, scope)

    def _bulk(self, vr: str, element: Element, scope: Scope) -> Json:
        return {"vr": vr, "BulkDataURI": f"{scope.path}/{element.tag:08X}"}

    def _plain(self, vr: str, element: Element, scope: Scope) -> tuple[Json, str | None]:
        decoded = decode_value(
            vr, self._bytes(element), little=element.little, charset=scope.charset
        )
        if decoded.problem:
            self._remarks.add(decoded.problem, element.tag)
        entry: Json = {"vr": vr}
        if decoded.binary:
            entry["InlineBinary"] = base64.b64encode(decoded.binary).decode("ascii")
        elif decoded.values:
            entry["Value"] = decoded.values
        return entry, decoded.raw

    def _sequence(self, node: Node, scope: Scope) -> tuple[Json | None, Value | None]:
        try:
            items = node.items or self._unwalked_items(node.element, scope)
        except InvalidDataSet:
            return self._unread("UN", node.element, scope)
        entry: Json = {"vr": "SQ"}
        path = f"{scope.path}/{node.element.tag:08X}"
        read = [self._item(item, scope, f"{path}/{n}") for n, item in enumerate(items, 1)]
        if read:
            entry["Value"] = [json for json, _ in read]
        return entry, [values for _, values in read]

    def _unwalked_items(self, element: Element, scope: Scope) -> list[list[Node]]:
        """Return the items of a sequence that only the dictionary knows to be one.

        Raises:
            InvalidDataSet: it is none, or nested too deeply.
        """
        if is_walked(element):
            return []
        if scope.depth >= self._limits.max_nesting:
            raise InvalidDataSet("Sequences are nested too deeply")
        below = walk_items(self._data_set, element, self._limits)
        return items_below(Node(element), below).items

    def _item(self, item: list[Node], parent: Scope, path: str) -> tuple[Json, Values]:
        scope = self.scope(item, parent, path)
        json: Json = {}
        values: Values = {}
        for node in item:
            self.place(node, scope, json, values)
        return json, values

    def _bytes(self, element: Element) -> bytes:
        length = 0 if element.length == UNDEFINED else element.length
        return bytes(self._data_set[element.offset : element.offset + length])
