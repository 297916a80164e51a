"""The semantic checks S01 to S20 each find what they are for; S17 and S21 stand elsewhere."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from intu_fhir.build.checks import CHECKS
from intu_fhir.build.imaging_study import BuildContext
from intu_fhir.build.validate import validate_resource
from intu_fhir.mappings import Release
from intu_fhir.model.finding import Finding, Severity
from tests.support.building import build, header, resource

Json = dict[str, Any]
DCM = "http://dicom.nema.org/resources/ontology/DCM"


def _valid(release: Release = "r4") -> Json:
    return resource(
        header(1, series=1, AccessionNumber="A1", SeriesDate="20240301", SeriesTime="1020"),
        header(2, series=1, AccessionNumber="A1", SeriesDate="20240301", SeriesTime="1020"),
        header(1, series=2, Modality="SR", AccessionNumber="A1"),
        release=release,
    )


def _found(made: Json, release: Release = "r4") -> dict[str, Severity]:
    findings = validate_resource(made, release)
    return {finding.code: finding.severity for finding in findings}


def _change(path: str, value: Any) -> Callable[[Json], None]:
    """Return what puts a value at a path such as ``series.0.uid``; ``...`` removes it."""

    def change(made: Json) -> None:
        *way, last = path.split(".")
        holder: Any = made
        for part in way:
            holder = holder[int(part)] if isinstance(holder, list) else holder[part]
        key: Any = int(last) if isinstance(holder, list) else last
        if value is ...:
            del holder[key]
        else:
            holder[key] = value

    return change


def _twice(path: str) -> Callable[[Json], None]:
    def change(made: Json) -> None:
        holder: Any = made
        for part in path.split("."):
            holder = holder[int(part)] if isinstance(holder, list) else holder[part]
        holder.append(copy.deepcopy(holder[0]))

    return change


UID = "identifier.0.value"
BROKEN: list[tuple[str, Callable[[Json], None]]] = [
    ("S01", _change("identifier", ...)),
    ("S01", _twice("identifier")),
    ("S01", _change(UID, "1.2.3")),
    ("S01", _change(UID, "urn:oid:1.2.")),
    ("S02", _change("numberOfSeries", 3)),
    ("S03", _change("numberOfInstances", 4)),
    ("S04", _twice("series")),
    ("S05", _change("series.0.numberOfInstances", 1)),
    ("S06", _change("modality.0.code", "MR")),
    ("S06", _twice("modality")),
    ("S07", _twice("series.0.instance")),
    ("S07", _change("series.1.instance.0.uid", "1.2.826.0.1.3680043.8.498.1.1.1")),
    ("S08", _change("status", "final")),
    ("S08", _change("status", "inactive")),
    ("S09", _change("series.0.uid", "1." + "2" * 64)),
    ("S09", _change("series.0.uid", "urn-oid-1.2")),
    ("S09", _change("series.0.instance.0.uid", "1..2")),
    ("S09", _change("series.0.instance.0.sopClass", {"system": "urn:x", "code": "1.2.3"})),
    ("S10", _change("subject", {"display": "Somebody"})),
    ("S10", _change("subject", {"type": "Patient"})),
    ("S11", _change("subject", {"reference": "Practitioner/1"})),
    ("S11", _change("subject", {"reference": "Patient/1", "type": "Device"})),
    ("S11", _change("subject", {"reference": "what?"})),
    ("S11", _change("subject.type", "Banana")),
    ("S11", _change("endpoint", [{"reference": "https://ehr.example.org/fhir/Patient/1"}])),
    ("S12", _change("modality.0", {"code": "CT"})),
    ("S12", _change("description", " ")),
    ("S12", _change("description", "a\0b")),
    ("S12", _change("description", "a\N{REPLACEMENT CHARACTER}b")),
    ("S12", _change("basedOn", [])),
    ("S12", _change("location", {})),
    ("S12", _change("series.0.instance.0.title", "\x07")),
    ("S13", _change("started", "2024-03-01T10:15:30")),
    ("S13", _change("started", "2023-02-30")),
    ("S13", _change("series.0.started", "20240301")),
    ("S13", _change("started", 1_700_000_000)),
    ("S14", _change("contained", [{"resourceType": "Patient", "id": "p"}])),
    ("S15", _change("procedure", [{"concept": {"text": "x"}}])),
    ("S15", _change("modality.0", {"coding": [{"system": DCM, "code": "CT"}]})),
    ("S15", _change("series.0.modality", {"coding": [{"system": DCM, "code": "CT"}]})),
    ("S18", _change("modality.0.code", "SR")),
    ("S19", _change("numberOfSeries", True)),
    ("S19", _change("series.0.number", "1")),
    ("S19", _change("series.0.number", -1)),
    ("S19", _change("series.0.instance.0.number", 5.0)),
    ("S19", _change("series.0.instance.0.number", 2**31)),
]


def test_a_built_resource_has_no_errors() -> None:
    """What the program builds passes every check, in both releases."""
    assert _found(_valid()) == {}
    assert _found(_valid("r5"), "r5") == {}


@pytest.mark.parametrize(("code", "change"), BROKEN, ids=lambda value: str(value)[:3])
def test_check_finds_its_mistake(code: str, change: Callable[[Json], None]) -> None:
    """Each mistake is an error under the name of its check."""
    made = copy.deepcopy(_valid())
    change(made)
    assert _found(made).get(code) is Severity.ERROR


WARNED: list[tuple[str, Callable[[Json], None]]] = [
    ("S01", _change(UID, "urn:oid:1.02.3")),
    ("S13", _change("started", "1066-10-14")),
    ("S16", _change("series.0.started", "2024-03-01T10:15:29+01:00")),
    ("S16", _change("series.0.started", "2024-02-29")),
]


@pytest.mark.parametrize(("code", "change"), WARNED, ids=lambda value: str(value)[:3])
def test_check_warns(code: str, change: Callable[[Json], None]) -> None:
    """What is odd but may be true is a warning only."""
    made = copy.deepcopy(_valid())
    change(made)
    assert _found(made) == {code: Severity.WARNING}


@pytest.mark.parametrize(
    "started", ["2024-03-01", "2024-03-01T10:20:00+01:00", "2024-03-01T09:15:30+00:00"]
)
def test_s16_compares_as_exactly_as_both_allow(started: str) -> None:
    """A date alone or the same moment in another zone is not before the study."""
    made = _valid()
    made["series"][0]["started"] = started
    assert "S16" not in _found(made)


def test_s15_in_r5() -> None:
    """Elements of R4 are errors in R5."""
    made = _valid("r5")
    made["interpreter"] = [{"type": "Practitioner", "display": "x"}]
    made["series"][0]["bodySite"] = {"coding": [{"system": DCM, "code": "x"}]}
    assert _found(made, "r5")["S15"] is Severity.ERROR


def test_s17_too_large_without_instances() -> None:
    """A resource that is too large even without instances is an error."""
    built = build(context=BuildContext(max_body_bytes=100))
    assert [f.severity for f in built.findings if f.code == "S17"] == [Severity.ERROR]


def test_s18_holds_for_r4_alone() -> None:
    """R5 takes modalities that do not acquire."""
    assert "S18" not in _found(_valid("r5"), "r5")


def test_s20_nothing_is_lost() -> None:
    """An element that the model would drop is found."""
    made = _valid()
    made["series"][0]["modality"]["userSelected"] = None
    assert "S20" in _found(made)


def test_schema_mistakes_name_no_values() -> None:
    """A schema mistake names the element and not what stands there."""
    made = _valid() | {"subject": {"reference": "Patient/1", "display": {"secret": "Meier"}}}
    (finding,) = [one for one in validate_resource(made, "r4") if one.code == "schema"]
    assert finding.attribute.startswith("subject.display")
    assert "Meier" not in finding.message


def test_schema_sees_every_instance() -> None:
    """A mistake in the last instance of a usual study is found by the schema."""
    made = _valid()
    made["series"][0]["instance"][-1]["unheardOf"] = 1
    assert "schema" in _found(made)


def test_unknown_contained_type_is_found() -> None:
    """A contained resource of an unknown type is a finding, no crash."""
    made = _valid() | {"contained": [{"resourceType": "Banana", "id": "b"}]}
    assert "schema" in _found(made)


@pytest.mark.parametrize("series", [None, 5, "x", {}, [None], [[]], [{"instance": 7}]])
@pytest.mark.parametrize("modality", [None, 3, [1], {"coding": 5}])
def test_garbage_is_found_and_never_raises(series: Any, modality: Any) -> None:
    """Whatever a transformer gives back, the checks end with findings."""
    made = {**_valid(), "series": series, "modality": modality, "subject": 5}
    assert _found(made)


def _large(instances: int) -> Json:
    made = resource(header(1), context=BuildContext())
    first = made["series"][0]["instance"][0]
    made["series"][0]["instance"] = [
        {**first, "uid": f"1.2.3.{number}", "number": number} for number in range(instances)
    ]
    made["numberOfInstances"] = made["series"][0]["numberOfInstances"] = instances
    return made


def test_large_studies_are_checked_by_instance() -> None:
    """However many instances there are, the last one is looked at."""
    made = _large(5_001)
    assert _found(made) == {}
    made["series"][0]["instance"][-1]["uid"] = "x"
    made["series"][0]["instance"][-2]["number"] = "5"
    assert {"S09", "S19"} <= set(_found(made))


def test_findings_are_few() -> None:
    """A mistake in every instance is told some times only."""
    made = _large(500)
    for instance in made["series"][0]["instance"]:
        instance["number"] = -1
    findings: list[Finding] = [f for f in validate_resource(made, "r4") if f.code == "S19"]
    assert len(findings) == 20


def test_every_check_is_tested() -> None:
    """No check of the table is without a case here."""
    assert {code for code, _, _ in CHECKS} == {code for code, _ in BROKEN} | {
        code for code, _ in WARNED
    }
