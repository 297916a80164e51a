"""Equipment as Device (PS3.3 C.7.5.1): only equipment that can be told from all other.

A model name alone would make one Device of all scanners of a kind, so equipment with neither
Device UID nor serial number gets none.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any

from intu_fhir.build.concepts import coding
from intu_fhir.build.datatypes import clean_text, parts_of
from intu_fhir.build.identifiers import V2_0203
from intu_fhir.build.observation import DICOM_UID, URI, filled, identifier_of
from intu_fhir.mappings import Release
from intu_fhir.model.companion import DEVICE, Companion, Identity
from intu_fhir.model.study import Series, Study
from intu_fhir.model.uid import is_conformant_uid
from intu_fhir.model.values import Values, items, text

_NAMESPACE = uuid.UUID("a2c6f0ce-58b7-5a4f-8f0f-31f6f7a5a0b6")


def devices(study: Study, release: Release) -> list[Companion]:
    """Return the Device of each piece of equipment of a study, with the series it made."""
    made: dict[Identity, tuple[Series, list[str]]] = {}
    for series in study.series:
        identity = device_identity(series.values)
        if identity is not None:
            made.setdefault(identity, (series, []))[1].append(series.uid)
    return [
        Companion(DEVICE, identity, _device(identity, first.values, release), series=tuple(uids))
        for identity, (first, uids) in made.items()
    ]


def device_identity(values: Values) -> Identity | None:
    """Return what tells equipment from all other, or None.

    The Device UID (0018,1002), else maker, model and serial number (0018,1000) together: two
    makers may give the same number.
    """
    uid = parts_of(text(values, "DeviceUID"))[:1]
    if uid and is_conformant_uid(uid[0]):
        return Identity("Device", DICOM_UID, f"urn:oid:{uid[0]}")
    serial, maker = _clean(values, "DeviceSerialNumber"), _clean(values, "Manufacturer")
    if not serial or not maker:
        return None
    name = "|".join((maker.upper(), _clean(values, "ManufacturerModelName").upper(), serial))
    return Identity("Device", URI, f"urn:uuid:{uuid.uuid5(_NAMESPACE, name)}")


def device_reference(companion: Companion) -> dict[str, Any]:
    """Return what an element that names a Device holds."""
    return filled(
        reference=companion.identity.urn, type="Device", display=_display(companion.resource)
    )


def _device(identity: Identity, values: Values, release: Release) -> dict[str, Any]:
    serial, model = _clean(values, "DeviceSerialNumber"), _clean(values, "ManufacturerModelName")
    kind = {"coding": [coding(V2_0203, "SNO")]}
    identifiers = [identifier_of(identity)]
    if serial:
        identifiers.append({"type": kind, "value": serial})
    return filled(
        resourceType="Device",
        identifier=identifiers,
        status="active",
        manufacturer=_clean(values, "Manufacturer"),
        serialNumber=serial,
        modelNumber=model,
        version=[{"value": one} for one in map(_cleaned, _versions(values)) if one],
        **_FORMS[release](model, _udi(values)),
    )


def _r4(model: str, udi: str) -> dict[str, Any]:
    return filled(
        deviceName=[{"name": model, "type": "model-name"}] if model else [],
        udiCarrier=[{"carrierHRF": udi}] if udi else [],
    )


def _r5(model: str, udi: str) -> dict[str, Any]:
    # R5 has no name for a model, and its udiCarrier asks for an issuer, which the header lacks.
    return {}


_FORMS: Mapping[Release, Any] = {"r4": _r4, "r5": _r5}


def _udi(values: Values) -> str:
    found = (_clean(item, "UniqueDeviceIdentifier") for item in items(values, "UDISequence"))
    return next(filter(None, found), "")


def _versions(values: Values) -> list[str]:
    return list(dict.fromkeys(parts_of(text(values, "SoftwareVersions"))))


def _clean(values: Values, keyword: str) -> str:
    return _cleaned(next(iter(parts_of(text(values, keyword))), ""))


def _cleaned(raw: str) -> str:
    return clean_text(raw) or ""


def _display(resource: dict[str, Any]) -> str:
    names = (str(resource.get(key, "")) for key in ("manufacturer", "modelNumber"))
    return " ".join(filter(None, names))
