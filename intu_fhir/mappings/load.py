"""Reads mapping files; every mistake names file, line, key and what is allowed."""

from __future__ import annotations

import hashlib
from collections import abc
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeAlias

import orjson

from intu_fhir.errors import ConfigurationError
from intu_fhir.mappings.attributes import (
    LEVELS,
    Attributes,
    Level,
    check_attribute,
    shipped_attributes,
)
from intu_fhir.mappings.elements import ELEMENTS, RELEASES, RENAMED, Element, Release
from intu_fhir.mappings.reading import SHIPPED, Reading, check_complete, read_rules
from intu_fhir.mappings.rules import Rule
from intu_fhir.mappings.tables import ACQUISITION, COLUMNS, Code, Tables, load_tables
from intu_fhir.settings.data import data_folder
from intu_fhir.settings.mistakes import raise_mistakes, unknown_key
from intu_fhir.settings.yaml_lines import Document, load_with_lines

_KEYS = ("extends", "version", "attributes", "tables", "study", "series", "instance", "tests")

Rules: TypeAlias = abc.Mapping[str, tuple[Rule, ...]]
"""Rules by element."""


@dataclass(frozen=True, slots=True)
class Example:
    """A header and the elements that it must become.

    Args:
        header: values by DICOM keyword.
        expect: values by path of the element, such as ``series[0].bodySite.code``; None = absent.
        at: its place in the list of the file.
    """

    name: str
    releases: tuple[Release, ...]
    header: abc.Mapping[str, Any]
    expect: abc.Mapping[str, Any]
    at: int
    line: int


@dataclass(frozen=True, eq=False)
class Mapping:
    """A mapping as loaded; one object per file, so that what is made of it can be kept.

    Args:
        version: name and hash of everything it consists of.
        rules: rules by level and element.
        codes: tables of the converter ``table`` by their path in the file.
        tests: examples that the mapping must fulfil.
    """

    version: str
    rules: abc.Mapping[str, Rules]
    tables: Tables
    codes: abc.Mapping[str, abc.Mapping[str, Code]]
    attributes: Attributes
    tests: tuple[Example, ...] = ()
    file: Path | None = None


def load_mapping(path: Path | None = None) -> Mapping:
    """Return the mapping of a file, or the shipped one.

    Raises:
        ConfigurationError: something is wrong; every mistake is told with file, line and key.
    """
    return _shipped() if path is None else _load(path)


@cache
def acquisition_modalities() -> frozenset[str]:
    """Return the modalities of acquired objects (PS3.16 CID 29)."""
    terms = load_mapping().tables.modalities
    return frozenset(term for term, found in terms.items() if found.set == ACQUISITION)


@cache
def _shipped() -> Mapping:
    return _load(data_folder("mappings") / "imaging_study.yaml")


def _load(path: Path) -> Mapping:
    document = load_with_lines(path)
    for key in document.value:
        if key not in _KEYS:
            raise document.mistake(unknown_key(key, _KEYS), key)
    reading = _start(document)
    read_rules(reading)
    own = _own_tables(reading)
    check_complete(reading)
    tests = _examples(reading)
    code_files = [document.file.parent / name for name in sorted(reading.codes)]
    raise_mistakes(reading.mistakes)
    return Mapping(
        version=_version(document, [*own.values(), *code_files]),
        rules=MappingProxyType({k: MappingProxyType(v) for k, v in reading.rules.items()}),
        tables=load_tables(data_folder("mappings"), own),
        codes=MappingProxyType(reading.codes),
        attributes=reading.attributes,
        tests=tests,
        file=path,
    )


def _start(document: Document) -> Reading:
    """Begin with nothing, or with what the shipped mapping says."""
    extends = document.value.get("extends")
    attributes = _with_own(shipped_attributes(), document)
    if extends is None:
        return Reading(document, {level: {} for level in ELEMENTS}, attributes)
    if extends != SHIPPED:
        raise document.mistake(f"must be {SHIPPED}; leave it out to begin with nothing", "extends")
    base = _shipped()
    rules = {level: dict(elements) for level, elements in base.rules.items()}
    return Reading(document, rules, attributes, codes=dict(base.codes))


def _with_own(shipped: Attributes, document: Document) -> Attributes:
    """Add the attributes that a site wants staged."""
    section = document.value.get("attributes") or {}
    if not isinstance(section, dict):
        raise document.mistake("must hold lists of attributes by level", "attributes")
    levels: dict[str, Level] = dict(shipped.levels)
    known: dict[str, Level] = {level: level for level in LEVELS}
    for key, names in section.items():
        if key not in known or not isinstance(names, list):
            raise document.mistake(
                f"must be a list under one of {', '.join(LEVELS)}", "attributes", key
            )
        for at, name in enumerate(names):
            checked = check_attribute(document, name, "attributes", key, at)
            levels.setdefault(checked, known[key])
    return Attributes(MappingProxyType(levels), shipped.together, shipped.collected)


def _own_tables(reading: Reading) -> dict[str, Path]:
    """Return the paths of a site's own code tables."""
    section = reading.document.value.get("tables") or {}
    if not isinstance(section, dict):
        reading.wrong("must hold paths of CSV files by table", "tables")
        return {}
    for name, value in section.items():
        if name not in COLUMNS:
            reading.wrong(unknown_key(name, list(COLUMNS)), "tables", name)
        elif not isinstance(value, str):
            reading.wrong("must be the path of a CSV file", "tables", name)
    folder = reading.document.file.parent
    return {k: folder / v for k, v in section.items() if k in COLUMNS and isinstance(v, str)}


def _examples(reading: Reading) -> tuple[Example, ...]:
    tests = reading.document.value.get("tests") or []
    if not isinstance(tests, list) or not all(isinstance(test, dict) for test in tests):
        reading.wrong("must be a list of examples", "tests")
        return ()
    return tuple(
        example for at, test in enumerate(tests) if (example := _example(reading, at, test))
    )


def _example(reading: Reading, at: int, test: dict[str, Any]) -> Example | None:
    before = len(reading.mistakes)
    for key in test:
        if key not in _TEST_KEYS:
            reading.wrong(unknown_key(key, _TEST_KEYS), "tests", at, key)
    for key in ("header", "expect"):
        if not isinstance(test.get(key), dict):
            reading.wrong(f"needs `{key}:` with attributes or elements", "tests", at)
    for keyword in test["header"] if isinstance(test.get("header"), dict) else ():
        try:
            check_attribute(reading.document, keyword, "tests", at, "header", keyword)
        except ConfigurationError as error:
            reading.mistakes.append(error)
    if test.get("release") not in {None, *RELEASES}:
        reading.wrong(f"must be one of {', '.join(RELEASES)}", "tests", at, "release")
    if len(reading.mistakes) > before:
        return None
    releases: tuple[Release, ...] = (test["release"],) if "release" in test else RELEASES
    line = reading.document.line(("tests", at))
    return Example(str(test.get("name", "")), releases, test["header"], test["expect"], at, line)


_TEST_KEYS = ("name", "release", "header", "expect")


def _version(document: Document, own: list[Path]) -> str:
    """Return the file's own version and a hash of all that the mapping is made of."""
    shipped = data_folder("mappings")
    files = [*sorted([*shipped.glob("*.csv"), *shipped.glob("*.yaml")]), *own]
    digest = hashlib.sha256(orjson.dumps(document.value, option=orjson.OPT_SORT_KEYS))
    for file in files:
        digest.update(file.read_bytes() if file.is_file() else b"")
    version = str(document.value.get("version", document.file.stem))
    return f"{version[:32]}+{digest.hexdigest()[:12]}"


def attributes_of(mappings: abc.Iterable[Mapping]) -> Attributes:
    """Return the attributes that all of some mappings need, the shipped ones included."""
    shipped = shipped_attributes()
    levels: dict[str, Level] = dict(shipped.levels)
    for mapping in mappings:
        for attribute, level in mapping.attributes.levels.items():
            levels.setdefault(attribute, level)
    return Attributes(MappingProxyType(levels), shipped.together, shipped.collected)


def of_another_release(mapping: Mapping, release: Release) -> list[tuple[str, str]]:
    """Return the elements for which a mapping has rules of its own that a release never uses.

    With each comes its name in that release, which has the shipped rule still.
    """
    shipped, own = _shipped().rules["study"], mapping.rules["study"]
    changed = {name for name in RENAMED if own.get(name) != shipped.get(name)}
    return [
        (name, other)
        for name, other in RENAMED.items()
        if name in changed and other not in changed and release not in ELEMENTS["study"][name].types
    ]


def elements_of(
    rules: Rules, level: str, release: Release
) -> list[tuple[str, Element, list[Rule]]]:
    """Return the elements of one level that a release has, with the rules that fill them."""
    return [
        (name, element, [rule for rule in rules[name] if rule.release in {None, release}])
        for name, element in ELEMENTS[level].items()
        if name in rules and release in element.types
    ]
