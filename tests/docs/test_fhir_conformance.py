"""The FHIR conformance statement says what is done, and no less."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import orjson
import pytest
from fhir.resources.capabilitystatement import CapabilityStatement as CapabilityStatementR5
from fhir.resources.R4B.capabilitystatement import CapabilityStatement
from pydantic import BaseModel

from intu_fhir.demo.ehr import Features, Received
from intu_fhir.mappings.elements import Release
from intu_fhir.model.companion import KINDS
from tests.support.reports import ct_dose, measured
from tests.support.running import running_site
from tests.support.studies import make_instance
from tools.docs.fhir_conformance import RESOURCES, capability_statement

EVERYTHING: dict[str, Any] = {
    **dict.fromkeys(KINDS, True),
    "wado_rs": "https://pacs.example.org/dicom-web",
    "document_reference": "fallback",
}
PATIENT = {"strategy": "create"}
EQUIPMENT: dict[str, Any] = {"Manufacturer": "Maker", "DeviceSerialNumber": "SN-1"}


def _interactions(requests: Iterable[Received]) -> set[tuple[str, str]]:
    """Return type and interaction of each request (FHIR R4, RESTful API)."""
    found = set()
    for one in requests:
        path, _, query = one.path.partition("?")
        kind, _, rest = path.strip("/").partition("/")
        if not kind:
            found |= _of_bundle(orjson.loads(one.body))
        elif one.method == "PUT":
            found.add((kind, "update"))
        elif one.method == "POST":
            found.add((kind, "search-type" if rest == "_search" else "create"))
        elif kind != "metadata":
            found.add((kind, "search-type" if query else "read"))
    return found


def _of_bundle(bundle: dict[str, Any]) -> set[tuple[str, str]]:
    names = {"PUT": "update", "POST": "create", "GET": "read"}
    requests = [entry["request"] for entry in bundle["entry"]]
    return {(one["url"].split("?")[0].split("/")[0], names[one["method"]]) for one in requests}


LACKS = ("Patient", "DocumentReference")


@pytest.mark.parametrize(
    "features",
    [
        Features(),
        Features(transaction=False),
        Features(conditional_create=False),
        Features(conditional_create=False, types=LACKS),
    ],
)
def test_nothing_is_asked_that_is_not_stated(
    features: Features, tmp_path: Path, migrated_database_url: str
) -> None:
    """Every request of a study with all that goes beside it is in the table, and all types are."""
    ehr = {"publish": EVERYTHING, "subject": PATIENT}
    site = running_site(
        tmp_path,
        migrated_database_url,
        ehr=ehr,
        features=features,
        identifiers={"patient": {"default": "https://site.example/patients"}},
    )
    with site as running:
        running.send([make_instance(**EQUIPMENT), ct_dose(**EQUIPMENT), measured(number=2)])
        running.rest()
        running.send([make_instance(number=9, **EQUIPMENT)])
        running.rest(generation=2)
        asked = _interactions(running.ehr.received)
    stated = {(name, one) for name, used in RESOURCES.items() for one in used.interactions}
    assert asked <= stated
    document = {"DocumentReference", "Patient"}
    expected = document if features.types == LACKS else set(RESOURCES) - {"DocumentReference"}
    assert {name for name, _ in asked} == expected


@pytest.mark.parametrize(
    ("release", "model"), [("r4", CapabilityStatement), ("r5", CapabilityStatementR5)]
)
def test_the_statement_is_valid(release: Release, model: type[BaseModel]) -> None:
    """The CapabilityStatement follows the schema of both releases."""
    statement = capability_statement(release)
    assert model.model_validate(statement).model_dump(exclude_none=True)
