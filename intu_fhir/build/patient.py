"""The patient of a study as a reference (FHIR ImagingStudy.subject)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from intu_fhir.build.datatypes import first_value
from intu_fhir.build.identifiers import identifier, rules_for, system_of
from intu_fhir.build.names import name_groups
from intu_fhir.build.source import Convert, Source, value_at
from intu_fhir.mappings import rules
from intu_fhir.model.values import Values, items, text

DATA_ABSENT_REASON = "http://hl7.org/fhir/StructureDefinition/data-absent-reason"
_HUMAN = frozenset({"HOMO SAPIENS", "HUMAN", "337915000", "L-85B00"})


def make_patient(rule: rules.Patient) -> Convert:
    """Make the converter of ``subject``."""
    exact = frozenset(one.upper() for one in rule.placeholders if not one.endswith("*"))
    begins = tuple(one[:-1].upper() for one in rule.placeholders if one.endswith("*"))

    def convert(source: Source) -> Sequence[Any]:
        values = source.study.values
        _note_kind(source, values, rule)
        subject: dict[str, Any] = {}
        patient_id = value_at(source, values, "PatientID")
        folded = patient_id.upper()
        if patient_id and folded not in exact and not (begins and folded.startswith(begins)):
            subject = {"type": "Patient", "identifier": patient_identifier(source, patient_id)}
        else:
            sent = rule.unknown == "publish"
            source.note("subject_marked_unknown" if sent else "subject_unknown", "PatientID")
            subject["extension"] = [{"url": DATA_ABSENT_REASON, "valueCode": "unknown"}]
        if rule.show_name and (name := _display_name(source, values)):
            subject["display"] = name
        return (subject,)

    return convert


def patient_identifier(source: Source, patient_id: str) -> dict[str, Any]:
    """Return the Patient ID: MR, or PI where its issuer is not the site's own (HL7 table 0203)."""
    values = source.study.values
    site = rules_for(source, "patient")
    system = system_of(
        source,
        site,
        items(values, "IssuerOfPatientIDQualifiersSequence"),
        text(values, "IssuerOfPatientID"),
        attribute="PatientID",
    )
    foreign = system is not None and site.default is not None and system != site.default
    return identifier(patient_id, system, "PI" if foreign else "MR")


def _note_kind(source: Source, values: Values, rule: rules.Patient) -> None:
    """Note what is no patient; it is sent only where the mapping says so."""
    sent = "subject_sent_as_patient" if rule.not_a_patient == "publish" else ""
    if text(values, "QualityControlSubject").upper() == "YES":
        source.note(sent or "subject_is_phantom", "QualityControlSubject")
    if text(values, "PatientIdentityRemoved").upper() == "YES":
        source.note("subject_anonymous", "PatientIdentityRemoved")
    species = [text(item, "CodeValue") for item in items(values, "PatientSpeciesCodeSequence")]
    named = {one.upper() for one in (*species, text(values, "PatientSpeciesDescription")) if one}
    if named and not named & _HUMAN:
        source.note(sent or "subject_is_animal", "PatientSpeciesDescription")


def _display_name(source: Source, values: Values) -> str:
    """Return the first non-empty group of the patient's name as people write it."""
    raw, more = first_value(values, "PatientName")
    if more:
        source.note("several_values", "PatientName")
    groups = name_groups(raw)
    return groups[0].text if groups else ""
