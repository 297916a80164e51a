"""Measurement reports become groups of Observations."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from intu_fhir.build import structured_report
from intu_fhir.build.companions import BuiltCompanions
from intu_fhir.model.companion import MEASUREMENTS
from tests.support.reports import (
    CONTEXT,
    GROUP,
    MODIFIES,
    VOLUME,
    code,
    coded,
    companions,
    container,
    group,
    item,
    measured,
    num,
    replacing,
    words,
)
from tests.support.studies import uid

ONLY = frozenset({MEASUREMENTS})


def made(*reports: Any, **options: Any) -> list[dict[str, Any]]:
    """Return the observations of reports."""
    return [one.resource for one in built(*reports, **options).companions]


def built(*reports: Any, **options: Any) -> BuiltCompanions:
    """Return what is built of reports."""
    return companions(*reports, kinds=ONLY, **options)


def codes(found: BuiltCompanions) -> set[str]:
    """Return the codes of what was noted."""
    return {one.code for one in found.findings}


def test_a_group_and_its_members() -> None:
    """The group says what was found and where, its member what was measured."""
    member, whole = made(measured())
    assert member["code"]["coding"][0]["code"] == "118565006"
    assert member["valueQuantity"]["value"] == Decimal("1.20")
    assert whole["valueCodeableConcept"]["coding"][0]["display"] == "Neoplasm"
    assert whole["bodySite"]["text"] == "Lung, Left"
    assert member["bodySite"] == whole["bodySite"]
    assert len(whole["hasMember"]) == 1
    assert whole["component"][0]["valueString"] == "Lesion 1"
    assert whole["derivedFrom"][0]["type"] == "ImagingStudy"
    assert whole["performer"] == [{"type": "Practitioner", "display": "Rita Reader"}]


def test_observation_uids_are_kept() -> None:
    """An item's Observation UID is what the EHR finds it by; else its report and place are."""
    named = measured(group(num(VOLUME, "1", "cm3", uid="1.2.3.4"), uid="1.2.3.5"))
    assert [one["identifier"][0]["value"] for one in made(named)] == [
        "urn:oid:1.2.3.4",
        "urn:oid:1.2.3.5",
    ]
    placed = [one["identifier"][0]["value"] for one in made(measured())]
    assert placed == [one["identifier"][0]["value"] for one in made(measured())]
    other = [one["identifier"][0]["value"] for one in made(measured(number=2))]
    assert len({*placed, *other}) == 4


def test_what_changes_the_meaning_is_told() -> None:
    """Mean and maximum of one quantity differ in their text and in a component."""
    derivation = ("121401", "DCM", "Derivation")
    results = [
        num(
            ("112031", "DCM", "Attenuation Coefficient"),
            value,
            "[hnsf'U]",
            code(derivation, (kind, "SCT", name), how=MODIFIES),
        )
        for value, kind, name in (("10", "373098007", "Mean"), ("90", "56851009", "Maximum"))
    ]
    mean, most, _ = made(measured(group(*results)))
    assert mean["code"]["text"] == "Attenuation Coefficient, Mean"
    assert most["component"][0]["valueCodeableConcept"]["coding"][0]["code"] == "56851009"


def test_evaluations_and_method() -> None:
    """A CODE or TEXT that is no context is a result; the method is that of the measurement."""
    method = code(
        ("370129005", "SCT", "Measurement Method"), ("126030", "DCM", "Sum"), how=MODIFIES
    )
    whole = group(
        num(VOLUME, "1", "cm3", method),
        code(("121403", "DCM", "Level of Significance"), ("371928007", "SCT", "Not significant")),
        words(("121106", "DCM", "Comment"), "round"),
    )
    volume, level, comment, _ = made(measured(whole))
    assert volume["method"]["coding"][0]["code"] == "126030"
    assert level["valueCodeableConcept"]["coding"][0]["code"] == "371928007"
    assert comment["valueString"] == "round"
    assert level["category"][1]["coding"][0]["code"] == "C0034375"


def test_evaluations_outside_of_groups() -> None:
    """The qualitative evaluations of a whole report are results without a group."""
    report = measured()
    report.ContentSequence.append(
        container(
            ("C0034375", "UMLS", "Qualitative Evaluations"),
            code(("121403", "DCM", "Level"), ("371928007", "SCT", "Not significant")),
        )
    )
    assert len(made(report)) == 3


def test_the_algorithm_is_the_device() -> None:
    """Who measured is the algorithm by name and version, where the report names one."""
    algorithm = (
        words(("111001", "DCM", "Algorithm Name"), "Finder", how=MODIFIES),
        words(("111003", "DCM", "Algorithm Version"), "2.1", how=MODIFIES),
    )
    member, _ = made(measured(group(*algorithm, num(VOLUME, "1", "cm3"))))
    assert member["device"] == {"type": "Device", "display": "Finder 2.1"}


@pytest.mark.parametrize(
    ("attributes", "status"),
    [
        ({}, "final"),
        ({"VerificationFlag": "UNVERIFIED"}, "preliminary"),
        ({"VerificationFlag": "UNVERIFIED", "PreliminaryFlag": "FINAL"}, "final"),
        ({"PreliminaryFlag": "PRELIMINARY"}, "preliminary"),
        ({"CompletionFlag": "PARTIAL"}, "preliminary"),
    ],
)
def test_status_is_that_of_the_report(attributes: dict[str, Any], status: str) -> None:
    """Final is what is complete and verified, or says itself that it is final."""
    assert {one["status"] for one in made(measured(**attributes))} == {status}


def test_a_missing_number_says_why() -> None:
    """A measurement without a value is absent for the reason of the report."""
    failed = num(VOLUME, None, "cm3")
    failed.NumericValueQualifierCodeSequence = coded(("114006", "DCM", "Measurement failure"))
    member, _ = made(measured(group(failed)))
    assert member["dataAbsentReason"]["coding"][0]["code"] == "error"


def test_issued_needs_a_zone() -> None:
    """The time of a measurement is sent with the zone; without any it is left out."""
    one = num(VOLUME, "1", "cm3")
    one.ObservationDateTime = "20240229120000"
    member, _ = made(measured(group(one)))
    assert member["issued"] == "2024-02-29T12:00:00+01:00"
    member, _ = made(measured(group(one)), time_zone=None)
    assert "issued" not in member


@pytest.mark.parametrize("template", ["2000", "5000", "4100"])
def test_unknown_templates_make_nothing(template: str) -> None:
    """A report of another template stays an instance of the study."""
    assert made(measured(template=template)) == []


def test_reports_of_others_make_nothing() -> None:
    """A report about another patient, another study or a fetus is never converted."""
    other_study = measured()
    evidence = replacing(measured(), measured(number=2)).PredecessorDocumentsSequence
    evidence[0].StudyInstanceUID = uid("another")
    other_study.CurrentRequestedProcedureEvidenceSequence = evidence
    fetus = measured()
    fetus.ContentSequence.insert(
        0, code(("121024", "DCM", "Subject Class"), ("121026", "DCM", "Fetus"), how=CONTEXT)
    )
    subject = measured()
    subject.ContentSequence.insert(0, words(("121030", "DCM", "Subject ID"), "P2", how=CONTEXT))
    for report in (other_study, fetus, subject):
        found = built(report)
        assert found.companions == ()
        assert codes(found) == {"report_of_other"}


def test_a_report_of_another_patient_makes_nothing() -> None:
    """Where a person lets a mixed study pass, the report of the other patient is left out."""
    image = measured(number=2)
    found = built(image, measured(number=3), measured(PatientID="P2"))
    assert "report_of_other" in codes(found)
    assert len(found.companions) == 4


def test_a_later_report_takes_the_place() -> None:
    """Of a report and the one that replaces it, only the later one is sent."""
    first = measured(group(num(VOLUME, "1", "cm3", uid="1.2.3.4"), uid="1.2.3.5"))
    later = replacing(
        measured(group(num(VOLUME, "2", "cm3", uid="1.2.3.4"), uid="1.2.3.5"), number=2), first
    )
    found = built(first, later)
    assert [one.resource.get("valueQuantity", {}).get("value") for one in found.companions] == [
        2,
        None,
    ]
    assert "report_superseded" in codes(found)


def test_one_uid_twice_counts_once() -> None:
    """Items and reports that claim the same Observation UID are one Observation, and noted."""
    twice = measured(
        group(num(VOLUME, "1", "cm3", uid="1.2.3"), num(VOLUME, "2", "cm3", uid="1.2.3"))
    )
    found = built(twice)
    assert len(found.companions) == 2
    assert "repeated_uid" in codes(found)
    both = built(
        measured(group(num(VOLUME, "1", "cm3", uid="1.2.3"))),
        measured(group(num(VOLUME, "2", "cm3", uid="1.2.3")), number=2),
    )
    assert len(both.companions) == 3


def test_items_by_reference_are_no_items() -> None:
    """A reference to another content item is left out, and the places of the others stay."""
    plain = [one["identifier"] for one in made(measured(group(num(VOLUME, "1", "cm3"))))]
    reference = item("", None)
    reference.ReferencedContentItemIdentifier = [1, 2]
    whole = group(num(VOLUME, "1", "cm3"))
    whole.ContentSequence.append(reference)
    assert [one["identifier"] for one in made(measured(whole))] == plain


def test_a_tree_that_is_too_deep_is_not_read() -> None:
    """Containers within containers end somewhere; half a report is not sent."""
    deep = group(num(VOLUME, "1", "cm3"))
    for _ in range(structured_report.MAX_DEPTH):
        deep = container(GROUP, deep)
    found = built(measured(deep))
    assert (found.companions, codes(found)) == ((), {"report_too_large"})


def test_a_tree_that_is_too_large_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """A report with more items than are read is left out as a whole."""
    monkeypatch.setattr(structured_report, "MAX_ITEMS", 10)
    found = built(measured(group(*[num(VOLUME, str(n), "cm3") for n in range(10)])))
    assert (found.companions, codes(found)) == ((), {"report_too_large"})


def test_an_empty_group_makes_nothing() -> None:
    """A group without finding and results is no observation."""
    found = built(measured(group(finding=False)))
    assert (found.companions, codes(found)) == ((), {"report_without_values"})
