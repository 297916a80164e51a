"""Radiation dose reports become one Observation each."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from intu_fhir.build.concepts import Concept, coding
from intu_fhir.build.content_values import UCUM
from intu_fhir.build.dose import NUMBERS
from intu_fhir.build.dose_units import FACTORS, in_target
from intu_fhir.model.canonical import canonical_json
from intu_fhir.model.companion import DOSE
from tests.support.reports import (
    DLP,
    DOSE_SR,
    DOSE_TITLE,
    MODIFIES,
    code,
    companions,
    container,
    ct_dose,
    make_report,
    moment,
    num,
    person,
)

ONLY = frozenset({DOSE})


def observation(*reports: Any, **options: Any) -> dict[str, Any]:
    """Return the one observation of dose reports."""
    [made] = companions(*reports, kinds=ONLY, **options).companions
    return made.resource


def component(resource: dict[str, Any], wanted: str) -> dict[str, Any]:
    """Return the one component with a code."""
    [found] = [one for one in resource["component"] if one["code"]["coding"][0]["code"] == wanted]
    return found


def test_a_ct_dose_report_is_one_observation() -> None:
    """Code, identifier, study and totals stand where the dose guide has them."""
    made = observation(report := ct_dose())
    assert made["code"]["coding"][0]["code"] == "73569-6"
    assert made["identifier"][0]["value"] == f"urn:oid:{report.SOPInstanceUID}"
    assert made["identifier"][0]["type"]["coding"][0]["code"] == "sop-instance-uid"
    assert made["partOf"] == made["focus"]
    assert made["partOf"][0]["identifier"]["value"] == f"urn:oid:{report.StudyInstanceUID}"
    assert made["effectiveDateTime"] == "2024-02-29T10:17:00+01:00"
    total = component(made, "113813")["valueQuantity"]
    assert total == {
        "value": Decimal("523.40"),
        "unit": "mGy.cm",
        "system": UCUM,
        "code": "mGy.cm",
    }
    assert "CT Dose Length Product Total 523.40 mGy.cm" in made["valueString"]
    assert component(made, "121058")["valueCodeableConcept"]["coding"][0]["code"] == "77477000"


def test_c33_zero_is_a_value() -> None:
    """A total of 0 is sent as 0 with its UCUM unit, in a report that says it is final."""
    made = observation(ct_dose(num(DLP, "0", "mGy.cm")))
    assert component(made, "113813")["valueQuantity"]["value"] == 0
    assert component(made, "113813")["valueQuantity"]["code"] == "mGy.cm"
    assert made["status"] == "final"


@pytest.mark.parametrize(
    ("attributes", "status"),
    [
        ({}, "final"),
        ({"VerificationFlag": "VERIFIED"}, "final"),
        ({"CompletionFlag": "PARTIAL"}, "preliminary"),
        ({"CompletionFlag": None}, "preliminary"),
        ({"PreliminaryFlag": "PRELIMINARY"}, "preliminary"),
        ({"PreliminaryFlag": "FINAL"}, "final"),
    ],
)
def test_status_is_that_of_the_report(attributes: dict[str, Any], status: str) -> None:
    """Machines write dose reports, nobody verifies them: complete is final."""
    assert observation(ct_dose(**attributes))["status"] == status


def test_digits_stay_as_they_are() -> None:
    """12.50 is sent as 12.50, with the zero that says how well it was measured."""
    made = observation(ct_dose(num(DLP, "12.50", "mGy.cm")))
    assert b'"value":12.50' in canonical_json(made)


@pytest.mark.parametrize(
    ("raw", "unit", "sent"),
    [
        ("2.5", "Gy.m2", "2.5"),
        ("12.50", "dGy.cm2", "0.0001250"),
        ("12.5", "Gy.cm2", "0.00125"),
        ("1", "uGy.m2", "0.000001"),
        ("7", "mGy.cm2", "0.0000007"),
    ],
)
def test_area_products_are_converted_exactly(raw: str, unit: str, sent: str) -> None:
    """Whatever unit a maker writes, the EHR gets Gy.m2 with all digits and no other."""
    product = num(("113722", "DCM", "Dose Area Product Total"), raw, unit)
    made = observation(projection(product))
    found = component(made, "113722")["valueQuantity"]
    assert (format(found["value"], "f"), found["code"]) == (sent, "Gy.m2")


def projection(*totals: Any, plane: str = "") -> Any:
    """Return a projection X-ray dose report (PS3.16 TID 10001)."""
    return make_report(DOSE_TITLE, "10001", accumulated(*totals, plane=plane), sop_class=DOSE_SR)


def accumulated(*totals: Any, plane: str = "") -> Any:
    """Return the totals of one plane (PS3.16 TID 10002)."""
    named = code(("113764", "DCM", "Acquisition Plane"), ("113620", "DCM", plane), how=MODIFIES)
    return container(
        ("113702", "DCM", "Accumulated X-Ray Dose Data"), *([named] if plane else []), *totals
    )


def test_planes_stay_apart() -> None:
    """Two planes give two components that say which plane they are of; no sum is made up."""
    name = ("113722", "DCM", "Dose Area Product Total")
    report = make_report(
        DOSE_TITLE,
        "10001",
        accumulated(num(name, "1", "Gy.m2"), plane="Plane A"),
        accumulated(num(name, "2", "Gy.m2"), plane="Plane B"),
        sop_class=DOSE_SR,
    )
    totals = observation(report)["component"]
    assert [(one["code"]["text"], one["valueQuantity"]["value"]) for one in totals] == [
        ("Dose Area Product Total, Plane A", 1),
        ("Dose Area Product Total, Plane B", 2),
    ]


def test_a_side_is_told() -> None:
    """The glandular dose of a breast says which breast, from the legacy code as well."""
    left = code(("G-C171", "SRT", "Laterality"), ("T-04030", "SRT", "Left breast"), how=MODIFIES)
    dose = num(("111637", "DCM", "Accumulated Average Glandular Dose"), "0.15", "dGy", left)
    [total] = observation(projection(dose))["component"]
    assert total["code"]["text"] == "Accumulated Average Glandular Dose, Left breast"
    assert (total["valueQuantity"]["value"], total["valueQuantity"]["code"]) == (15, "mGy")


def test_a_radiopharmaceutical_report() -> None:
    """Administered activity in MBq, with agent, nuclide and route."""
    report = make_report(
        ("113500", "DCM", "Radiopharmaceutical Radiation Dose Report"),
        "10021",
        container(
            ("113502", "DCM", "Radiopharmaceutical Administration"),
            code(
                ("349358000", "SCT", "Radiopharmaceutical agent"),
                ("35321007", "SCT", "Fluorodeoxyglucose F^18^"),
                code(("89457008", "SCT", "Radionuclide"), ("77004003", "SCT", "^18^Fluorine")),
            ),
            code(
                ("410675002", "SCT", "Route of administration"),
                ("47625008", "SCT", "Intravenous route"),
            ),
            moment(("123003", "DCM", "Radiopharmaceutical Start DateTime"), "20240229090000+0200"),
            num(("113507", "DCM", "Administered activity"), "10", "mCi"),
        ),
        sop_class="1.2.840.10008.5.1.4.1.1.88.68",
    )
    made = observation(report)
    assert component(made, "113507")["valueQuantity"]["value"] == 370
    assert component(made, "89457008")["valueCodeableConcept"]["coding"][0]["code"] == "77004003"
    assert made["effectiveDateTime"] == "2024-02-29T09:00:00+02:00"
    assert "Fluorodeoxyglucose" in made["valueString"]


def test_who_authorised_and_what_irradiated() -> None:
    """The authorising person is the performer; equipment without a serial number is named."""
    authorised = person(("113850", "DCM", "Irradiation Authorizing"), "Doe^Jo", how="CONTAINS")
    made = observation(
        ct_dose(more=(authorised,), Manufacturer="Maker", ManufacturerModelName="One")
    )
    assert made["performer"] == [{"type": "Practitioner", "display": "Jo Doe"}]
    assert made["device"] == {"type": "Device", "display": "Maker One"}
    assert "meta" not in made


def test_a_value_that_is_missing_says_why() -> None:
    """An empty total is absent for the reason of the report; a report of nothing is not sent."""
    name = ("113814", "DCM", "CT Effective Dose Total")
    made = observation(ct_dose(num(DLP, "1", "mGy.cm"), num(name, None, "mSv")))
    absent = component(made, "113814")
    assert absent["dataAbsentReason"]["coding"][0]["code"] == "unknown"
    empty = make_report(DOSE_TITLE, "10011", sop_class=DOSE_SR)
    nothing = companions(empty, kinds=ONLY)
    assert nothing.companions == ()
    assert [one.code for one in nothing.findings] == ["report_without_values"]


def test_units_that_nobody_knows_stay_words() -> None:
    """A unit of another scheme has no code; a UCUM unit outside the table stays as it is."""
    made = observation(
        ct_dose(num(DLP, "1", ("XX", "99MAKER", "grays")), num(("113814", "DCM", "E"), "1", "rem"))
    )
    assert component(made, "113813")["valueQuantity"] == {"value": 1, "unit": "grays"}
    assert component(made, "113814")["valueQuantity"]["code"] == "rem"


@pytest.mark.parametrize("raw", ["abc", "1,5", "NaN", "1e999", "0x10", "--1"])
def test_what_is_no_number_is_noted(raw: str) -> None:
    """A value that is no decimal number is left out with a finding."""
    made = companions(ct_dose(num(DLP, raw, "mGy.cm", vr="LO")), kinds=ONLY)
    assert "invalid_decimal" in {one.code for one in made.findings}


@pytest.mark.parametrize("template", ["10040", "2000"])
def test_unknown_templates_make_nothing(template: str) -> None:
    """A report that follows another template is no dose report, whatever its title."""
    assert companions(ct_dose(template=template), kinds=ONLY).companions == ()


def test_without_a_template_the_content_tells() -> None:
    """Older scanners name no template: title and container decide."""
    assert observation(ct_dose(template=""))["component"]


@pytest.mark.parametrize("release", ["r4", "r5"])
def test_each_total_once_in_either_release(release: Any) -> None:
    """No total stands there twice, however the tree is nested."""
    codes = [
        one["code"]["coding"][0]["code"]
        for one in observation(ct_dose(), release=release)["component"]
    ]
    assert codes == ["121058", "113812", "113813"]


def test_every_conversion_of_the_table_is_exact() -> None:
    """One of each unit becomes its factor, and what has no table entry stays."""
    for target, factors in FACTORS.items():
        for unit, factor in factors.items():
            value, named = in_target(Decimal(1), Concept([coding(UCUM, unit)]), target)
            assert (value, named and named.codings[0]["code"]) == (factor, target)
    assert set(NUMBERS.values()) <= {*FACTORS, ""}
