"""Who took part in an event: the same for every way to write it."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass

from intu_fhir.audit.codes import APPLICATION, DESTINATION, INCOMING, SOURCE, Code
from intu_fhir.db.audit_report import AuditRow
from intu_fhir.model.audit import Actor

_NO_TEXT = re.compile("[^\\t \\u0021-\\u007e\\u00a0-\\ud7ff\\ue000-\\ufffd\\U00010000-\\U0010ffff]")

MACHINE_NAME, IP_ADDRESS, URI = "1", "2", "5"
"""NetworkAccessPointTypeCode (PS3.15 A.5.1), and AuditEvent.agent.network.type in FHIR R4."""


def one_line(text: str) -> str:
    """Return text that XML 1.0 and FHIR can hold: no control characters, one line."""
    return _NO_TEXT.sub("\N{REPLACEMENT CHARACTER}", " ".join(text.splitlines()))


@dataclass(frozen=True, slots=True)
class Setting:
    """What the trail itself does not hold.

    Args:
        source: names this installation to who collects audit trails.
        addresses: where each destination is: a URL, or host:port.
        patient_systems: system of Patient IDs by their issuer; ``""`` for those without one.
    """

    source: str
    addresses: Mapping[str, str]
    patient_systems: Mapping[str, str]

    def patient_system(self, issuer: str) -> str:
        """Return the system of a Patient ID, or nothing."""
        return self.patient_systems.get(issuer, "")


@dataclass(frozen=True, slots=True)
class Party:
    """One who took part; exactly one of an event's parties asked for it."""

    name: str
    role: Code | None
    requestor: bool
    is_device: bool = False
    address: str = ""

    @property
    def address_kind(self) -> str:
        """Return what kind of address it is."""
        if "://" in self.address:
            return URI
        try:
            ipaddress.ip_address(self.address)
        except ValueError:
            return MACHINE_NAME
        return IP_ADDRESS


def parties(row: AuditRow, setting: Setting) -> tuple[Party, ...]:
    """Return who took part in an event, who asked for it first."""
    device = row.actor_kind == Actor.DEVICE
    actor = Party(
        row.actor or "unknown",
        _role(row),
        requestor=True,
        is_device=device,
        address=row.address,
    )
    if row.action in INCOMING:
        return actor, Party(setting.source, DESTINATION, requestor=False)
    if row.destination:
        address = setting.addresses.get(row.destination, "")
        return actor, Party(row.destination, DESTINATION, requestor=False, address=address)
    if row.actor_kind == Actor.PERSON:
        return actor, Party(setting.source, APPLICATION, requestor=False)
    return (actor,)


def _role(row: AuditRow) -> Code | None:
    if row.actor_kind == Actor.PERSON:
        return None
    return SOURCE if row.destination or row.action in INCOMING else APPLICATION
