"""The service from which images can be had, as Endpoint (FHIR Endpoint, PS3.18 10.4)."""

from __future__ import annotations

from typing import Any

from intu_fhir.build.concepts import coding
from intu_fhir.build.observation import URI, identifier_of
from intu_fhir.mappings import Release
from intu_fhir.model.companion import ENDPOINT, Companion, Identity

CONNECTION_TYPE = "http://terminology.hl7.org/CodeSystem/endpoint-connection-type"
_WADO_RS = coding(CONNECTION_TYPE, "dicom-wado-rs", "DICOM WADO-RS")
_PAYLOAD = {"text": "DICOM WADO-RS"}
_MIME = ["application/dicom"]


def wado_rs_endpoint(address: str, release: Release) -> Companion:
    """Return the Endpoint of a DICOMweb service; all studies share it.

    Args:
        address: base of the service, to which readers add ``/studies/...``.
    """
    identity = Identity("Endpoint", URI, address)
    resource: dict[str, Any] = {
        "resourceType": "Endpoint",
        "identifier": [identifier_of(identity)],
        "status": "active",
        **(_r5() if release == "r5" else _r4()),
        "address": address,
    }
    return Companion(ENDPOINT, identity, resource)


def _r4() -> dict[str, Any]:
    return {
        "connectionType": _WADO_RS,
        "payloadType": [_PAYLOAD],
        "payloadMimeType": _MIME,
    }


def _r5() -> dict[str, Any]:
    return {
        "connectionType": [{"coding": [_WADO_RS]}],
        "payload": [{"type": [_PAYLOAD], "mimeType": _MIME}],
    }
