"""Judges a resource: the schema of its release, then the checks that no schema makes."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

from fhir.resources.imagingstudy import ImagingStudy as ImagingStudyR5
from fhir.resources.R4B.imagingstudy import ImagingStudy as ImagingStudyR4B
from pydantic import BaseModel, ValidationError

from intu_fhir.build.alike import without_alike
from intu_fhir.build.checks import run_checks
from intu_fhir.build.forms import View
from intu_fhir.mappings import Release, acquisition_modalities
from intu_fhir.model.finding import Finding, Severity

MODELS: dict[str, type[BaseModel]] = {"r4": ImagingStudyR4B, "r5": ImagingStudyR5}
"""R4 4.0.1 has no model of its own; its ImagingStudy is that of R4B 4.3.0."""

MOST_SCHEMA_FINDINGS = 50


def validate_resource(resource: dict[str, Any], release: Release) -> tuple[Finding, ...]:
    """Return what is wrong with an ImagingStudy; messages name elements, never values.

    Codes are ``schema`` for the schema of the release and ``S01`` to ``S20`` for semantic checks.
    """
    view = View(resource, release, acquisition_modalities())
    seen = without_alike(resource)
    try:
        model = MODELS[release].model_validate(seen)
    except ValidationError as error:
        return (*_schema_findings(resource, release, error), *run_checks(view))
    except KeyError:
        # The library looks an unknown contained resource type up without care.
        unknown = _schema_finding("contained", "holds a resource of an unknown type")
        return (unknown, *run_checks(view))
    lost = [
        Finding(Severity.ERROR, "S20", f"{path}: is lost when the resource is read", attribute=path)
        for path in _lost(seen, model, "")
    ]
    return (*lost, *run_checks(view))


def _schema_findings(
    resource: dict[str, Any], release: Release, error: ValidationError
) -> list[Finding]:
    """Tell the mistakes of the whole resource, by the places they have there."""
    with contextlib.suppress(KeyError):
        try:
            MODELS[release].model_validate(resource)
        except ValidationError as whole:
            error = whole
    details = error.errors(include_url=False, include_input=False)
    return [_finding(one) for one in details[:MOST_SCHEMA_FINDINGS]]


def _finding(details: Any) -> Finding:
    path = "".join(
        f"[{part}]" if isinstance(part, int) else f".{part}" for part in details["loc"]
    ).lstrip(".")
    kind = str(details["type"])
    words = _WORDS.get(kind, f"does not fit the schema ({kind})")
    return _schema_finding(path or "resource", words)


_WORDS = {
    "extra_forbidden": "is no element of this release",
    "missing": "is missing",
    "model_type": "must be an object",
    "list_type": "must be a list",
}


def _schema_finding(path: str, words: str) -> Finding:
    # An unknown element's name may be anything, so it is cut.
    return Finding(Severity.ERROR, "schema", f"{path[:120]}: {words}", attribute=path[:120])


def _lost(value: Any, model: Any, path: str) -> Iterator[str]:
    """Give the paths of a resource that the model does not have."""
    if isinstance(value, dict) and isinstance(model, BaseModel):
        names = _fields(type(model))
        for key, inner in value.items():
            name = names.get(key, "")
            there = path + key
            if key == "resourceType":
                continue
            if not name or getattr(model, name, None) is None:
                yield there
            else:
                yield from _lost(inner, getattr(model, name), f"{there}.")
    elif isinstance(value, list) and isinstance(model, list):
        for inner, inner_model in zip(value, model, strict=False):
            yield from _lost(inner, inner_model, path)


@lru_cache(maxsize=256)
def _fields(model: type[BaseModel]) -> dict[str, str]:
    return {field.alias or name: name for name, field in model.model_fields.items()}
