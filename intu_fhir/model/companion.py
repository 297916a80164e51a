"""Resources that go to a FHIR server together with an ImagingStudy."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, replace
from typing import Any

ENDPOINT, DEVICE, PROVENANCE = "endpoint", "device", "provenance"
DOSE, MEASUREMENTS = "dose", "measurements"
KINDS = (ENDPOINT, DEVICE, PROVENANCE, DOSE, MEASUREMENTS)
"""What a destination can ask for beside the study, by the name of its setting."""

DOCUMENT = "document"
"""The study as a DocumentReference, where a server takes no ImagingStudy."""

SHARED = frozenset({ENDPOINT, DEVICE})
"""Kinds that many studies have in common: one resource at a server, whatever study came first."""

_NAMESPACE = uuid.UUID("5f0c7a54-9f0a-5f5c-8b0e-2f6d5f1f0f6b")


@dataclass(frozen=True, slots=True)
class Identity:
    """What a resource is recognised by at every server: type and business identifier."""

    resource_type: str
    system: str
    value: str

    @property
    def uuid(self) -> str:
        """A UUID that always belongs to this identity (RFC 9562, version 5)."""
        return str(uuid.uuid5(_NAMESPACE, f"{self.resource_type}|{self.system}|{self.value}"))

    @property
    def urn(self) -> str:
        """What other resources refer to before the server has given an id."""
        return f"urn:uuid:{self.uuid}"


def study_identity(study_uid: str) -> Identity:
    """Return the identity of the ImagingStudy of a study."""
    return Identity("ImagingStudy", "urn:dicom:uid", f"urn:oid:{study_uid}")


def document_identity(study_uid: str) -> Identity:
    """Return the identity of the DocumentReference of a study."""
    return replace(study_identity(study_uid), resource_type="DocumentReference")


@dataclass(frozen=True, slots=True)
class Companion:
    """One resource beside the ImagingStudy, references to others as ``urn:uuid:``.

    Args:
        kind: one of ``KINDS``, or ``DOCUMENT``, which takes the study's place.
        resource: without the destination's own subject.
        source_uid: SOP Instance UID of the report it was made from, or nothing.
        series: UIDs of the series whose performer it is (a Device).
    """

    kind: str
    identity: Identity
    resource: dict[str, Any]
    source_uid: str = ""
    series: tuple[str, ...] = ()
