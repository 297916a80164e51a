"""The schema of DICOM audit messages (PS3.15 A.5.1.1), as a table of its elements."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from xml.etree.ElementTree import Element

_ANY = re.compile(".*")
_TOKEN = re.compile(r"\S(.*\S)?")
_BOOLEAN = re.compile("true|false")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)")
_CODE = {"csd-code": _TOKEN, "codeSystemName": _TOKEN, "originalText": _TOKEN}


@dataclass(frozen=True)
class Rule:
    """What an element may hold.

    Args:
        required: attributes that must be there.
        allowed: attributes that may be.
        children: names of its children in their order, each with least and most.
    """

    required: Mapping[str, re.Pattern[str]] = field(default_factory=dict)
    allowed: Mapping[str, re.Pattern[str]] = field(default_factory=dict)
    children: tuple[tuple[str, int, int], ...] = ()


MANY = 1_000_000
CODED = Rule(_CODE, {"displayName": _TOKEN})
RULES: Mapping[str, Rule] = {
    "AuditMessage": Rule(
        children=(
            ("EventIdentification", 1, 1),
            ("ActiveParticipant", 1, MANY),
            ("AuditSourceIdentification", 1, 1),
            ("ParticipantObjectIdentification", 0, MANY),
        )
    ),
    "EventIdentification": Rule(
        {"EventDateTime": _TIME, "EventOutcomeIndicator": re.compile("0|4|8|12")},
        {"EventActionCode": re.compile("[CRUDE]")},
        (("EventID", 1, 1), ("EventTypeCode", 0, MANY), ("EventOutcomeDescription", 0, 1)),
    ),
    "EventID": CODED,
    "EventTypeCode": CODED,
    "EventOutcomeDescription": Rule(),
    "ActiveParticipant": Rule(
        {"UserID": _ANY, "UserIsRequestor": _BOOLEAN},
        {
            "AlternativeUserID": _ANY,
            "UserName": _ANY,
            "NetworkAccessPointID": _TOKEN,
            "NetworkAccessPointTypeCode": re.compile("[1-5]"),
        },
        (("RoleIDCode", 0, MANY),),
    ),
    "RoleIDCode": CODED,
    "AuditSourceIdentification": Rule(
        {"AuditSourceID": _TOKEN},
        {"AuditEnterpriseSiteID": _TOKEN},
        (("AuditSourceTypeCode", 0, MANY),),
    ),
    "AuditSourceTypeCode": Rule({"csd-code": re.compile("[1-9]")}),
    "ParticipantObjectIdentification": Rule(
        {"ParticipantObjectID": _TOKEN},
        {
            "ParticipantObjectTypeCode": re.compile("[1-4]"),
            "ParticipantObjectTypeCodeRole": re.compile("[1-9]|1[0-9]|2[0-6]"),
            "ParticipantObjectDataLifeCycle": re.compile("[1-9]|1[0-5]"),
        },
        (
            ("ParticipantObjectIDTypeCode", 1, 1),
            ("ParticipantObjectName", 0, 1),
            ("ParticipantObjectQuery", 0, 1),
            ("ParticipantObjectDetail", 0, MANY),
            ("ParticipantObjectDescription", 0, MANY),
        ),
    ),
    "ParticipantObjectIDTypeCode": CODED,
    "ParticipantObjectName": Rule(),
    "ParticipantObjectQuery": Rule(),
    "ParticipantObjectDescription": Rule(children=(("SOPClass", 0, MANY),)),
    "SOPClass": Rule({"NumberOfInstances": re.compile(r"\d+")}, {"UID": re.compile(r"[0-9.]+")}),
}


def objections(element: Element, name: str = "AuditMessage") -> Iterator[str]:
    """Say what an element breaks of the schema."""
    if element.tag != name:
        yield f"{element.tag} where {name} should be"
        return
    rule = RULES[name]
    yield from (f"{name}@{a} is missing" for a in rule.required if a not in element.attrib)
    known = {**rule.required, **rule.allowed}
    for attribute, value in element.attrib.items():
        if attribute not in known or not known[attribute].fullmatch(value):
            yield f"{name}@{attribute}={value!r}"
    yield from _children(element, rule)
    if name == "ParticipantObjectIdentification":
        named = [child.tag for child in element if child.tag.endswith(("Name", "Query"))]
        if len(named) != 1:
            yield f"{name} has {named}, not one of name and query"
    if name == "ParticipantObjectQuery":
        base64.b64decode(element.text or "", validate=True)


def _children(element: Element, rule: Rule) -> Iterator[str]:
    order = [name for name, _, _ in rule.children]
    tags = [child.tag for child in element]
    if unknown := set(tags) - set(order):
        yield f"{element.tag} holds {sorted(unknown)}"
        return
    if tags != sorted(tags, key=order.index):
        yield f"{element.tag}: the order is {tags}"
    for name, least, most in rule.children:
        if not least <= tags.count(name) <= most:
            yield f"{element.tag} holds {tags.count(name)} of {name}"
    for child in element:
        yield from objections(child, child.tag)
