"""DICOM audit messages (PS3.15 A.5.1), one XML document for each event."""

from __future__ import annotations

import base64
from datetime import UTC
from xml.etree.ElementTree import Element, SubElement, tostring

from intu_fhir.audit.codes import EVENTS, OUTCOMES, STUDY_UID, Code, own
from intu_fhir.audit.parties import Party, Setting, one_line, parties
from intu_fhir.db.audit_report import AuditRow
from intu_fhir.model.audit import Action

_RFC_3881 = "RFC-3881"


def audit_message(row: AuditRow, setting: Setting) -> bytes:
    """Return an event as an AuditMessage, on one line."""
    message = Element("AuditMessage")
    _event(message, row)
    for party in parties(row, setting):
        _participant(message, party)
    source = SubElement(
        message, "AuditSourceIdentification", AuditSourceID=one_line(setting.source)
    )
    SubElement(source, "AuditSourceTypeCode", {"csd-code": "4"})
    _objects(message, row)
    written: bytes = tostring(message, encoding="utf-8")
    return written


def _event(message: Element, row: AuditRow) -> None:
    event = EVENTS[row.action]
    at = row.happened_at.astimezone(UTC).isoformat(timespec="milliseconds")
    made = SubElement(
        message,
        "EventIdentification",
        EventActionCode=event.kind,
        EventDateTime=at,
        EventOutcomeIndicator=OUTCOMES[row.outcome],
    )
    _coded(made, "EventID", event.id)
    for code in (*event.types, own(row.action)):
        _coded(made, "EventTypeCode", code)
    if row.reason:
        SubElement(made, "EventOutcomeDescription").text = one_line(row.reason)


def _participant(message: Element, party: Party) -> None:
    attributes = {"UserID": one_line(party.name), "UserIsRequestor": str(party.requestor).lower()}
    if party.is_device:
        attributes["AlternativeUserID"] = one_line(f"AETITLES={party.name}")
    if party.address:
        attributes["NetworkAccessPointID"] = one_line(party.address)
        attributes["NetworkAccessPointTypeCode"] = party.address_kind
    made = SubElement(message, "ActiveParticipant", attributes)
    if party.role is not None:
        _coded(made, "RoleIDCode", party.role)


def _objects(message: Element, row: AuditRow) -> None:
    if row.study_instance_uid:
        _study(message, row)
    if row.patient_id:
        patient = Code("2", "Patient Number", _RFC_3881)
        made = _object(message, patient, row.patient_id, kind="1", role="1")
        SubElement(made, "ParticipantObjectName")  # one must be there; names stay in staging
    if row.action is Action.AUDIT_READ:
        made = _object(message, Code("12", "URI", _RFC_3881), "audit_events", kind="2", role="13")
        SubElement(made, "ParticipantObjectName").text = "Security Audit Log"
    if row.action is Action.QUERIED:
        asked = Code("10", "Search Criteria", _RFC_3881)
        made = _object(message, asked, "staging database", kind="2", role="24")
        asked_for = base64.b64encode(row.reason.encode()).decode()
        SubElement(made, "ParticipantObjectQuery").text = asked_for


def _study(message: Element, row: AuditRow) -> None:
    made = _object(
        message,
        STUDY_UID,
        row.study_instance_uid,
        kind="2",
        role="3",
        life_cycle=EVENTS[row.action].life_cycle,
    )
    SubElement(made, "ParticipantObjectName")
    described = SubElement(made, "ParticipantObjectDescription")
    for sop_class, number in row.sop_classes:
        SubElement(described, "SOPClass", UID=sop_class, NumberOfInstances=str(number))


def _object(
    message: Element, id_type: Code, value: str, *, kind: str, role: str, life_cycle: str = ""
) -> Element:
    attributes = {
        "ParticipantObjectID": one_line(value),
        "ParticipantObjectTypeCode": kind,
        "ParticipantObjectTypeCodeRole": role,
    }
    if life_cycle:
        attributes["ParticipantObjectDataLifeCycle"] = life_cycle
    made = SubElement(message, "ParticipantObjectIdentification", attributes)
    _coded(made, "ParticipantObjectIDTypeCode", id_type)
    return made


def _coded(parent: Element, name: str, code: Code) -> None:
    SubElement(
        parent,
        name,
        {
            "csd-code": code.value,
            "codeSystemName": code.scheme,
            "displayName": code.meaning,
            "originalText": code.meaning,
        },
    )
