"""The JSON Schema of mapping files, for editors that complete and check while one types."""

from __future__ import annotations

import json
from typing import Any

from intu_fhir.mappings.attributes import LEVELS
from intu_fhir.mappings.elements import ELEMENTS, Element
from intu_fhir.mappings.reading import LEAVE_OUT, SHIPPED
from intu_fhir.mappings.rules import ANY, CONVERTERS
from intu_fhir.mappings.tables import COLUMNS

_ATTRIBUTES = {"type": "array", "items": {"type": "string"}}


def mapping_schema() -> str:
    """Return the schema as JSON text."""
    return json.dumps(_schema(), indent=2, ensure_ascii=False) + "\n"


def _schema() -> dict[str, Any]:
    levels = {
        level: {
            "type": "object",
            "additionalProperties": False,
            "properties": {name: _element(element) for name, element in elements.items()},
        }
        for level, elements in ELEMENTS.items()
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Mapping from DICOM to FHIR ImagingStudy",
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "extends": {"const": SHIPPED, "description": "begin with the shipped mapping"},
            "version": {"type": "string", "description": "name of this version"},
            "attributes": {
                "type": "object",
                "additionalProperties": False,
                "properties": dict.fromkeys(LEVELS, _ATTRIBUTES),
                "description": "attributes to stage beside the shipped ones",
            },
            "tables": {
                "type": "object",
                "additionalProperties": False,
                "properties": {
                    name: {"type": "string", "description": f"CSV: {','.join(columns)}"}
                    for name, columns in COLUMNS.items()
                },
                "description": "rows to put over the shipped tables",
            },
            **levels,
            "tests": {
                "type": "array",
                "items": {
                    "type": "object",
                    "additionalProperties": False,
                    "required": ["header", "expect"],
                    "properties": {
                        "name": {"type": "string"},
                        "release": {"enum": ["r4", "r5"]},
                        "header": {"type": "object"},
                        "expect": {"type": "object"},
                    },
                },
                "description": "headers and the elements they must become",
            },
        },
        "$defs": {name: _rule(name) for name in CONVERTERS},
    }


def _element(element: Element) -> dict[str, Any]:
    kinds = set(element.types.values())
    rules = [
        {"$ref": f"#/$defs/{name}"}
        for name, rule in CONVERTERS.items()
        if rule.makes == ANY or rule.makes & kinds
    ]
    forms: list[dict[str, Any]] = [*rules, {"type": "array", "items": {"anyOf": rules}}]
    if not element.required:
        forms.append({"const": LEAVE_OUT})
    types = ", ".join(f"{release}: {kind}" for release, kind in element.types.items())
    return {"description": types + ("; repeats" if element.many else ""), "anyOf": forms}


def _rule(name: str) -> dict[str, Any]:
    rule = CONVERTERS[name]
    schema = rule.model_json_schema(by_alias=True)
    schema["description"] = (rule.__doc__ or "").strip()
    source = schema["properties"].get("from")
    if source is not None and name != "time":
        # One attribute may stand without a list.
        schema["properties"]["from"] = {"anyOf": [{"type": "string"}, _ATTRIBUTES]}
    for part in schema["properties"].values():
        part.pop("title", None)
    schema.pop("title", None)
    return schema
