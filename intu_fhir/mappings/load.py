"""Reads mapping files; every mistake names file, line, key and what is allowed."""

from __future__ import annotations

import hashlib
from collections import abc
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeAlias

import orjson
from pydantic import ValidationError

from intu_fhir.errors import ConfigurationError
from intu_fhir.mappings.attributes import (
    LEVELS,
    Attributes,
    Level,
    check_attribute,
    shipped_attributes,
)
from intu_fhir.mappings.elements import ELEMENTS, RELEASES, Element, Release
from intu_fhir.mappings.rules import ANY, CONVERTERS, Rule, Table
from intu_fhir.mappings.tables import ACQUISITION, COLUMNS, Code, Tables, load_codes, load_tables
from intu_fhir.settings.data import data_folder
from intu_fhir.settings.mistakes import raise_mistakes, unknown_key, validation_mistakes
from intu_fhir.settings.yaml_lines import Document, Location, dotted, load_with_lines

LEAVE_OUT = "leave_out"
SHIPPED = "shipped"
_KEYS = ("extends", "version", "attributes", "tables", "study", "series", "instance", "tests")

Rules: TypeAlias = abc.Mapping[str, tuple[Rule, ...]]
"""Rules by element."""


@dataclass(frozen=True, eq=False)
class Mapping:
    """A mapping as loaded; one object per file, so that what is made of it can be kept.

    Args:
        version: name and hash of everything it consists of.
        rules: rules by level and element.
        codes: tables of the converter ``table`` by their path in the file.
        tests: examples: a header and the elements it must become.
    """

    version: str
    rules: abc.Mapping[str, Rules]
    tables: Tables
    codes: abc.Mapping[str, abc.Mapping[str, Code]]
    attributes: Attributes
    tests: tuple[abc.Mapping[str, Any], ...] = ()
    file: Path | None = None


@dataclass
class _Reading:
    """A file while it is read."""

    document: Document
    rules: dict[str, dict[str, tuple[Rule, ...]]]
    attributes: Attributes
    mistakes: list[ConfigurationError] = field(default_factory=list)
    codes: dict[str, abc.Mapping[str, Code]] = field(default_factory=dict)

    def wrong(self, message: str, *location: str | int) -> None:
        self.mistakes.append(self.document.mistake(message, *location))


def load_mapping(path: Path | None = None) -> Mapping:
    """Return the mapping of a file, or the shipped one.

    Raises:
        ConfigurationError: something is wrong; every mistake is told with file, line and key.
    """
    return _shipped() if path is None else _load(path)


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
    _read_rules(reading)
    own = _own_tables(reading)
    _check_complete(reading)
    tests = _tests(reading)
    raise_mistakes(reading.mistakes)
    return Mapping(
        version=_version(document, own),
        rules=MappingProxyType({k: MappingProxyType(v) for k, v in reading.rules.items()}),
        tables=load_tables(data_folder("mappings"), own),
        codes=MappingProxyType(reading.codes),
        attributes=reading.attributes,
        tests=tests,
        file=path,
    )


def _start(document: Document) -> _Reading:
    """Begin with nothing, or with what the shipped mapping says."""
    extends = document.value.get("extends")
    attributes = _with_own(shipped_attributes(), document)
    if extends is None:
        return _Reading(document, {level: {} for level in ELEMENTS}, attributes)
    if extends != SHIPPED:
        raise document.mistake(f"must be {SHIPPED}; leave it out to begin with nothing", "extends")
    base = _shipped()
    rules = {level: dict(elements) for level, elements in base.rules.items()}
    return _Reading(document, rules, attributes, codes=dict(base.codes))


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


def _read_rules(reading: _Reading) -> None:
    for level, elements in ELEMENTS.items():
        section = reading.document.value.get(level) or {}
        if not isinstance(section, dict):
            reading.wrong("must hold elements with their rules", level)
            continue
        for name, value in section.items():
            element = elements.get(name)
            if element is None:
                reading.wrong(unknown_key(name, list(elements)), level, name)
            else:
                _read_element(reading, level, name, element, value)


def _read_element(reading: _Reading, level: str, name: str, element: Element, value: Any) -> None:
    if value == LEAVE_OUT:
        if element.required:
            reading.wrong("the resource needs this element; give it a rule", level, name)
        reading.rules[level].pop(name, None)
        return
    listed = value if isinstance(value, list) else [value]
    places: list[Location] = [
        (level, name, at) if isinstance(value, list) else (level, name) for at in range(len(listed))
    ]
    rules = [
        _read_rule(reading, place, element, one) for place, one in zip(places, listed, strict=True)
    ]
    reading.rules[level][name] = tuple(rule for rule in rules if rule is not None)


def _read_rule(reading: _Reading, place: Location, element: Element, value: Any) -> Rule | None:
    if not isinstance(value, dict):
        reading.wrong(f"must be a rule such as {{converter: text, ...}}, or {LEAVE_OUT}", *place)
        return None
    model = CONVERTERS.get(str(value.get("converter")))
    possible = [name for name, kind in CONVERTERS.items() if _fits(kind, element)]
    if model is None or not _fits(model, element):
        reading.wrong(f"must be one of {', '.join(possible)}", *place, "converter")
        return None
    try:
        rule = model.model_validate(value)
    except ValidationError as error:
        reading.mistakes += _mistakes(error, model, reading.document, place, value)
        return None
    if rule.sop_classes and place[0] != "instance":
        reading.wrong("only instances have a SOP class; remove it", *place, "sop_classes")
    _check_sources(reading, place, rule)
    if isinstance(rule, Table):
        _read_codes(reading, place, rule)
    return rule


def _fits(kind: type[Rule], element: Element) -> bool:
    return kind.makes == ANY or bool(kind.makes & set(element.types.values()))


def _mistakes(
    error: ValidationError,
    model: type[Rule],
    document: Document,
    place: Location,
    value: dict[str, Any],
) -> list[ConfigurationError]:
    """Say what is wrong with one rule, at its place in the whole file."""
    lines = {
        where[len(place) :]: line
        for where, line in document.lines.items()
        if where[: len(place)] == place
    }
    part = Document(document.file, value, lines)
    return [
        ConfigurationError(
            mistake.reason,
            file=mistake.file,
            line=mistake.line,
            key=".".join(filter(None, (dotted(place), mistake.key))),
        )
        for mistake in validation_mistakes(error, model, part)
    ]


def _check_sources(reading: _Reading, place: Location, rule: Rule) -> None:
    """Only what is staged can be mapped."""
    for attribute in rule.attributes():
        root = attribute if ":" in attribute else attribute.partition(".")[0]
        try:
            staged = check_attribute(reading.document, root, *place)
        except ConfigurationError as error:
            reading.mistakes.append(error)
            continue
        if staged not in reading.attributes.levels:
            reading.wrong(
                f"{root} is not staged; add it with its level under `attributes:` of this file",
                *place,
            )


def _read_codes(reading: _Reading, place: Location, rule: Table) -> None:
    path = reading.document.file.parent / rule.table
    try:
        reading.codes[rule.table] = load_codes(path)
    except ConfigurationError as error:
        reading.mistakes.append(error)


def _own_tables(reading: _Reading) -> dict[str, Path]:
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


def _check_complete(reading: _Reading) -> None:
    for level, elements in ELEMENTS.items():
        for name, element in elements.items():
            rules = reading.rules[level].get(name, ())
            missing = [r for r in RELEASES if not any(x.release in {None, r} for x in rules)]
            mentioned = name in (reading.document.value.get(level) or {})
            if element.required and missing and not (mentioned and not rules):
                where = (level, name) if mentioned else (level,)
                reading.wrong(
                    f"{name} needs a rule for {' and '.join(missing)}, or begin the file with "
                    f"`extends: {SHIPPED}`",
                    *where,
                )


def _tests(reading: _Reading) -> tuple[abc.Mapping[str, Any], ...]:
    tests = reading.document.value.get("tests") or []
    if not isinstance(tests, list) or not all(isinstance(test, dict) for test in tests):
        reading.wrong("must be a list of examples", "tests")
        return ()
    for at, test in enumerate(tests):
        for key in test:
            if key not in _TEST_KEYS:
                reading.wrong(unknown_key(key, _TEST_KEYS), "tests", at, key)
        for key in ("header", "expect"):
            if not isinstance(test.get(key), dict):
                reading.wrong(f"needs `{key}:` with attributes or elements", "tests", at)
    return tuple(MappingProxyType(test) for test in tests)


_TEST_KEYS = ("name", "release", "header", "expect")


def _version(document: Document, own: abc.Mapping[str, Path]) -> str:
    """Return the file's own version and a hash of all that the mapping is made of."""
    shipped = data_folder("mappings")
    files = sorted([*shipped.glob("*.csv"), *shipped.glob("*.yaml"), *own.values()])
    digest = hashlib.sha256(orjson.dumps(document.value, option=orjson.OPT_SORT_KEYS))
    for file in files:
        digest.update(file.read_bytes() if file.is_file() else b"")
    version = str(document.value.get("version", document.file.stem))
    return f"{version[:32]}+{digest.hexdigest()[:12]}"


def elements_of(
    rules: Rules, level: str, release: Release
) -> list[tuple[str, Element, list[Rule]]]:
    """Return the elements of one level that a release has, with the rules that fill them."""
    return [
        (name, element, [rule for rule in rules[name] if rule.release in {None, release}])
        for name, element in ELEMENTS[level].items()
        if name in rules and release in element.types
    ]
