"""The elements of ImagingStudy that a mapping may fill, with their types by FHIR release."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal, TypeAlias

Release: TypeAlias = Literal["r4", "r5"]
"""``r4`` is 4.0.1 and 4.3.0, whose ImagingStudy is the same; ``r5`` is 5.0.0."""

RELEASES: tuple[Release, ...] = ("r4", "r5")


@dataclass(frozen=True, slots=True)
class Element:
    """One element.

    Args:
        types: FHIR type by release; a release without the element is missing here.
        many: it repeats.
        required: the resource is invalid without it.
    """

    types: Mapping[Release, str]
    many: bool = False
    required: bool = False


def _both(name: str, *, many: bool = False, required: bool = False) -> Element:
    return Element({"r4": name, "r5": name}, many, required)


def _each(r4: str, r5: str, *, many: bool = False, required: bool = False) -> Element:
    return Element({"r4": r4, "r5": r5}, many, required)


def _only(release: Release, name: str, *, many: bool = False) -> Element:
    return Element({release: name}, many)


ELEMENTS: Mapping[str, Mapping[str, Element]] = MappingProxyType(
    {
        "study": {
            "meta": _both("Meta"),
            "language": _both("code"),
            "extension": _both("Extension", many=True),
            "identifier": _both("Identifier", many=True, required=True),
            "status": _both("code", required=True),
            "modality": _each("Coding", "CodeableConcept", many=True),
            "subject": _both("Reference", required=True),
            "encounter": _both("Reference"),
            "started": _both("dateTime"),
            "basedOn": _both("Reference", many=True),
            "partOf": _only("r5", "Reference", many=True),
            "referrer": _both("Reference"),
            "interpreter": _only("r4", "Reference", many=True),
            "endpoint": _both("Reference", many=True),
            "numberOfSeries": _both("unsignedInt"),
            "numberOfInstances": _both("unsignedInt"),
            "procedureReference": _only("r4", "Reference"),
            "procedureCode": _only("r4", "CodeableConcept", many=True),
            "procedure": _only("r5", "CodeableReference", many=True),
            "location": _both("Reference"),
            "reasonCode": _only("r4", "CodeableConcept", many=True),
            "reasonReference": _only("r4", "Reference", many=True),
            "reason": _only("r5", "CodeableReference", many=True),
            "note": _both("Annotation", many=True),
            "description": _both("string"),
        },
        "series": {
            "extension": _both("Extension", many=True),
            "uid": _both("id", required=True),
            "number": _both("unsignedInt"),
            "modality": _each("Coding", "CodeableConcept", required=True),
            "description": _both("string"),
            "numberOfInstances": _both("unsignedInt"),
            "endpoint": _both("Reference", many=True),
            "bodySite": _each("Coding", "CodeableReference"),
            "laterality": _each("Coding", "CodeableConcept"),
            "specimen": _both("Reference", many=True),
            "started": _both("dateTime"),
            "performer": _both("Performer", many=True),
        },
        "instance": {
            "extension": _both("Extension", many=True),
            "uid": _both("id", required=True),
            "sopClass": _both("Coding", required=True),
            "number": _both("unsignedInt"),
            "title": _both("string"),
        },
    }
)
"""Elements by level and name, in the order of the specification (FHIR R4, R5: ImagingStudy)."""

CONCEPTS = frozenset({"Coding", "CodeableConcept", "CodeableReference"})
"""Types that a code and its meaning can take, depending on the release."""

_PRACTITIONER = frozenset({"Practitioner", "PractitionerRole"})
_ACTORS = _PRACTITIONER | {"Organization", "CareTeam", "Patient", "Device", "RelatedPerson"}
TARGETS: Mapping[str, frozenset[str]] = {
    "subject": frozenset({"Patient", "Device", "Group"}),
    "encounter": frozenset({"Encounter"}),
    "basedOn": frozenset(
        {"CarePlan", "ServiceRequest", "Appointment", "AppointmentResponse", "Task"}
    ),
    "partOf": frozenset({"Procedure"}),
    "referrer": _PRACTITIONER,
    "interpreter": _PRACTITIONER,
    "endpoint": frozenset({"Endpoint"}),
    "procedureReference": frozenset({"Procedure"}),
    "location": frozenset({"Location"}),
    "reasonReference": frozenset(
        {"Condition", "Observation", "Media", "DiagnosticReport", "DocumentReference"}
    ),
    "specimen": frozenset({"Specimen"}),
    "actor": _ACTORS,
}
"""Types of resource that a reference may lead to, by element (FHIR R4, R5: ImagingStudy)."""

RENAMED: Mapping[str, str] = {
    "procedureCode": "procedure",
    "procedure": "procedureCode",
    "reasonCode": "reason",
    "reason": "reasonCode",
}
"""Elements of a study that stand in one release alone, with their name in the other one."""
