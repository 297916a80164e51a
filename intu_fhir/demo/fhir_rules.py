"""What the stand-in EHR refuses: resources that fhir.resources or a required code set refuses."""

from __future__ import annotations

from collections.abc import Mapping

from fhir.resources import get_fhir_model_class as r5_model
from fhir.resources.R4B import get_fhir_model_class as r4_model
from pydantic import ValidationError

from intu_fhir.demo.fhir_store import Resource

FHIR_VERSIONS = {"r4": "4.0.1", "r5": "5.0.0"}

_MODELS = {"r4": r4_model, "r5": r5_model}
_CODES: Mapping[tuple[str, str], frozenset[str]] = {
    ("ImagingStudy", "status"): frozenset(
        {"registered", "available", "cancelled", "entered-in-error", "unknown", "inactive"}
    ),
    ("DocumentReference", "status"): frozenset({"current", "superseded", "entered-in-error"}),
    ("Patient", "gender"): frozenset({"male", "female", "other", "unknown"}),
}
"""Required bindings (FHIR R4 and R5), which the library leaves alone."""


def objections(resource: Resource, release: str) -> list[tuple[str, str]]:
    """Return what is wrong with a resource: pairs of FHIRPath and words; none where it is valid."""
    kind = str(resource.get("resourceType", ""))
    try:
        model = _MODELS[release](kind)
    except ValueError:
        return [("resourceType", f"{kind[:64]!r} is no resource of {release}")]
    try:
        model.model_validate(resource)
    except ValidationError as error:
        return [
            (_path(kind, problem["loc"]), problem["msg"])
            for problem in error.errors(include_url=False, include_input=False)
        ]
    except KeyError:
        return [("contained", "holds a resource of an unknown type")]
    return [
        (f"{kind}.{element}", "is not a code of the required value set")
        for (of, element), codes in _CODES.items()
        if of == kind and element in resource and resource[element] not in codes
    ]


def _path(kind: str, location: tuple[int | str, ...]) -> str:
    parts = [f"[{part}]" if isinstance(part, int) else f".{part}" for part in location]
    return kind + "".join(parts)


def outcome(code: str, text: str, *paths: str) -> Resource:
    """Return an OperationOutcome with one issue."""
    issue: Resource = {"severity": "error", "code": code, "diagnostics": text}
    if paths:
        issue["expression"] = list(paths)
    return {"resourceType": "OperationOutcome", "issue": [issue]}


def refusal(found: list[tuple[str, str]]) -> Resource:
    """Return the OperationOutcome of a resource that is refused."""
    issues = [
        {"severity": "error", "code": "invalid", "diagnostics": words, "expression": [path]}
        for path, words in found[:20]
    ]
    return {"resourceType": "OperationOutcome", "issue": issues}
