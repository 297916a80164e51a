"""A study as a DocumentReference, for servers that take no ImagingStudy (FHIR DocumentReference).

Type and class are those of LOINC for imaging as such. Modality and body sites stand where IHE
XDS-I.b has them (RAD TF-3 4.68.4.1.2.3.2: eventCodeList), in R5 in elements of their own.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from intu_fhir.build.concepts import coding
from intu_fhir.build.observation import DICOM_UID, filled
from intu_fhir.build.walk import dicts
from intu_fhir.mappings import Release
from intu_fhir.model.companion import DOCUMENT, Companion, document_identity, study_identity

LOINC = "http://loinc.org"
TYPE = {"coding": [coding(LOINC, "18748-4", "Diagnostic imaging study")]}
CATEGORY = {"coding": [coding(LOINC, "18726-0", "Radiology studies (set)")]}
DICOM = "application/dicom"
WITHDRAWN = frozenset({"cancelled", "entered-in-error"})
"""Statuses of an ImagingStudy of which nothing is left."""


def document_reference(study_uid: str, study: Mapping[str, Any], release: Release) -> Companion:
    """Return what says of a study, as built, that it is there.

    The address of its images and the date are put in when it is sent: they differ by destination
    and by version.
    """
    description = study.get("description", "")
    attachment = filled(contentType=DICOM, title=description, creation=study.get("started", ""))
    resource: dict[str, Any] = {
        "resourceType": "DocumentReference",
        **filled(
            meta=_kept_meta(study.get("meta")),
            identifier=_identifiers(study),
            status="entered-in-error" if study.get("status") in WITHDRAWN else "current",
            type=TYPE,
            category=[CATEGORY],
            subject=study.get("subject"),
            description=description,
        ),
        "content": [{"attachment": attachment}],
        **(_r5(study) if release == "r5" else _r4(study, study_uid)),
    }
    return Companion(DOCUMENT, document_identity(study_uid), resource)


def _kept_meta(meta: Any) -> dict[str, Any]:
    """Return what the site's hook has marked the study with."""
    kept = meta if isinstance(meta, dict) else {}
    return {key: kept[key] for key in ("security", "tag") if kept.get(key)}


def _identifiers(study: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the study's identifiers, and the accession numbers of its orders."""
    found: dict[tuple[Any, Any], dict[str, Any]] = {}
    orders = (one.get("identifier") for one in dicts(study.get("basedOn")))
    accessions = (one for one in orders if isinstance(one, dict) and _is_accession(one))
    for one in (*dicts(study.get("identifier")), *accessions):
        found.setdefault((one.get("system"), one.get("value")), one)
    return list(found.values())


def _is_accession(identifier: Mapping[str, Any]) -> bool:
    kind = identifier.get("type")
    codings = dicts(kind.get("coding")) if isinstance(kind, dict) else ()
    return any(one.get("code") == "ACSN" for one in codings)


def _r4(study: Mapping[str, Any], study_uid: str) -> dict[str, Any]:
    events = [*_concepts(dicts(study.get("modality"))), *_concepts(_body_sites(study))]
    context = filled(
        encounter=_encounters(study),
        event=events,
        period=filled(start=study.get("started", "")),
        related=[_study(study_uid), *dicts(study.get("basedOn"))],
    )
    return {"context": context}


def _r5(study: Mapping[str, Any]) -> dict[str, Any]:
    return filled(
        modality=_once(dicts(study.get("modality"))),
        bodySite=_once(_body_sites(study)),
        context=_encounters(study),
        basedOn=list(dicts(study.get("basedOn"))),
        period=filled(start=study.get("started", "")),
    )


def _study(study_uid: str) -> dict[str, Any]:
    """Return the ImagingStudy by its identifier: another server may have it."""
    identity = study_identity(study_uid)
    identifier = {"system": DICOM_UID, "value": identity.value}
    return {"type": "ImagingStudy", "identifier": identifier}


def _encounters(study: Mapping[str, Any]) -> list[dict[str, Any]]:
    encounter = study.get("encounter")
    return [encounter] if isinstance(encounter, dict) else []


def _body_sites(study: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for series in dicts(study.get("series")):
        if isinstance(site := series.get("bodySite"), dict):
            yield site


def _concepts(codings: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return each Coding once as a CodeableConcept; one without a code is text."""
    return _once(
        {"coding": [one]} if one.get("code") else {"text": one.get("display", "")}
        for one in codings
    )


def _once(values: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    found: Sequence[dict[str, Any]] = []
    for value in values:
        if value not in found:
            found = [*found, value]
    return list(found)
