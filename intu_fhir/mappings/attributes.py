"""Which attributes are staged for the mapping, and how those of several headers become one."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, Literal, TypeAlias, get_args

from pydicom.datadict import tag_for_keyword

from intu_fhir.settings.data import data_folder
from intu_fhir.settings.yaml_lines import Document, load_with_lines

Level: TypeAlias = Literal["patient", "study", "series", "instance"]

LEVELS: Final[tuple[Level, ...]] = get_args(Level)
_SECTIONS = (*LEVELS, "together", "collected")
_PRIVATE = re.compile(r"[0-9a-f]{3}[13579bdf]xx[0-9a-f]{2}:[ -~]{1,64}")


@dataclass(frozen=True, slots=True)
class Attributes:
    """The staged attributes.

    Args:
        levels: level by DICOM keyword, or by ``ggggxxee:CREATOR``.
        together: by ``study`` and ``series``: keywords whose values come from one header.
        collected: keywords of which every distinct value counts, so that none is a conflict.
    """

    levels: Mapping[str, Level]
    together: Mapping[str, tuple[tuple[str, ...], ...]]
    collected: frozenset[str]


def staged_attributes() -> Mapping[str, Level]:
    """Return the shipped staged attributes with their levels.

    Raises:
        ConfigurationError: the installation lacks its files, or they are damaged.
    """
    return shipped_attributes().levels


@cache
def shipped_attributes() -> Attributes:
    """Return ``attributes.yaml`` of this installation, read once."""
    return load_attributes(data_folder("mappings") / "attributes.yaml")


def attributes_at(levels: Mapping[str, Level]) -> Attributes:
    """Return the attributes of a site, whose mappings say the levels of those that it added."""
    shipped = shipped_attributes()
    return Attributes(levels, shipped.together, shipped.collected)


def levels_digest(levels: Mapping[str, Level]) -> str:
    """Return what tells one list of staged attributes from another, as 16 hex digits."""
    content = "\n".join(f"{key}={level}" for key, level in sorted(levels.items()))
    return hashlib.sha256(content.encode()).hexdigest()[:16]


def load_attributes(path: Path) -> Attributes:
    """Read a file of staged attributes.

    Raises:
        ConfigurationError: a key, keyword or level is unknown or stands there twice.
    """
    document = load_with_lines(path)
    for key in document.value:
        if key not in _SECTIONS:
            raise document.mistake(f"unknown key; allowed are {', '.join(_SECTIONS)}", key)
    levels: dict[str, Level] = {}
    for level in LEVELS:
        for at, attribute in enumerate(_list(document, document.value.get(level), level)):
            if attribute in levels:
                raise document.mistake(f"{attribute} stands here twice; keep one", level, at)
            levels[check_attribute(document, attribute, level, at)] = level
    together = document.value.get("together") or {}
    return Attributes(
        levels=MappingProxyType(levels),
        together=MappingProxyType({level: _groups(document, together, level) for level in LEVELS}),
        collected=frozenset(_list(document, document.value.get("collected"), "collected")),
    )


def check_attribute(document: Document, attribute: Any, *location: str | int) -> str:
    """Return an attribute as staged: a DICOM keyword or a private key in lower case.

    Raises:
        ConfigurationError: it is neither.
    """
    if isinstance(attribute, str):
        digits, colon, creator = attribute.partition(":")
        key = f"{digits.lower()}:{creator}" if colon else attribute
        if _PRIVATE.fullmatch(key) or tag_for_keyword(key) is not None:
            return key
    raise document.mistake(
        f"{attribute!r} is not a DICOM keyword; write one such as StudyDescription, or a private "
        'attribute as "0019xx10:NAME OF ITS CREATOR"',
        *location,
    )


def _list(document: Document, value: Any, *location: str | int) -> list[str]:
    if not isinstance(value, list | None):
        raise document.mistake("must be a list of DICOM keywords", *location)
    return [check_attribute(document, item, *location, at) for at, item in enumerate(value or [])]


def _groups(document: Document, together: Any, level: str) -> tuple[tuple[str, ...], ...]:
    groups = together.get(level) or [] if isinstance(together, dict) else None
    if not isinstance(groups, list):
        raise document.mistake("must hold lists of DICOM keywords by level", "together")
    return tuple(
        tuple(_list(document, group, "together", level, at)) for at, group in enumerate(groups)
    )
