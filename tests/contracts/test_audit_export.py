"""The exported audit trail is right in the eyes of validators, and of the standard's own table."""

from __future__ import annotations

from collections.abc import Iterator
from xml.etree.ElementTree import fromstring

import pytest

from intu_fhir.audit.codes import EVENTS
from intu_fhir.audit.dicom import audit_message
from intu_fhir.audit.fhir import audit_event
from intu_fhir.audit.parties import Setting
from intu_fhir.db.audit_report import AuditRow
from intu_fhir.mappings import Release
from intu_fhir.model.audit import Action, Actor, Outcome, once
from tests.support.audit_messages import objections
from tests.support.clock import START
from tests.support.validators import validate_independently

SETTING = Setting(
    "intu.example.org",
    {"ehr": "https://ehr.example.org/fhir", "pacs": "10.0.0.9"},
    {"": "urn:oid:1.2.3.9"},
)
CT = "1.2.840.10008.5.1.4.1.1.2"


def row(
    action: Action,
    *,
    outcome: Outcome = Outcome.SUCCESS,
    actor_kind: Actor = Actor.PROGRAM,
    reason: str = "HTTP 201",
    destination: str = "",
) -> AuditRow:
    """Return an event about a study."""
    return AuditRow(
        audit_event_key=1,
        event_id=once(action, outcome, actor_kind, reason),
        happened_at=START,
        action=action,
        outcome=outcome,
        actor="CT_1",
        actor_kind=actor_kind,
        address="10.0.0.7",
        study_instance_uid="1.2.840.1",
        association_id="a1",
        destination=destination,
        objects=12,
        reason=reason,
        position=1,
        hash="0" * 64,
        patient_id="P-1",
        sop_classes=((CT, 12),),
    )


def every_kind() -> Iterator[AuditRow]:
    """Give each action with each outcome and each kind of actor, and hostile words."""
    for action in Action:
        for outcome in Outcome:
            for kind in Actor:
                yield row(action, outcome=outcome, actor_kind=kind)
    for destination in ("ehr", "pacs", "gone"):
        yield row(Action.PUBLISHED, destination=destination)
    yield row(Action.REFUSED, reason="<a>&\"'\n\x1b[2J\ufffe\N{REPLACEMENT CHARACTER} \U0001f600")


@pytest.mark.parametrize("release", ["r4", "r5"])
def test_audit_events_are_valid(release: Release) -> None:
    """Every action, outcome and actor makes an AuditEvent that independent validators take."""
    made = [audit_event(one, SETTING, release) for one in every_kind()]
    assert validate_independently(made, release) == []


def test_audit_messages_follow_the_schema() -> None:
    """Every action, outcome and actor makes a message that the schema of PS3.15 A.5.1 takes."""
    for one in every_kind():
        written = audit_message(one, SETTING)
        assert b"\n" not in written
        assert list(objections(fromstring(written))) == []


def test_every_action_has_its_event() -> None:
    """No action lacks a code, and no two of ours share one."""
    assert set(EVENTS) == set(Action)
    ours = [event.id.value for event in EVENTS.values() if event.id.scheme == "99INTU"]
    assert len(ours) == len(set(ours))


CODES = {
    Action.ACCEPTED: "110104",
    Action.FORWARDED: "110104",
    Action.PUBLISHED: "110106",
    Action.VIEWED: "110103",
    Action.QUERIED: "110112",
    Action.AUDIT_READ: "110101",
    Action.SIGNED_IN: "110114",
    Action.GRANTED: "110113",
    Action.REVOKED: "110113",
    Action.STARTED: "110100",
    Action.DELETED: "110105",
}


@pytest.mark.parametrize("action", CODES)
def test_the_codes_of_the_standard(action: Action) -> None:
    """What PS3.15 A.5.3 has a message for goes by that message's code, in both formats."""
    message = fromstring(audit_message(row(action), SETTING))
    found = message.find("EventIdentification/EventID")
    assert found is not None
    assert found.get("csd-code") == CODES[action]
    assert audit_event(row(action), SETTING, "r4")["type"]["code"] == CODES[action]
    assert (
        audit_event(row(action), SETTING, "r5")["category"][0]["coding"][0]["code"] == CODES[action]
    )


def test_only_the_patient_id_gets_out() -> None:
    """Of the patient a message holds the Patient ID with its system, once, and no name."""
    message = fromstring(audit_message(row(Action.VIEWED), SETTING))
    patients = [
        one
        for one in message.findall("ParticipantObjectIdentification")
        if one.get("ParticipantObjectTypeCodeRole") == "1"
    ]
    assert [one.get("ParticipantObjectID") for one in patients] == ["P-1"]
    assert [one.findtext("ParticipantObjectName") for one in patients] == [""]
    entities = audit_event(row(Action.VIEWED), SETTING, "r4")["entity"]
    assert entities[1]["what"] == {"identifier": {"system": "urn:oid:1.2.3.9", "value": "P-1"}}
    assert "name" not in entities[1]


def test_one_participant_has_asked_for_it() -> None:
    """Exactly one party is the requestor: the sender of images, the worker, or the person."""
    for one in every_kind():
        message = fromstring(audit_message(one, SETTING))
        asked = [p.get("UserIsRequestor") for p in message.findall("ActiveParticipant")]
        assert asked.count("true") == 1
        assert [a["requestor"] for a in audit_event(one, SETTING, "r4")["agent"]].count(True) == 1
