"""FHIR AuditEvent in R4 and R5, validated."""

from __future__ import annotations

from datetime import UTC
from typing import Any

from fhir.resources.auditevent import AuditEvent as AuditEventR5
from fhir.resources.R4B.auditevent import AuditEvent as AuditEventR4B
from pydantic import BaseModel, ValidationError

from intu_fhir.audit.codes import DCM, EVENTS, OURS_URI, OUTCOMES, Code, own
from intu_fhir.audit.parties import URI, Party, Setting, one_line, parties
from intu_fhir.db.audit_report import AuditRow
from intu_fhir.errors import PermanentError
from intu_fhir.mappings import Release
from intu_fhir.model.audit import Outcome

_SYSTEMS = {DCM: "http://dicom.nema.org/resources/ontology/DCM"}
_TERMINOLOGY = "http://terminology.hl7.org/CodeSystem/"
_MODELS: dict[Release, type[BaseModel]] = {"r4": AuditEventR4B, "r5": AuditEventR5}
_LIFE_CYCLES = {
    "2": "Import / Copy",
    "6": "Access / Use",
    "10": "Export",
    "15": "Permanent erasure / Destruction",
}
_SEVERITIES = {
    Outcome.SUCCESS: "information",
    Outcome.MINOR: "warning",
    Outcome.SERIOUS: "error",
    Outcome.MAJOR: "fatal",
}
"""Codes of http://hl7.org/fhir/issue-severity, which R5 takes for the outcome."""


def audit_event(row: AuditRow, setting: Setting, release: Release) -> dict[str, Any]:
    """Return an event as an AuditEvent.

    Raises:
        PermanentError: it is not valid, which is a fault of this program.
    """
    made = _r4(row, setting) if release == "r4" else _r5(row, setting)
    try:
        _MODELS[release].model_validate(made)
    except ValidationError as error:
        places = ", ".join(".".join(map(str, one["loc"])) for one in error.errors()[:3])
        raise PermanentError(
            f"Audit event {row.event_id} makes no valid AuditEvent ({places}); please report it"
        ) from None
    return made


def _r4(row: AuditRow, setting: Setting) -> dict[str, Any]:
    event = EVENTS[row.action]
    made = {
        "resourceType": "AuditEvent",
        "id": row.event_id,
        "type": _coding(event.id),
        "subtype": [_coding(code) for code in (*event.types, own(row.action))],
        "action": event.kind,
        "recorded": _instant(row),
        "outcome": OUTCOMES[row.outcome],
        "agent": [_agent_r4(party) for party in parties(row, setting)],
        "source": {"observer": {"display": setting.source}, "type": [_server()]},
    }
    if row.reason:
        made["outcomeDesc"] = one_line(row.reason)
    return _with_entities(made, _entities(row, setting, "r4"))


def _r5(row: AuditRow, setting: Setting) -> dict[str, Any]:
    event = EVENTS[row.action]
    outcome: dict[str, Any] = {
        "code": {
            "system": "http://hl7.org/fhir/issue-severity",
            "code": _SEVERITIES[row.outcome],
        }
    }
    if row.reason:
        outcome["detail"] = [{"text": one_line(row.reason)}]
    made = {
        "resourceType": "AuditEvent",
        "id": row.event_id,
        "category": [{"coding": [_coding(event.id)]}],
        "code": {"coding": [_coding(code) for code in (own(row.action), *event.types)]},
        "action": event.kind,
        "recorded": _instant(row),
        "outcome": outcome,
        "agent": [_agent_r5(party) for party in parties(row, setting)],
        "source": {"observer": {"display": setting.source}, "type": [{"coding": [_server()]}]},
    }
    return _with_entities(made, _entities(row, setting, "r5"))


def _with_entities(made: dict[str, Any], entities: list[dict[str, Any]]) -> dict[str, Any]:
    return {**made, "entity": entities} if entities else made


def _instant(row: AuditRow) -> str:
    at = row.happened_at.astimezone(UTC).isoformat(timespec="milliseconds")
    return at.replace("+00:00", "Z")


def _coding(code: Code) -> dict[str, str]:
    system = _SYSTEMS.get(code.scheme, OURS_URI)
    return {"system": system, "code": code.value, "display": code.meaning}


def _server() -> dict[str, str]:
    system = f"{_TERMINOLOGY}security-source-type"
    return {"system": system, "code": "4", "display": "Application Server"}


def _agent(party: Party) -> dict[str, Any]:
    made: dict[str, Any] = {}
    if party.role is not None:
        made["type"] = {"coding": [_coding(party.role)]}
    name = one_line(party.name)
    made["who"] = {"identifier": {"value": name}, "display": name}
    made["requestor"] = party.requestor
    return made


def _agent_r4(party: Party) -> dict[str, Any]:
    made = _agent(party)
    if party.address:
        made["network"] = {"address": party.address, "type": party.address_kind}
    return made


def _agent_r5(party: Party) -> dict[str, Any]:
    made = _agent(party)
    if party.address:
        kind = "networkUri" if party.address_kind == URI else "networkString"
        made[kind] = party.address
    return made


def _entities(row: AuditRow, setting: Setting, release: Release) -> list[dict[str, Any]]:
    made = []
    if row.study_instance_uid:
        identifier = {"system": "urn:dicom:uid", "value": f"urn:oid:{row.study_instance_uid}"}
        study = _entity(identifier, ("3", "Report"), ("2", "System Object"), release)
        life_cycle = EVENTS[row.action].life_cycle
        if life_cycle and release == "r4":
            study["lifecycle"] = {
                "system": f"{_TERMINOLOGY}dicom-audit-lifecycle",
                "code": life_cycle,
                "display": _LIFE_CYCLES[life_cycle],
            }
        study["detail"] = [_number("instances", row.objects, release)]
        made.append(study)
    if row.patient_id:
        identifier = {"value": one_line(row.patient_id)}
        if system := setting.patient_system(row.issuer_of_patient_id):
            identifier = {"system": system, **identifier}
        made.append(_entity(identifier, ("1", "Patient"), ("1", "Person"), release))
    return made


def _entity(
    identifier: dict[str, str], role: tuple[str, str], kind: tuple[str, str], release: Release
) -> dict[str, Any]:
    coded_role = {"system": f"{_TERMINOLOGY}object-role", "code": role[0], "display": role[1]}
    if release == "r5":
        return {"what": {"identifier": identifier}, "role": {"coding": [coded_role]}}
    coded_kind = {
        "system": f"{_TERMINOLOGY}audit-entity-type",
        "code": kind[0],
        "display": kind[1],
    }
    return {"what": {"identifier": identifier}, "type": coded_kind, "role": coded_role}


def _number(name: str, number: int, release: Release) -> dict[str, Any]:
    if release == "r5":
        return {"type": {"text": name}, "valueInteger": number}
    return {"type": name, "valueString": str(number)}
