"""Which media type and transfer syntax an answer has (PS3.18 8.7)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from starlette.exceptions import HTTPException
from starlette.requests import Request

from intu_fhir.stage.encodings import EXPLICIT_LITTLE_ENDIAN

DICOM, OCTETS, MULTIPART = "application/dicom", "application/octet-stream", "multipart/related"
_JSON = frozenset({"application/dicom+json", "application/json", "application/*", "*/*"})
_ANY = frozenset({"*/*", "application/*"})
_MAX_TYPES = 50
_BLANK = re.compile(r"(?<=\w) (?=\w)")

_JPEG = "1.2.840.10008.1.2.4."
STORED_AS: Mapping[str, str] = {
    **{f"{_JPEG}{number}": "image/jpeg" for number in (50, 51, 57, 70)},
    **{f"{_JPEG}{number}": "image/jls" for number in (80, 81)},
    **{f"{_JPEG}{number}": "image/jp2" for number in (90, 91)},
    **{f"{_JPEG}{number}": "image/jpx" for number in (92, 93)},
    **{f"{_JPEG}{number}": "video/mpeg" for number in (100, 101)},
    **{f"{_JPEG}{number}": "video/mp4" for number in (102, 103, 104, 105, 106, 107, 108)},
    **{f"{_JPEG}{number}": "image/jxl" for number in (110, 111, 112)},
    **{f"{_JPEG}{number}": "image/jphc" for number in (201, 202, 203)},
    "1.2.840.10008.1.2.5": "image/dicom-rle",
}
"""Media type of frames that are compressed as they are stored (PS3.18 Table 8.7.3-5)."""


@dataclass(frozen=True, slots=True)
class Accepted:
    """One media type that the other side takes.

    Args:
        kind: in small letters; of a multipart, that of its parts.
        syntax: transfer syntax; empty where none is named.
        weight: 0 to 1, the larger the better.
    """

    kind: str
    is_multipart: bool = False
    syntax: str = ""
    weight: float = 1.0

    def takes(self, syntax: str) -> bool:
        """Say whether a transfer syntax is taken; who names none takes what there is."""
        return self.syntax in {"", "*", syntax}


def accepted(request: Request) -> list[Accepted]:
    """Return what is accepted, the best first; the parameter goes before the header (8.3.3.1)."""
    # A `+` that stands as it is in an address is read as a blank, which no media type has.
    asked = [_BLANK.sub("+", text) for text in request.query_params.getlist("accept")]
    texts = asked or request.headers.getlist("accept")
    named = [_one(part) for text in texts for part in _split(text, ",") if part.strip()]
    taken = [one for one in named[:_MAX_TYPES] if one.weight > 0]
    return sorted(taken, key=lambda one: -one.weight) if named else [Accepted("*/*")]


def _split(text: str, at: str) -> Iterator[str]:
    """Split a header where a sign stands outside of quotes."""
    begin, quoted = 0, False
    for place, sign in enumerate(text):
        if sign == '"':
            quoted = not quoted
        elif sign == at and not quoted:
            yield text[begin:place]
            begin = place + 1
    yield text[begin:]


def _one(text: str) -> Accepted:
    kind, *rest = [part.strip() for part in _split(text, ";")]
    pairs = (part.partition("=") for part in rest)
    parameters = {name.strip().lower(): value.strip().strip('"') for name, _, value in pairs}
    is_multipart = kind.lower() == MULTIPART
    inner = parameters.get("type", "*/*") if is_multipart else kind
    try:
        weight = float(parameters.get("q", "1"))
    except ValueError:
        weight = 1.0
    return Accepted(inner.lower(), is_multipart, parameters.get("transfer-syntax", ""), weight)


def requires_json(request: Request) -> None:
    """See that the answer may be in JSON.

    Raises:
        HTTPException: it may not; we have no other form.
    """
    if not any(one.kind in _JSON for one in accepted(request)):
        raise HTTPException(406, "there is application/dicom+json here, and nothing else")


def takes_instances(wanted: Sequence[Accepted], syntax: str) -> bool:
    """Say whether DICOM files of a transfer syntax are taken."""
    return any(one.kind in {DICOM, *_ANY} and one.takes(syntax) for one in wanted)


def wants_single(wanted: Sequence[Accepted]) -> bool:
    """Say whether a bare DICOM file is preferred to a multipart."""
    first = next((one for one in wanted if one.kind in {DICOM, *_ANY}), None)
    return first is not None and first.kind == DICOM and not first.is_multipart


@dataclass(frozen=True, slots=True)
class Form:
    """How frames or other bulk data are given.

    Args:
        how: ``native`` bytes in little endian order, compressed as ``stored``, or ``decoded``.
        content_type: of each part.
    """

    how: Literal["native", "stored", "decoded"]
    content_type: str
    is_multipart: bool = True


def form_of_frames(
    wanted: Sequence[Accepted], syntax: str, *, is_encapsulated: bool
) -> Form | None:
    """Return how frames are given, or None where no accepted form can be made."""
    for one in wanted:
        form = _encapsulated(one, syntax) if is_encapsulated else _native(one)
        if form is not None:
            is_single = not one.is_multipart and one.kind != "*/*"
            return Form(form.how, form.content_type, is_multipart=not is_single)
    return None


def _native(one: Accepted) -> Form | None:
    if one.kind in {OCTETS, *_ANY} and one.takes(EXPLICIT_LITTLE_ENDIAN):
        return Form("native", with_syntax(OCTETS, EXPLICIT_LITTLE_ENDIAN))
    return None


def _encapsulated(one: Accepted, syntax: str) -> Form | None:
    stored = STORED_AS.get(syntax, OCTETS)
    if one.kind == OCTETS:
        if one.syntax in {"*", syntax}:
            return Form("stored", with_syntax(OCTETS, syntax))
        is_taken = one.takes(EXPLICIT_LITTLE_ENDIAN)
        return Form("decoded", with_syntax(OCTETS, EXPLICIT_LITTLE_ENDIAN)) if is_taken else None
    kinds = {stored, "*/*", stored.partition("/")[0] + "/*"}
    is_taken = one.kind in kinds and one.takes(syntax)
    return Form("stored", with_syntax(stored, syntax)) if is_taken else None


def with_syntax(kind: str, syntax: str) -> str:
    """Return a media type with its transfer syntax."""
    return f"{kind}; transfer-syntax={syntax}"
