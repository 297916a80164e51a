"""What the parameters of a search ask for (PS3.18 8.3.4); nothing else is read from the address."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from pydicom.datadict import tag_for_keyword

from intu_fhir.db.image_keys import Kind
from intu_fhir.db.image_query import Level, keys_of
from intu_fhir.model.uid import is_uid
from intu_fhir.stage.dictionary import keyword_of

MAX_PARAMETERS = 100
MAX_VALUE = 1_024
MAX_UIDS = 200
MAX_OFFSET = 100_000

_TAG = re.compile(r"[0-9A-Fa-f]{8}", re.ASCII)
_FORMS: Mapping[Kind, re.Pattern[str]] = {
    "date": re.compile(r"\d{8}|\d{8}-|-\d{8}|\d{8}-\d{8}", re.ASCII),
    "time": re.compile(r"(?:{0}|{0}-|-{0}|{0}-{0})".format(r"\d{2}(?:\d\d){0,2}(?:\.\d{1,6})?")),
    "number": re.compile(r"-?\d{1,12}", re.ASCII),
}
_WORDS = ("accept", "charset", "limit", "offset", "includefield")
_SWITCHES = ("fuzzymatching", "emptyvaluematching", "multiplevaluematching")


class BadSearch(ValueError):
    """A parameter is not what it has to be; the message names it and never its value."""


@dataclass(frozen=True, slots=True)
class Search:
    """What is asked for.

    Args:
        keys: keyword and value of each key that can be matched.
        include: tags to be returned beside the usual ones, as eight digits.
        everything: return all attributes of the level.
        limit: None = as many as the site allows.
        warnings: what was asked for and is not done, in the words of the standard where it has any.
    """

    keys: tuple[tuple[str, str], ...] = ()
    include: frozenset[str] = frozenset()
    everything: bool = False
    limit: int | None = None
    offset: int = 0
    warnings: tuple[str, ...] = ()


@dataclass
class _Reading:
    keys: dict[str, str] = field(default_factory=dict)
    include: set[str] = field(default_factory=set)
    everything: bool = False
    numbers: dict[str, int] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    unsupported: list[str] = field(default_factory=list)
    unknown: int = 0


def search_of(parameters: Sequence[tuple[str, str]], level: Level) -> Search:
    """Return what the parameters of an address ask for.

    Raises:
        BadSearch: one of them is not what it has to be.
    """
    if len(parameters) > MAX_PARAMETERS:
        raise BadSearch(f"more than {MAX_PARAMETERS} parameters")
    read = _Reading()
    for name, value in parameters:
        _take(read, name, value, level)
    if read.unsupported:
        names = ", ".join(read.unsupported)
        read.warnings.append(f"These keys are not supported here and were not matched: {names}.")
    if read.unknown:
        # Not by name: that may be anything, and what stands in a header has to be chosen by us.
        read.warnings.append(
            f"Parameters that nobody knows here, and were ignored: {read.unknown}."
        )
    return Search(
        keys=tuple(read.keys.items()),
        include=frozenset(read.include),
        everything=read.everything,
        limit=read.numbers.get("limit"),
        offset=read.numbers.get("offset", 0),
        warnings=tuple(read.warnings),
    )


def _take(read: _Reading, name: str, value: str, level: Level) -> None:
    if not _is_known(name):
        read.unknown += 1  # as if it were not there (PS3.18 8.3)
        return
    if len(value) > MAX_VALUE or "\0" in value:
        raise BadSearch(f"a value is longer than {MAX_VALUE} characters, or holds a zero byte")
    if name == "accept":
        return  # read with the header of that name
    if name == "charset":
        _require_utf8(value)
    elif name in {"limit", "offset"}:
        read.numbers[name] = _number(name, value)
    elif name == "includefield":
        _include(read, value)
    elif name in _SWITCHES:
        read.warnings += _switch(name, value)
    else:
        _match(read, name, value, level)


def _is_known(name: str) -> bool:
    """Say whether a parameter is one of PS3.18, or an attribute of DICOM."""
    if name in _WORDS or name in _SWITCHES:
        return True
    return all(_TAG.fullmatch(one) or tag_for_keyword(one) for one in name.split("."))


def _require_utf8(value: str) -> None:
    """See that the only character set of our answers is among those that are taken (8.3.3.2)."""
    named = {one.partition(";")[0].strip().lower() for one in value.split(",")}
    if "utf-8" not in named:
        raise BadSearch("charset is not utf-8")


def _number(name: str, value: str) -> int:
    if not (value.isascii() and value.isdigit() and len(value) <= 9):
        raise BadSearch(f"{name} is no number")
    if name == "offset" and int(value) > MAX_OFFSET:
        raise BadSearch(f"offset is larger than {MAX_OFFSET}; narrow the search instead")
    return int(value)


def _include(read: _Reading, value: str) -> None:
    for one in value.split(","):
        if one.strip().lower() == "all":
            read.everything = True
        elif one.strip():
            tag, _ = _attribute(one.strip())
            read.include.add(tag)


def _switch(name: str, value: str) -> Iterator[str]:
    if value not in {"true", "false"}:
        raise BadSearch(f"{name} is neither true nor false")
    if value == "true" and name == "fuzzymatching":
        # PS3.18 8.3.4.2 has this sentence.
        yield (
            "The fuzzymatching parameter is not supported. "
            "Only literal matching has been performed."
        )
    elif value == "true":
        yield f"The {name} parameter is not supported."


def _match(read: _Reading, name: str, value: str, level: Level) -> None:
    tag, keyword = _attribute(name)
    if keyword in read.keys:
        raise BadSearch(f"{keyword} stands there twice")
    kind = keys_of(level).get(keyword)
    if value in {"", "*"}:
        read.include.add(tag)  # universal matching: whatever it is, return it (PS3.4 C.2.2.2.3)
    elif kind is None:
        read.unsupported.append(keyword or tag)
    else:
        _check(keyword, kind, value)
        read.keys[keyword] = value
        read.include.add(tag)


def _attribute(name: str) -> tuple[str, str]:
    """Return the tag of the first level, and the keywords with dots between them."""
    parts = [_part(part) for part in name.split(".")]
    return parts[0][0], ".".join(keyword for _, keyword in parts)


def _part(name: str) -> tuple[str, str]:
    if _TAG.fullmatch(name):
        return name.upper(), keyword_of(int(name, 16))
    tag = tag_for_keyword(name)
    if tag is None:
        raise BadSearch("a parameter is neither one of PS3.18 nor an attribute of DICOM")
    return f"{int(tag):08X}", name


def _check(keyword: str, kind: Kind, value: str) -> None:
    if kind == "uid":
        uids = value.replace(",", "\\").split("\\")
        if len(uids) > MAX_UIDS or not all(map(is_uid, uids)):
            raise BadSearch(f"{keyword} is no list of up to {MAX_UIDS} UIDs")
    elif (form := _FORMS.get(kind)) is not None and not form.fullmatch(value):
        raise BadSearch(f"{keyword} is no {kind}, nor a range where there can be one")
