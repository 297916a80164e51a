"""Reads the rules of a mapping file, element by element."""

from __future__ import annotations

from collections import abc
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from intu_fhir.errors import ConfigurationError
from intu_fhir.mappings.attributes import Attributes, check_attribute
from intu_fhir.mappings.elements import ELEMENTS, RELEASES, TARGETS, Element
from intu_fhir.mappings.rules import ANY, CONVERTERS, Extension, ReferenceTo, Rule, Table, Time
from intu_fhir.mappings.tables import Code, load_codes
from intu_fhir.settings.mistakes import unknown_key, validation_mistakes
from intu_fhir.settings.yaml_lines import Document, Location, dotted

LEAVE_OUT = "leave_out"
SHIPPED = "shipped"


@dataclass
class Reading:
    """A file while it is read."""

    document: Document
    rules: dict[str, dict[str, tuple[Rule, ...]]]
    attributes: Attributes
    mistakes: list[ConfigurationError] = field(default_factory=list)
    codes: dict[str, abc.Mapping[str, Code]] = field(default_factory=dict)

    def wrong(self, message: str, *location: str | int) -> None:
        """Note a mistake at its place."""
        self.mistakes.append(self.document.mistake(message, *location))


def read_rules(reading: Reading) -> None:
    """Read the sections ``study``, ``series`` and ``instance``."""
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


def _read_element(reading: Reading, level: str, name: str, element: Element, value: Any) -> None:
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


def _read_rule(reading: Reading, place: Location, element: Element, value: Any) -> Rule | None:
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
    if isinstance(rule, ReferenceTo) and rule.resource not in TARGETS[str(place[1])]:
        allowed = ", ".join(sorted(TARGETS[str(place[1])]))
        reading.wrong(f"must be one of {allowed}", *place, "resource")
    if isinstance(rule, Extension) and not rule.source and rule.value is None:
        reading.wrong("has no value; write `from:` with an attribute, or `value:`", *place)
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


def _check_sources(reading: Reading, place: Location, rule: Rule) -> None:
    """Only what is staged can be mapped."""
    for attribute in rule.attributes():
        root = attribute if ":" in attribute else attribute.partition(".")[0]
        inner = () if ":" in attribute else attribute.split(".")[1:]
        try:
            staged = check_attribute(reading.document, root, *place)
            for part in inner:
                check_attribute(reading.document, part, *place)
        except ConfigurationError as error:
            reading.mistakes.append(error)
            continue
        level = reading.attributes.levels.get(staged)
        if level is None:
            reading.wrong(
                f"{root} is not staged; add it with its level under `attributes:` of this file",
                *place,
            )
        elif level == "instance" and place[0] != "instance" and not isinstance(rule, Time):
            reading.wrong(f"{root} differs between instances; use it in a rule of these", *place)


def _read_codes(reading: Reading, place: Location, rule: Table) -> None:
    path = reading.document.file.parent / rule.table
    try:
        reading.codes[rule.table] = load_codes(path)
    except ConfigurationError as error:
        if str(error) not in map(str, reading.mistakes):  # of another rule with the same table
            reading.mistakes.append(error)


def check_complete(reading: Reading) -> None:
    """A file that extends nothing must say all that a resource needs."""
    if reading.document.value.get("extends") == SHIPPED:
        return
    for level, elements in ELEMENTS.items():
        for name, element in elements.items():
            releases = {rule.release for rule in reading.rules[level].get(name, ())}
            if element.required and not (None in releases or releases >= set(RELEASES)):
                reading.wrong(
                    f"needs a rule for every release, or begin the file with `extends: {SHIPPED}`",
                    level,
                    name,
                )
