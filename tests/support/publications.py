"""Small valid ImagingStudy resources, and what is to be published of them."""

from __future__ import annotations

from typing import Any

from intu_fhir.deliver.fhir import Publication
from intu_fhir.model.canonical import content_hash
from intu_fhir.model.outcome import Delivered, DeliveryOutcome

PATIENT_SYSTEM = "urn:oid:1.2.276.0.76.3.1.999.1"
DCM = "http://dicom.nema.org/resources/ontology/DCM"


def imaging_study(
    uid: str = "1.2.3", *, instances: int = 2, release: str = "r4", **elements: Any
) -> dict[str, Any]:
    """Return a valid ImagingStudy with one series."""
    modality: dict[str, Any] = {"system": DCM, "code": "CT"}
    listed = [
        {
            "uid": f"{uid}.1.{number}",
            "sopClass": {
                "system": "urn:ietf:rfc:3986",
                "code": "urn:oid:1.2.840.10008.5.1.4.1.1.2",
            },
        }
        for number in range(1, instances + 1)
    ]
    return {
        "resourceType": "ImagingStudy",
        "identifier": [{"system": "urn:dicom:uid", "value": f"urn:oid:{uid}"}],
        "status": "available",
        "subject": {
            "type": "Patient",
            "identifier": {"system": PATIENT_SYSTEM, "value": "PAT-0001"},
            "display": "Sample, Samantha",
        },
        "numberOfSeries": 1,
        "numberOfInstances": instances,
        "series": [
            {
                "uid": f"{uid}.1",
                "modality": modality if release == "r4" else {"coding": [modality]},
                "numberOfInstances": instances,
                "instance": listed,
            }
        ],
        **elements,
    }


def publication(
    resource: dict[str, Any], uid: str = "1.2.3", known: DeliveryOutcome | None = None
) -> Publication:
    """Return what is to be published; ``known`` is what an earlier delivery learned."""
    learned = known if isinstance(known, Delivered) else Delivered()
    return Publication(
        study_uid=uid,
        resource=resource,
        content_hash=content_hash(resource),
        server_id=learned.server_id,
        version=learned.version,
        last_hash=learned.content_hash,
    )


def delivered(outcome: object) -> Delivered:
    """Return the outcome as the success that it has to be."""
    assert isinstance(outcome, Delivered), outcome
    return outcome
