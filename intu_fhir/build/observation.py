"""What every Observation made of a report has in common (FHIR Observation)."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from intu_fhir.build.concepts import Concept, coding
from intu_fhir.build.datatypes import clean_text
from intu_fhir.build.structured_report import Report
from intu_fhir.model.companion import Identity, study_identity
from intu_fhir.model.study import Study
from intu_fhir.model.values import text

CATEGORY = "http://terminology.hl7.org/CodeSystem/observation-category"
IMAGING = {"coding": [coding(CATEGORY, "imaging", "Imaging")]}
URI = "urn:ietf:rfc:3986"
DICOM_UID = "urn:dicom:uid"
_NAMESPACE = uuid.UUID("0e9b7c92-3d55-5d0b-93d1-4c6c5a1f9a10")


@dataclass(frozen=True)
class Facts:
    """What observations take over from the study they belong to.

    Args:
        resource: the ImagingStudy as built.
        devices: reference to the Device of a series, by Series Instance UID.
    """

    study: Study
    resource: Mapping[str, Any]
    devices: Mapping[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def subject(self) -> Any:
        """The subject of the study; a destination replaces it with its own."""
        return self.resource["subject"]

    @property
    def started(self) -> str:
        """When the study began, or nothing."""
        started = self.resource.get("started", "")
        return started if isinstance(started, str) else ""

    @property
    def study_reference(self) -> dict[str, Any]:
        """The ImagingStudy, by what a server resolves and by identifier."""
        identity = study_identity(self.study.uid)
        return {
            "reference": identity.urn,
            "type": "ImagingStudy",
            "identifier": {"system": identity.system, "value": identity.value},
        }


def uid_identity(uid: str) -> Identity:
    """Return the identity of an Observation that a UID of DICOM names."""
    return Identity("Observation", DICOM_UID, f"urn:oid:{uid}")


def path_identity(sop_instance_uid: str, path: str) -> Identity:
    """Return the identity of an Observation that has no UID: its report and its place there."""
    name = uuid.uuid5(_NAMESPACE, f"{sop_instance_uid}#{path}")
    return Identity("Observation", URI, f"urn:uuid:{name}")


def identifier_of(identity: Identity) -> dict[str, Any]:
    """Return the identifier by which a resource is found again."""
    return {"system": identity.system, "value": identity.value}


def concept(of: Concept | None) -> dict[str, Any] | None:
    """Return a CodeableConcept, or None where there is none."""
    return of.shaped("CodeableConcept") if of else None


def filled(**elements: Any) -> dict[str, Any]:
    """Return the elements that have a value; zero is one."""
    return {name: value for name, value in elements.items() if value not in (None, "", [], {})}


def named_device(report: Report) -> dict[str, Any]:
    """Return the equipment of a report by name, for equipment without a Device of its own."""
    names = (text(report.values, "Manufacturer"), text(report.values, "ManufacturerModelName"))
    shown = " ".join(filter(None, (clean_text(name) for name in names)))
    return {"type": "Device", "display": shown} if shown else {}
