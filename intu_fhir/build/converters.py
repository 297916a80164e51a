"""One function for each rule of a mapping, made once when the mapping is compiled."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

from intu_fhir.build.concepts import URI, Concept, coding, concept_of, distinct
from intu_fhir.build.datatypes import clean_text, unsigned
from intu_fhir.build.identifiers import study_uid_identifier
from intu_fhir.build.imaging import (
    make_body_site,
    make_laterality,
    make_modalities,
    make_modality,
)
from intu_fhir.build.orders import make_identifier, make_order
from intu_fhir.build.patient import make_patient
from intu_fhir.build.people import make_performer, make_person
from intu_fhir.build.references import make_endpoint, make_reference, make_specimen
from intu_fhir.build.source import Convert, Source
from intu_fhir.build.started import make_time
from intu_fhir.mappings import rules
from intu_fhir.mappings.load import Mapping as StudyMapping
from intu_fhir.mappings.tables import Code, term_of
from intu_fhir.model.uid import is_conformant_uid
from intu_fhir.model.values import items, text

_NOTHING: Sequence[Any] = ()


def make_converter(rule: rules.Rule, kind: str, mapping: StudyMapping, *, many: bool) -> Convert:
    """Return the function that fills an element of type ``kind`` by ``rule``."""
    if isinstance(rule, rules.Table):
        return _make_table(rule, kind, mapping.codes[rule.table])
    if isinstance(rule, rules.Person):
        return make_person(rule, many=many)
    if isinstance(rule, rules.Codes):
        return _make_codes(rule, kind, mapping.attributes.collected)
    if type(rule) in _SHAPED:
        return _SHAPED[type(rule)](rule, kind=kind)
    return _MAKERS[type(rule)](rule)


def _make_fixed(rule: rules.Fixed) -> Convert:
    values = tuple(rule.value) if isinstance(rule.value, list) else (rule.value,)
    return lambda source: values


def _make_text(rule: rules.Text) -> Convert:
    paths, longest = rule.source, rule.max_length

    def convert(source: Source) -> Sequence[Any]:
        for path in paths:
            if found := _text_at(source, path, longest):
                return (found,)
        return _NOTHING

    return convert


def _text_at(source: Source, path: str, longest: int) -> str:
    raw = source.text(path)
    if not raw:
        return ""
    cleaned = clean_text(raw)
    if cleaned is None:
        source.note("damaged_text", path)
        return ""
    if len(cleaned) > longest:
        source.note("text_shortened", path)
        return cleaned[:longest].rstrip()
    return cleaned


def _make_number(rule: rules.Number) -> Convert:
    paths = rule.source

    def convert(source: Source) -> Sequence[Any]:
        for path in paths:
            raw = source.text(path)
            if raw:
                number = unsigned(raw)
                if number is not None:
                    return (number,)
                source.note("invalid_number", path)
        return _NOTHING

    return convert


def _make_uid(rule: rules.Uid) -> Convert:
    return lambda source: (source.uid,)


def _make_status(rule: rules.Status) -> Convert:
    return lambda source: (source.status,)


def _make_study_uid(rule: rules.StudyUid) -> Convert:
    def convert(source: Source) -> Sequence[Any]:
        if not is_conformant_uid(source.study.uid):
            source.note("uid_leading_zero", "StudyInstanceUID")
        return (study_uid_identifier(source.study.uid),)

    return convert


def _make_sop_class(rule: rules.SopClass) -> Convert:
    made = lru_cache(maxsize=1_024)(lambda uid: (coding(URI, f"urn:oid:{uid}"),))

    def convert(source: Source) -> Sequence[Any]:
        return made(source.instance.sop_class_uid) if source.instance else _NOTHING

    return convert


def _make_count(rule: rules.Count) -> Convert:
    def convert(source: Source) -> Sequence[Any]:
        if rule.of == "series":
            return (len(source.study.series),)
        if source.series is not None:
            return (len(source.series.instances),)
        return (source.study.number_of_instances,)

    return convert


def _make_codes(rule: rules.Codes, kind: str, collected: frozenset[str]) -> Convert:
    def convert(source: Source) -> Sequence[Any]:
        found = distinct(
            concept_of(source, item, path)
            for path in rule.source
            for item in source.every_item(path)
        )
        if not found or not any(_says_something(concept) for concept in found):
            found += _in_words(source, rule, found, collected)
        else:
            found = distinct([*found, *_of_other_items(source, rule, found)])
        return [concept.shaped(kind) for concept in found]

    return convert


def _says_something(concept: Concept) -> bool:
    return bool(concept.text) or any("display" in one for one in concept.codings)


def _in_words(
    source: Source, rule: rules.Codes, found: list[Concept], collected: frozenset[str]
) -> list[Concept]:
    """Return what attributes say in words; with one code, the words belong to it."""
    words = list(dict.fromkeys(_words(source, rule, collected)))
    if len(found) == 1 and words:
        found[0].text = words[0]
        return []
    return [] if found else distinct(Concept([], one) for one in words)


def _of_other_items(source: Source, rule: rules.Codes, found: list[Concept]) -> Iterator[Concept]:
    """Give what items without a code say in words, where others of their sequence have codes.

    Words that stand beside a code as well are those of the same request, and said by the code.
    """
    said = {one.get("display", "").casefold() for concept in found for one in concept.codings}
    for path in rule.text:
        sequence, _, keyword = path.rpartition(".")
        coded = (one.rpartition(".") for one in rule.source if sequence)
        beside = [last for first, _, last in coded if first == sequence]
        alone = []
        for item in source.every_item(sequence) if beside else ():
            words = clean_text(text(item, keyword))
            if words is None:
                source.note("damaged_text", path)
            elif any(items(item, one) for one in beside):
                said.add(words.casefold())
            else:
                alone.append(words[:1_024])
        yield from (Concept([], words) for words in alone if words.casefold() not in {"", *said})


def _words(source: Source, rule: rules.Codes, collected: frozenset[str]) -> Iterator[str]:
    """Give the texts of the first attribute that has any."""
    for path in rule.text:
        cleaned = [clean_text(raw) for raw in source.every_text(path)]
        if None in cleaned:
            source.note("damaged_text", path)
        words = [one[:1_024] for one in cleaned if one]
        if words:
            # A single-valued attribute that differs between headers says one thing, not two,
            # unless each of its values counts.
            yield from words if "." in path or path in collected else words[:1]
            return


def _make_table(rule: rules.Table, kind: str, table: Mapping[str, Code]) -> Convert:
    def convert(source: Source) -> Sequence[Any]:
        for path in rule.source:
            if value := _text_at(source, path, 1_024):
                found = table.get(term_of(value))
                if found is not None:
                    code = coding(found.system, found.code, found.display)
                    return (Concept([code]).shaped(kind),)
                source.note("unknown_code", path)
                if rule.otherwise == "text":
                    return (Concept([], value).shaped(kind),)
        return _NOTHING

    return convert


def _make_extension(rule: rules.Extension) -> Convert:
    key = f"value{rule.kind[0].upper()}{rule.kind[1:]}"
    if rule.value is not None:
        fixed = ({"url": rule.url, key: rule.value},)
        return lambda source: fixed
    number = rule.kind in {"unsignedInt", "positiveInt", "integer"}

    def convert(source: Source) -> Sequence[Any]:
        for path in rule.source:
            value = _number_at(source, path) if number else _text_at(source, path, 1_024)
            if value not in {None, ""} and not (rule.kind == "positiveInt" and value == 0):
                return ({"url": rule.url, key: value},)
        return _NOTHING

    return convert


def _number_at(source: Source, path: str) -> int | None:
    raw = source.text(path)
    number = unsigned(raw) if raw else None
    if raw and number is None:
        source.note("invalid_number", path)
    return number


_MAKERS: Mapping[type[rules.Rule], Callable[[Any], Convert]] = {
    rules.Fixed: _make_fixed,
    rules.Text: _make_text,
    rules.Number: _make_number,
    rules.Time: make_time,
    rules.Status: _make_status,
    rules.Uid: _make_uid,
    rules.StudyUid: _make_study_uid,
    rules.Identifier: make_identifier,
    rules.Order: make_order,
    rules.Patient: make_patient,
    rules.Performer: make_performer,
    rules.ReferenceTo: make_reference,
    rules.Specimen: make_specimen,
    rules.SopClass: _make_sop_class,
    rules.Count: _make_count,
    rules.Endpoint: make_endpoint,
    rules.Extension: _make_extension,
}
_SHAPED: Mapping[type[rules.Rule], Callable[..., Convert]] = {
    rules.Modality: make_modality,
    rules.Modalities: make_modalities,
    rules.BodySite: make_body_site,
    rules.Laterality: make_laterality,
}
