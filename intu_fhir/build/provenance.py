"""What a publication was made of, and by what, as Provenance (FHIR Provenance)."""

from __future__ import annotations

from typing import Any

from intu_fhir.build.concepts import coding
from intu_fhir.build.observation import DICOM_UID
from intu_fhir.files.part10 import IMPLEMENTATION_CLASS_UID
from intu_fhir.model.companion import PROVENANCE, Companion, Identity
from intu_fhir.model.study import Study

PARTICIPANT = "http://terminology.hl7.org/CodeSystem/provenance-participant-type"
MAX_INSTANCES = 500
"""A study with more instances is told by its series."""


def provenance(study: Study, mapping_version: str, program_version: str) -> Companion:
    """Return where the content of a study came from, without what only a server can tell.

    Target, time and activity are put in when it is sent: it speaks of one version there.
    """
    agents = [_assembler(program_version), *map(_sender, sorted(set(study.calling_ae_titles)))]
    resource: dict[str, Any] = {
        "resourceType": "Provenance",
        "agent": agents,
        "entity": [*_sources(study), _mapping(mapping_version)],
    }
    return Companion(PROVENANCE, Identity("Provenance", DICOM_UID, study.uid), resource)


def _assembler(version: str) -> dict[str, Any]:
    who = {
        "type": "Device",
        "identifier": {"system": DICOM_UID, "value": f"urn:oid:{IMPLEMENTATION_CLASS_UID}"},
        "display": f"intu-fhir {version}",
    }
    return {"type": {"coding": [coding(PARTICIPANT, "assembler", "Assembler")]}, "who": who}


def _sender(ae_title: str) -> dict[str, Any]:
    kind = {"coding": [coding(PARTICIPANT, "informant", "Informant")]}
    return {"type": kind, "who": {"type": "Device", "display": ae_title}}


def _sources(study: Study) -> list[dict[str, Any]]:
    if study.number_of_instances <= MAX_INSTANCES:
        instances = sorted(i.uid for series in study.series for i in series.instances)
        return [_source(uid, f"SOP instance {uid}") for uid in instances]
    return [
        _source(series.uid, f"series {series.uid}, {len(series.instances)} instances")
        for series in study.series
    ]


def _source(uid: str, display: str) -> dict[str, Any]:
    identifier = {"system": DICOM_UID, "value": f"urn:oid:{uid}"}
    return {"role": "source", "what": {"identifier": identifier, "display": display}}


def _mapping(version: str) -> dict[str, Any]:
    return {"role": "source", "what": {"display": f"mapping {version}"}}
