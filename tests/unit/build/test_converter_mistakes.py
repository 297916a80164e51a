"""Mistakes that converters are known to make, C01 to C36: none of them is made here.

C16 and C17 towards a server are with delivery, C33 with dose reports.
"""

from __future__ import annotations

import time
from typing import Any

import pytest

from intu_fhir.aggregate.merge import merge_headers
from intu_fhir.build.imaging_study import BuildContext, ImageService, build_imaging_study
from intu_fhir.build.names import name_groups
from intu_fhir.build.validate import validate_resource
from intu_fhir.mappings import Release, load_mapping
from intu_fhir.model.canonical import canonical_json
from intu_fhir.model.finding import errors
from intu_fhir.settings.schema import Identifiers
from tests.support.building import (
    BERLIN,
    STUDY_UID,
    build,
    code_item,
    codes,
    header,
    resource,
    staged,
)

DCM = "http://dicom.nema.org/resources/ontology/DCM"
SCT = "http://snomed.info/sct"
NO_ZONE = BuildContext()
CT_SR_SEG = (
    header(series=1, Modality="SR"),
    header(series=2, Modality="CT"),
    header(series=3, Modality="SEG"),
)


def _modalities(made: dict[str, Any]) -> list[str]:
    return [(one.get("coding") or [one])[0]["code"] for one in made.get("modality", [])]


def _values(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return [value, *(leaf for inner in value.values() for leaf in _values(inner))]
    if isinstance(value, list):
        return [value, *(leaf for inner in value for leaf in _values(inner))]
    return [value]


def test_c01_modalities_of_all_series() -> None:
    """The study names the modalities of every series, not those of the first file."""
    assert _modalities(resource(*CT_SR_SEG)) == ["CT"]
    assert _modalities(resource(*CT_SR_SEG, release="r5")) == ["CT", "SEG", "SR"]


def test_c02_modalities_without_the_query_attribute() -> None:
    """Modalities come from the series although (0008,0061) is absent."""
    assert _modalities(resource()) == ["CT"]


@pytest.mark.parametrize("claimed", ["999", None])
def test_c03_counts_are_counted(claimed: str | None) -> None:
    """Counts are those of staged instances, whatever a header claims."""
    made = resource(*(header(n, NumberOfStudyRelatedInstances=claimed) for n in (1, 2, 3)))
    assert (made["numberOfSeries"], made["numberOfInstances"]) == (1, 3)
    assert made["series"][0]["numberOfInstances"] == 3


def test_c04_no_zone_is_assumed() -> None:
    """Without any known zone the date alone is published; with a configured one the time too."""
    assert resource(context=NO_ZONE)["started"] == "2024-03-01"
    assert resource()["started"] == "2024-03-01T10:15:30+01:00"


def test_c05_missing_time_is_no_midnight() -> None:
    """Without a Study Time the date alone is published."""
    assert resource(header(StudyTime=None))["started"] == "2024-03-01"


def test_c06_time_without_seconds() -> None:
    """A time of hours and minutes keeps them."""
    assert resource(header(StudyTime="0930"))["started"] == "2024-03-01T09:30:00+01:00"


def test_c07_missing_numbers_lose_no_instance() -> None:
    """Without numbers series and instance stay, and have none."""
    made = resource(header(SeriesNumber=None, InstanceNumber=None))
    assert "number" not in made["series"][0]
    assert "number" not in made["series"][0]["instance"][0]


@pytest.mark.parametrize("absent", [None, "", "   "])
def test_c08_missing_accession_number(absent: str | None) -> None:
    """Without an Accession Number there is no identifier and no order."""
    made = resource(header(AccessionNumber=absent))
    assert len(made["identifier"]) == 1
    assert "basedOn" not in made


def test_c09_accession_beside_the_study_uid() -> None:
    """The Accession Number stands beside the study UID, which comes first."""
    uid, accession = resource(header(AccessionNumber="A1"))["identifier"]
    assert uid["value"] == f"urn:oid:{STUDY_UID}"
    assert accession["value"] == "A1"


def test_c10_forms_of_uids() -> None:
    """The identifier has a URN in the right case; series and instances have plain UIDs."""
    made = resource()
    assert made["identifier"][0]["system"] == "urn:dicom:uid"
    assert made["series"][0]["uid"] == f"{STUDY_UID}.1"
    assert made["series"][0]["instance"][0]["uid"] == f"{STUDY_UID}.1.1"


def test_c11_unpaired_is_no_side() -> None:
    """Laterality U is left out."""
    assert "laterality" not in resource(header(Laterality="U"))["series"][0]


def test_c12_code_and_display_of_left_agree() -> None:
    """Left has the display that belongs to its code."""
    made = resource(header(Laterality="L"))["series"][0]["laterality"]
    assert made == {"system": SCT, "code": "7771000", "display": "Left"}


def test_c13_unknown_body_part_is_text() -> None:
    """A body part without a code has no code, in both releases."""
    made = resource(header(BodyPartExamined="XYZ"))["series"][0]
    assert made["bodySite"] == {"display": "XYZ"}
    made = resource(header(BodyPartExamined="XYZ"), release="r5")["series"][0]
    assert made["bodySite"] == {"concept": {"text": "XYZ"}}


def test_c14_groups_of_a_name() -> None:
    """Each group of a name is a name of its own."""
    names = [one.human_name() for one in name_groups("Yamada^Tarou=山田^太郎=やまだ^たろう")]
    assert [(name["family"], name["given"]) for name in names] == [
        ("Yamada", ["Tarou"]),
        ("山田", ["太郎"]),
        ("やまだ", ["たろう"]),
    ]


@pytest.mark.parametrize("raw", ["Meier", "Meier^", "Meier^^^^"])
def test_c15_no_empty_given_names(raw: str) -> None:
    """A name with a family name only has no given name."""
    (name,) = name_groups(raw)
    assert "given" not in name.human_name()


def test_c16_same_study_same_bytes() -> None:
    """Building twice gives the same bytes, without any invented id."""
    first, second = resource(*CT_SR_SEG), resource(*CT_SR_SEG)
    assert canonical_json(first) == canonical_json(second)
    assert "id" not in first


def test_c17_one_resource_for_all_instances() -> None:
    """Many instances make one resource."""
    made = resource(*(header(n) for n in range(1, 31)))
    assert len(made["series"][0]["instance"]) == 30


def test_c18_nothing_left_changes_the_status() -> None:
    """A study whose instances are all rejected keeps its resource, with another status."""
    made = resource(header(1), _rejection("113001", [f"{STUDY_UID}.1.1"]))
    assert made["status"] == "cancelled"
    assert (made["numberOfSeries"], made["numberOfInstances"]) == (0, 0)
    assert "series" not in made


def _rejection(code: str, uids: list[str]) -> dict[str, Any]:
    return header(
        1,
        series=99,
        Modality="KO",
        ConceptNameCodeSequence=[code_item(code, "DCM", "Rejected")],
        CurrentRequestedProcedureEvidenceSequence=[
            {
                "ReferencedSeriesSequence": [
                    {"ReferencedSOPSequence": [{"ReferencedSOPInstanceUID": u} for u in uids]}
                ]
            }
        ],
    )


def test_c19_description_is_the_description() -> None:
    """The Study Description becomes description and no note."""
    made = resource(header(StudyDescription="CT Thorax"))
    assert made["description"] == "CT Thorax"
    assert "note" not in made


def test_c20_no_empty_system() -> None:
    """An identifier without a known issuer has no system and no assigner."""
    made = resource(header(AccessionNumber="A1"))
    for one in (made["identifier"][1], made["subject"]["identifier"]):
        assert "system" not in one
        assert "assigner" not in one


def test_c21_studies_do_not_leak_into_each_other() -> None:
    """A study built after another is as if it were built alone."""
    alone = resource(header(StudyDescription=None))
    resource(header(StudyDescription="First", BodyPartExamined="CHEST", Laterality="L"))
    assert resource(header(StudyDescription=None)) == alone


def test_c22_no_endpoint_but_a_configured_one() -> None:
    """Without a configured image service there is no endpoint; with one it is a reference."""
    assert "endpoint" not in resource(header(RetrieveURL="file:///tmp/x"))
    context = BuildContext(image_service=ImageService("Endpoint/wado"))
    made = resource(context=context)
    assert made["endpoint"] == [{"type": "Endpoint", "reference": "Endpoint/wado"}]


def test_c23_nothing_is_contained() -> None:
    """The patient is referred to, never contained."""
    assert "contained" not in resource()


def test_c24_subject_is_a_valid_reference() -> None:
    """The subject has an identifier with a value, or says that nobody is known."""
    assert resource()["subject"] == {
        "type": "Patient",
        "identifier": {
            "type": {
                "coding": [
                    {"system": "http://terminology.hl7.org/CodeSystem/v2-0203", "code": "MR"}
                ]
            },
            "value": "P1",
        },
    }
    absent = resource(header(PatientID=""))["subject"]
    assert [one["valueCode"] for one in absent["extension"]] == ["unknown"]
    assert "identifier" not in absent


def test_c25_every_procedure_code_in_r5() -> None:
    """In R5 procedure is a list with every code item, its system a URI."""
    items = [code_item("RPID1", "LN", "One"), code_item("RPID2", "RADLEX", "Two")]
    made = resource(header(ProcedureCodeSequence=items), release="r5")
    assert [one["concept"]["coding"][0] for one in made["procedure"]] == [
        {"system": "http://loinc.org", "code": "RPID1", "display": "One"},
        {"system": "http://radlex.org", "code": "RPID2", "display": "Two"},
    ]


def test_c26_output_is_json_without_contained() -> None:
    """Elements whose order XML would need do not occur."""
    assert "contained" not in resource(*CT_SR_SEG)


@pytest.mark.parametrize("release", ["r4", "r5"])
def test_c27_systems_are_uris(release: Release) -> None:
    """No system is a designator."""
    made = resource(
        header(
            BodyPartExamined="CHEST",
            Laterality="R",
            ProcedureCodeSequence=[code_item("1", "SCT", "x")],
        ),
        release=release,
    )
    systems = {one["system"] for one in _values(made) if isinstance(one, dict) and "system" in one}
    assert all(":" in system for system in systems)


def test_c28_title_is_a_meaning() -> None:
    """A report's title is the meaning of its concept name."""
    made = resource(
        header(Modality="SR", ConceptNameCodeSequence=[code_item("18748-4", "LN", "Report")])
    )
    assert made["series"][0]["instance"][0]["title"] == "Report"


def test_c29_order_of_files_does_not_matter() -> None:
    """The same headers backwards make the same bytes."""
    forward = merge_headers(STUDY_UID, staged(CT_SR_SEG), (), 1)
    backward = merge_headers(STUDY_UID, staged(reversed(CT_SR_SEG)), (), 1)
    bytes_of = [
        canonical_json(build_imaging_study(one, load_mapping(), "r4", BERLIN).resource)
        for one in (forward, backward)
    ]
    assert bytes_of[0] == bytes_of[1]


def test_c30_no_device_without_serial_number() -> None:
    """Equipment without a serial number is nowhere referred to as a device."""
    made = resource(header(Manufacturer="Maker", StationName="CT1"))
    assert not [one for one in _values(made) if one == "Device"]


@pytest.mark.parametrize("patient_id", ["0001234", "1" * 40, "A-1.2/3"])
def test_c31_patient_id_stays_as_it_is(patient_id: str) -> None:
    """Leading zeros and long values stay."""
    assert resource(header(PatientID=patient_id))["subject"]["identifier"]["value"] == patient_id


def test_c32_key_objects_only_in_series() -> None:
    """In R4 KO is the modality of its series, not of the study."""
    made = resource(header(), header(series=2, Modality="KO"))
    assert _modalities(made) == ["CT"]
    assert made["series"][1]["modality"]["code"] == "KO"


@pytest.mark.timed
def test_c34_many_series_in_linear_time() -> None:
    """200 series are built and judged at once, far below the time of step by step assignment."""
    headers = [header(series=n) for n in range(1, 201)]
    study = merge_headers(STUDY_UID, staged(headers), (), 1)
    begun = time.perf_counter()
    built = build_imaging_study(study, load_mapping(), "r4", BERLIN)
    assert errors(validate_resource(built.resource, "r4")) == []
    assert time.perf_counter() - begun < 0.6


def test_c35_an_instance_is_listed_once() -> None:
    """An instance that came twice counts and stands there once."""
    made = resource(header(1), header(1), header(2))
    assert made["numberOfInstances"] == 2
    assert len(made["series"][0]["instance"]) == 2


@pytest.mark.parametrize("keyword", ["ReferringPhysicianName", "NameOfPhysiciansReadingStudy"])
@pytest.mark.parametrize("empty", ["", "^^^^", "=", " ", "^^=^^"])
def test_c36_empty_names_make_no_reference(keyword: str, empty: str) -> None:
    """An empty name or sequence makes no reference at all."""
    values = {keyword: empty, "ReferringPhysicianIdentificationSequence": [{}]}
    made = resource(header(**values))
    assert "referrer" not in made
    assert "interpreter" not in made


@pytest.mark.parametrize("empty", [[], [{}], [{"CodeValue": ""}]])
def test_c36_e23_empty_sequences_make_no_codes(empty: list[Any]) -> None:
    """A sequence without a filled item is no value."""
    assert "procedureCode" not in resource(header(ProcedureCodeSequence=empty))


def test_issuers_become_systems() -> None:
    """The site's tables give systems, by issuer, sender, institution, else default."""
    context = BuildContext(
        identifiers=Identifiers.model_validate(
            {
                "patient": {
                    "by_issuer": {"HOSPITAL": "urn:oid:1.2.3"},
                    "by_calling_ae_title": {"CT1": "urn:oid:1.2.4"},
                    "by_institution": {"West Clinic": "urn:oid:1.2.6"},
                    "default": "urn:oid:1.2.5",
                }
            }
        )
    )

    def system(calling: tuple[str, ...] = (), **values: Any) -> str:
        made = resource(header(**values), context=context, calling=calling)
        return str(made["subject"]["identifier"]["system"])

    assert system(IssuerOfPatientID="HOSPITAL", calling=("CT1",)) == "urn:oid:1.2.3"
    assert system(calling=("CT1",)) == "urn:oid:1.2.4"
    assert system(calling=("CT1",), InstitutionName="West Clinic") == "urn:oid:1.2.4"
    assert system(InstitutionName="West Clinic ") == "urn:oid:1.2.6"
    assert system(InstitutionName="East Clinic") == "urn:oid:1.2.5"
    assert system(calling=("MR1",)) == "urn:oid:1.2.5"
    assert codes(build(header(IssuerOfPatientID="OTHER"), context=context)) >= {"issuer_unknown"}
