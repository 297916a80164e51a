"""The code tables of a mapping: CSV files that a site reads and adds to."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final, TypeVar

from pydicom.sr import _snomed_dict

from intu_fhir.errors import ConfigurationError

T = TypeVar("T")

ACQUISITION: Final = "acquisition"
MAX_BYTES: Final = 20_000_000

_SETS = (ACQUISITION, "other", "retired")
_SRT_TO_SCT: Mapping[str, str] = _snomed_dict.mapping["SRT"]


@dataclass(frozen=True, slots=True)
class ModalityTerm:
    """What a term of Modality (0008,0060) becomes.

    Args:
        set: ``acquisition`` (PS3.16 CID 29), ``other`` (CID 32) or ``retired``.
    """

    code: str
    display: str
    set: str


@dataclass(frozen=True, slots=True)
class BodySite:
    """A SNOMED CT code for a body part; without one there is only its meaning."""

    code: str
    meaning: str


@dataclass(frozen=True, slots=True)
class Spelling:
    """A term of PS3.16 annex L for a spelling met in practice; no term = it says nothing."""

    term: str
    laterality: str


@dataclass(frozen=True, slots=True)
class CodingScheme:
    """A coding scheme; codes of one that names a translation are translated before use."""

    uri: str
    translate: str

    def code(self, code: str) -> str:
        """Return the code as the scheme's URI has it, or nothing where it is not known there.

        Some senders renamed SRT to SCT, or the reverse, and left the codes: those of SNOMED CT are
        numbers, those of SRT never.
        """
        if self.translate != "srt" or (code.isascii() and code.isdigit()):
            return code
        return _SRT_TO_SCT.get(code, "")


@dataclass(frozen=True, slots=True)
class Code:
    """One row of a site's own table."""

    system: str
    code: str
    display: str


@dataclass(frozen=True, eq=False)
class Tables:
    """All code tables of one mapping."""

    modalities: Mapping[str, ModalityTerm]
    sop_classes: Mapping[str, str]
    body_sites: Mapping[str, BodySite]
    body_site_spellings: Mapping[str, Spelling]
    coding_schemes: Mapping[str, CodingScheme]

    def modality_of(self, sop_class_uid: str) -> str:
        """Return the modality that objects of a SOP class have, or ``""``."""
        exact = self.sop_classes.get(sop_class_uid)
        if exact is not None:
            return exact
        parts = sop_class_uid.split(".")
        wider = (".".join([*parts[:length], "*"]) for length in range(len(parts) - 1, 0, -1))
        return next((self.sop_classes[key] for key in wider if key in self.sop_classes), "")

    def spelling(self, value: str) -> Spelling:
        """Return what a value of Body Part Examined means, by the table of spellings."""
        key = " ".join(value.upper().split())
        found = self.body_site_spellings.get(key)
        if found is not None:
            return found
        plain = key.translate(_NO_GAPS)
        return Spelling(key if key in self.body_sites else plain, "")

    def body_site(self, value: str) -> BodySite | None:
        """Return the body part that a value means (PS3.16 annex L), or None."""
        return self.body_sites.get(self.spelling(value).term)


_NO_GAPS = str.maketrans("", "", " -_")


def load_tables(folder: Path, own: Mapping[str, Path]) -> Tables:
    """Read the shipped tables, each with the rows of a site's own table put over it.

    Args:
        own: path by table name, such as ``modalities``.

    Raises:
        ConfigurationError: a file or a row is wrong; file and line are named.
    """

    def rows(name: str) -> Mapping[str, list[str]]:
        shipped = folder / f"{name}.csv"
        capitals = name in _CAPITALS
        found = read_table(shipped, COLUMNS[name], capitals=capitals)
        if name in own:
            found |= read_table(own[name], COLUMNS[name], capitals=capitals)
        return found

    sites, spellings = rows("body_sites"), rows("body_site_spellings")
    _require_terms(own.get("body_site_spellings"), spellings, sites)
    return Tables(
        modalities=_frozen(rows("modalities"), lambda cells: ModalityTerm(*cells)),
        sop_classes=_frozen(rows("sop_classes"), lambda cells: cells[0]),
        body_sites=_frozen(sites, lambda cells: BodySite(*cells)),
        body_site_spellings=_frozen(spellings, lambda cells: Spelling(cells[0].upper(), cells[1])),
        coding_schemes=_frozen(rows("coding_schemes"), lambda cells: CodingScheme(*cells)),
    )


def load_codes(path: Path) -> Mapping[str, Code]:
    """Read a site's own table for the converter ``table``; values are matched in upper case.

    Raises:
        ConfigurationError: the file or a row is wrong; file and line are named.
    """
    rows = read_table(path, ("value", "system", "code", "display"), capitals=True)
    return MappingProxyType({key: Code(*cells) for key, cells in rows.items()})


def _require_terms(
    own: Path | None, spellings: Mapping[str, list[str]], sites: Mapping[str, list[str]]
) -> None:
    """Refuse a spelling of a term that no table of body sites has: it would say nothing."""
    for spelling, (term, _) in spellings.items():
        if own is not None and term and term.upper() not in sites:
            raise ConfigurationError(
                f"{spelling}: {term} is no term of body_sites.csv; correct it, or add it under "
                "`tables: {body_sites: ...}`",
                file=str(own),
            )


COLUMNS: Mapping[str, tuple[str, ...]] = {
    "modalities": ("term", "code", "display", "set"),
    "sop_classes": ("sop_class", "modality", "name"),
    "body_sites": ("term", "code", "meaning"),
    "body_site_spellings": ("spelling", "term", "laterality"),
    "coding_schemes": ("designator", "uri", "translate"),
}
"""Columns of each table; the first one is what is looked up."""

_CAPITALS = frozenset({"modalities", "body_sites", "body_site_spellings"})
_NEEDED: Mapping[tuple[str, ...], tuple[str, ...]] = {
    ("value", "system", "code", "display"): ("system", "code"),
    COLUMNS["modalities"]: ("code",),
    COLUMNS["coding_schemes"]: ("uri",),
}
"""Columns without which a row would make a code that FHIR does not take, by all its columns."""

_URIS = frozenset({"system", "uri"})
_URI = re.compile(r"(?:https?://|urn:)[!-~]+")
_ALLOWED: Mapping[str, tuple[str, ...]] = {
    "set": _SETS,
    "laterality": ("", "L", "R", "B"),
    "translate": ("", "srt"),
}


def _frozen(rows: Mapping[str, list[str]], make: Callable[[list[str]], T]) -> Mapping[str, T]:
    return MappingProxyType({key: make(cells) for key, cells in rows.items()})


def term_of(value: str) -> str:
    """Return a value as tables have their terms: in capitals, one blank between two words."""
    return " ".join(value.upper().split())


def read_table(
    path: Path, columns: tuple[str, ...], *, capitals: bool = False
) -> dict[str, list[str]]:
    """Return the cells of each row by its first one.

    Args:
        capitals: terms are looked up in capitals, so however they are written here.

    Raises:
        ConfigurationError: the file cannot be read, or its columns or a row are wrong.
    """
    table: dict[str, list[str]] = {}
    for line, cells in _rows(path, columns):
        key, *others = cells
        key = term_of(key) if capitals else key
        problem = _problem(key, cells, columns, table)
        if problem:
            raise ConfigurationError(problem, file=str(path), line=line)
        table[key] = others
    return table


def _rows(path: Path, columns: tuple[str, ...]) -> Iterator[tuple[int, list[str]]]:
    reader = csv.reader(_text(path).splitlines())
    try:
        for cells in reader:
            stripped = [cell.strip() for cell in cells]
            if reader.line_num == 1 and tuple(stripped) != columns:
                raise ConfigurationError(
                    f"the first line must be {','.join(columns)}", file=str(path), line=1
                )
            if reader.line_num > 1 and any(stripped):
                yield reader.line_num, stripped
    except csv.Error as error:
        raise ConfigurationError(
            f"not valid CSV ({error})", file=str(path), line=reader.line_num
        ) from None


def _text(path: Path) -> str:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ConfigurationError(f"larger than {MAX_BYTES} bytes", file=str(path))
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise ConfigurationError(
            f"cannot be read ({reason}); check its name, permissions and encoding", file=str(path)
        ) from None


def _problem(
    key: str, cells: list[str], columns: tuple[str, ...], table: Mapping[str, list[str]]
) -> str:
    if len(cells) != len(columns):
        return f"has {len(cells)} values; write {len(columns)}: {','.join(columns)}"
    if not key:
        return f"has no {columns[0]}; write one or remove the line"
    if key in table:
        return f"{key} stands here twice; keep one"
    for column, cell in zip(columns, cells, strict=True):
        if column in _ALLOWED and cell not in _ALLOWED[column]:
            return f"{column} must be one of {', '.join(filter(None, _ALLOWED[column]))}"
        if not cell and column in _NEEDED.get(columns, ()):
            return f"{key} has no {column}; write one or remove the line"
        if cell and column in _URIS and not _URI.fullmatch(cell):
            return f"{column} of {key} must be a URI, such as http://loinc.org or urn:oid:1.2.3"
    return ""
