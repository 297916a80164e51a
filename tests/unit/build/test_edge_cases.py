"""Odd data that occurs, E01 to E40, as far as it concerns what is built.

Not here: E05 and E07 (refused or quarantined when received), E08 (the scan takes the data set),
E36 to E38 (delivery).
"""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import pytest

from intu_fhir.aggregate.conflicts import PATIENT_CONFLICT, find_conflicts
from intu_fhir.build.concepts import SCT
from intu_fhir.build.imaging_study import BuildContext, ImageService
from intu_fhir.build.names import name_groups
from intu_fhir.mappings import Release, load_mapping
from intu_fhir.model.finding import IMAGES_EXPIRED, errors
from intu_fhir.model.settling import StudyHeaders
from intu_fhir.settings.schema import Identifiers
from tests.support.building import (
    CT,
    KO,
    MR,
    PDF,
    SR,
    STUDY_UID,
    build,
    code_item,
    codes,
    header,
    resource,
    staged,
)

NULL_FLAVOR = "http://terminology.hl7.org/CodeSystem/v3-NullFlavor"
DCM = "http://dicom.nema.org/resources/ontology/DCM"
NO_ZONE = BuildContext()


def _series(release: Release = "r4", **values: Any) -> dict[str, Any]:
    made: dict[str, Any] = resource(header(**values), release=release)["series"][0]
    return made


def _started(day: str, time: str, zone: str = "+0100", **options: Any) -> str | None:
    one = header(StudyDate=day, StudyTime=time, TimezoneOffsetFromUTC=zone)
    return resource(one, context=NO_ZONE, **options).get("started")


@pytest.mark.parametrize(("release", "expected"), [("r4", None), ("r5", ["KO", "PR", "SR"])])
def test_e01_study_of_reports(release: Release, expected: list[str] | None) -> None:
    """A study without acquisition has no modality in R4 and all in R5; its series keep theirs."""
    made = resource(
        header(series=1, Modality="SR"),
        header(series=2, Modality="KO"),
        header(series=3, Modality="PR"),
        release=release,
    )
    listed = [one["coding"][0]["code"] for one in made.get("modality", [])] or None
    assert listed == expected
    assert len(made["series"]) == 3


def test_e02_two_modalities_in_one_series() -> None:
    """The more frequent modality counts, and the contradiction is noted."""
    headers = [header(n, Modality="CT" if n < 3 else "MR") for n in (1, 2, 3)]
    assert resource(*headers)["series"][0]["modality"]["code"] == "CT"
    headers = [header(n, Modality="CT" if n < 3 else "SR") for n in (1, 2, 3, 4, 5)]
    assert resource(*headers)["series"][0]["modality"]["code"] == "SR"


@pytest.mark.parametrize(
    ("raw", "sop_class", "system", "code"),
    [
        ("ct", CT, DCM, "CT"),
        ("CT ", CT, DCM, "CT"),
        (" C T", CT, DCM, "CT"),
        ("OTHER", MR, DCM, "MR"),
        ("", MR, DCM, "MR"),
        (None, SR, DCM, "SR"),
        (None, KO, DCM, "KO"),
        (None, "1.2.840.10008.5.1.4.1.1.7.2", DCM, "OT"),
        ("OTHER", "1.2.3.4.5", NULL_FLAVOR, "UNK"),
        (None, "1.2.3.4.5", NULL_FLAVOR, "UNK"),
    ],
)
def test_e03_unusual_modalities(raw: str | None, sop_class: str, system: str, code: str) -> None:
    """A term is normalised, else the SOP class decides, else it is unknown."""
    made = _series(Modality=raw, sop_class=sop_class)["modality"]
    assert (made["system"], made["code"]) == (system, code)


@pytest.mark.parametrize("term", ["DF", "CF", "FS", "DS"])
def test_e04_retired_modalities(term: str) -> None:
    """A retired term that the ontology defines is sent, but never as the study's in R4."""
    built = build(header(Modality=term))
    assert built.resource["series"][0]["modality"]["code"] == term
    assert "modality" not in built.resource
    assert "retired_modality" in codes(built)


def test_e04_private_modality_is_not_silently_replaced() -> None:
    """DR is no term: the SOP class decides, and that is noted."""
    built = build(header(Modality="DR", sop_class="1.2.840.10008.5.1.4.1.1.1"))
    assert built.resource["series"][0]["modality"]["code"] == "CR"
    assert "unknown_modality" in codes(built)


@pytest.mark.parametrize(("other", "conflict"), [("0001", True), ("1 ", False), ("1", False)])
def test_e06_patient_ids_that_look_alike(other: str, conflict: bool) -> None:
    """Leading zeros tell patients apart, edge spaces do not."""
    headers = staged([header(1, PatientID="1"), header(2, PatientID=other)])
    holds = find_conflicts(StudyHeaders(STUDY_UID, 1, headers))
    assert [hold.reason for hold in holds] == [PATIENT_CONFLICT] * conflict


def test_e09_leading_zero_in_a_uid() -> None:
    """A component with a leading zero is kept as it is."""
    made = resource(header(uid="1.2.03.4"))
    assert made["series"][0]["instance"][0]["uid"] == "1.2.03.4"


@pytest.mark.parametrize(
    ("raw", "number"),
    [
        ("-1", None),
        ("4294967296", None),
        ("5.0", 5),
        ("5.5", None),
        ("1\\2", 1),
        ("\\2", 2),
        (" 007 ", 7),
        ("+3", 3),
        ("0", 0),
        ("1e2", None),
        ("abc", None),
        ("２", None),
        ("2147483647", 2_147_483_647),
        ("2147483648", None),
        ("9" * 400, None),
    ],
)
def test_e10_instance_numbers(raw: str, number: int | None) -> None:
    """A number is one of FHIR or is left out, and the instance stays."""
    built = build(header(InstanceNumber=raw))
    assert built.resource["series"][0]["instance"][0].get("number") == number
    assert ("invalid_number" in codes(built)) is (number is None)


def test_e11_leap_second() -> None:
    """Second 60 is kept."""
    assert _started("20161231", "235960", "+0000") == "2016-12-31T23:59:60+00:00"


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ("240000", "2024-03-01"),
        ("9999", "2024-03-01"),
        ("10", "2024-03-01"),
        ("", "2024-03-01"),
        ("morning", "2024-03-01"),
        ("12:05:30", "2024-03-01T12:05:30+01:00"),
        ("12:05", "2024-03-01T12:05:00+01:00"),
        ("120530.1234567", "2024-03-01T12:05:30.123456+01:00"),
        ("120530.50", "2024-03-01T12:05:30.50+01:00"),
        ("120530.", "2024-03-01T12:05:30+01:00"),
        ("1205 ", "2024-03-01T12:05:00+01:00"),
    ],
)
def test_e12_times(raw: str, expected: str) -> None:
    """A time keeps what it says; one that is none leaves the date alone."""
    assert _started("20240301", raw) == expected


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ("20240230", None),
        ("00000000", None),
        ("99991231", None),
        ("2024", None),
        ("202403", None),
        ("2024.01.02", "2024-01-02T10:00:00+01:00"),
        ("2024-01-02", None),
        ("   ", None),
        ("18500101", "1850-01-01T10:00:00+01:00"),
    ],
)
def test_e13_dates(raw: str, expected: str | None) -> None:
    """A day that does not exist is left out; one that is unlikely is kept."""
    assert _started(raw, "1000") == expected


@pytest.mark.parametrize(("day", "odd"), [("20240303", False), ("20240304", True)])
def test_e13_dates_of_the_future(day: str, odd: bool) -> None:
    """A date later than the day after tomorrow is kept and noted."""
    context = BuildContext(today=date(2024, 3, 1))
    built = build(header(StudyDate=day), context=context)
    assert built.resource["started"].replace("-", "") == day
    assert ("implausible_date" in codes(built)) is odd


@pytest.mark.parametrize(
    ("zone", "context", "expected"),
    [
        ("+1400", NO_ZONE, "T10:00:00+14:00"),
        ("+0100 ", NO_ZONE, "T10:00:00+01:00"),
        ("-0330", NO_ZONE, "T10:00:00-03:30"),
        ("+1430", NO_ZONE, ""),
        ("-0000", NO_ZONE, ""),
        ("+01", NO_ZONE, ""),
        ("Z", NO_ZONE, ""),
        ("-0000", BuildContext(time_zone="Asia/Tokyo"), "T10:00:00+09:00"),
        ("+01", BuildContext(time_zone="Asia/Tokyo"), "T10:00:00+09:00"),
        ("+1430", BuildContext(time_zone="Asia/Tokyo"), ""),
        ("+0100", BuildContext(time_zone="Asia/Tokyo"), "T10:00:00+01:00"),
    ],
)
def test_e14_zones(zone: str, context: BuildContext, expected: str) -> None:
    """A zone of the header counts; an unknown one leaves the configured; a wrong one no time."""
    one = header(StudyDate="20240301", StudyTime="1000", TimezoneOffsetFromUTC=zone)
    assert resource(one, context=context)["started"] == f"2024-03-01{expected}"


@pytest.mark.parametrize(
    ("day", "time", "expected", "code"),
    [
        ("20240331", "023000", "2024-03-31T02:30:00+02:00", "skipped_local_time"),
        ("20241027", "023000", "2024-10-27T02:30:00+02:00", "ambiguous_local_time"),
        ("20241027", "033000", "2024-10-27T03:30:00+01:00", None),
    ],
)
def test_e15_clock_changes(day: str, time: str, expected: str, code: str | None) -> None:
    """Where the clock is changed, the reading is chosen and noted."""
    built = build(header(StudyDate=day, StudyTime=time))
    assert built.resource["started"] == expected
    assert codes(built) & {"skipped_local_time", "ambiguous_local_time"} == ({code} - {None})


def test_e16_series_before_study() -> None:
    """Neither time is corrected."""
    made = resource(header(SeriesDate="20240229", SeriesTime="235900"))
    assert made["started"] == "2024-03-01T10:15:30+01:00"
    assert made["series"][0]["started"] == "2024-02-29T23:59:00+01:00"


@pytest.mark.parametrize("raw", ["0001234", "1|2", "1,2", "A" * 17])
def test_e17_accession_numbers(raw: str) -> None:
    """An Accession Number stays as it is; a long one is noted."""
    built = build(header(AccessionNumber=raw))
    assert built.resource["identifier"][1]["value"] == raw
    assert ("value_too_long" in codes(built)) is (len(raw) > 16)


def test_e18_several_accession_numbers() -> None:
    """Each distinct order is referred to once, with its issuer."""
    issuer = [{"UniversalEntityID": "1.2.3", "UniversalEntityIDType": "ISO"}]
    request = {"AccessionNumber": "A2", "IssuerOfAccessionNumberSequence": issuer}
    made = resource(
        header(1, AccessionNumber="A1", RequestAttributesSequence=[request]),
        header(2, AccessionNumber="A2", RequestAttributesSequence=[request, {}]),
    )
    orders = [one["identifier"] for one in made["basedOn"]]
    assert [(one["value"], one.get("system")) for one in orders] == [
        ("A1", None),
        ("A2", "urn:oid:1.2.3"),
    ]
    assert [one["value"] for one in made["identifier"][1:]] == ["A1", "A2"]


@pytest.mark.parametrize("raw", ["^^^^", "UNKNOWN", "unknown^^"])
def test_e19_referrers_that_are_none(raw: str) -> None:
    """A name that names nobody makes no referrer."""
    assert "referrer" not in resource(header(ReferringPhysicianName=raw))


@pytest.mark.parametrize(
    ("raw", "texts"),
    [
        ("Yamada^Tarou=山田^太郎=やまだ^たろう", ["Tarou Yamada", "山田 太郎", "やまだ たろう"]),
        ("=山田^太郎", ["山田 太郎"]),
        ("Hong^Gildong=洪^吉洞=홍^길동", ["Gildong Hong", "洪 吉洞", "홍 길동"]),
        ("Wang^XiaoDong=王^小东", ["XiaoDong Wang", "王 小东"]),
        ("DOE, JOHN", ["DOE, JOHN"]),
        ("Adams^John Robert Quincy^^Rev.^B.A.", ["Rev. John Robert Quincy Adams B.A."]),
        ("Люкceмбypг", ["Люкceмбypг"]),
        ("Διονυσιος", ["Διονυσιος"]),
        ("قباني^لنزار", ["لنزار قباني"]),
        ("a\N{REPLACEMENT CHARACTER}b", []),
    ],
)
def test_e20_e21_names_of_the_world(raw: str, texts: list[str]) -> None:
    """Each script is a name of its own; a damaged name is not published."""
    assert [name.text for name in name_groups(raw)] == texts


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ("Head\\Neck", "Head\\Neck"),
        ("Line\nTwo", "Line\nTwo"),
        ("Smile 🙂", "Smile 🙂"),
        ("<b>x</b>", "<b>x</b>"),
        ("a\x00b\x07", "ab"),
        ("x" * 2_000, "x" * 1_024),
    ],
)
def test_e22_descriptions(raw: str, expected: str) -> None:
    """Text comes through literally, without control characters."""
    assert resource(header(StudyDescription=raw))["description"] == expected


def test_e22_damaged_description() -> None:
    """Text that could not be decoded is left out and noted."""
    built = build(header(StudyDescription="a\N{REPLACEMENT CHARACTER}"))
    assert "description" not in built.resource
    assert "damaged_text" in codes(built)


@pytest.mark.parametrize("sop_class", ["1.3.12.2.1107.5.9.1", "2.25.1"])
def test_e24_private_sop_classes(sop_class: str) -> None:
    """A private SOP class is a coding like any other."""
    made = _series(sop_class=sop_class)["instance"][0]["sopClass"]
    assert made == {"system": "urn:ietf:rfc:3986", "code": f"urn:oid:{sop_class}"}


@pytest.mark.parametrize(
    "context", [BuildContext(max_instances=9), BuildContext(max_body_bytes=2_000)]
)
def test_e25_too_many_instances_to_list(context: BuildContext) -> None:
    """Too many or too large: counts are complete, no instance is listed."""
    built = build(*(header(n) for n in range(1, 11)), context=context)
    made = built.resource
    assert made["numberOfInstances"] == made["series"][0]["numberOfInstances"] == 10
    assert "instance" not in made["series"][0]
    assert "instances_left_out" in codes(built)


def _note(code: str, uids: list[str], number: int = 1) -> dict[str, Any]:
    return header(
        number,
        series=99,
        Modality="KO",
        ConceptNameCodeSequence=[code_item(code, "DCM", "x")],
        CurrentRequestedProcedureEvidenceSequence=[
            {
                "ReferencedSeriesSequence": [
                    {"ReferencedSOPSequence": [{"ReferencedSOPInstanceUID": u} for u in uids]}
                ]
            }
        ],
    )


def test_e26_some_instances_rejected() -> None:
    """Rejected instances leave lists and counts, and so does the note."""
    made = resource(header(1), header(2), _note("113001", [f"{STUDY_UID}.1.1"]))
    assert (made["status"], made["numberOfSeries"], made["numberOfInstances"]) == (
        "available",
        1,
        1,
    )
    assert [one["uid"] for one in made["series"][0]["instance"]] == [f"{STUDY_UID}.1.2"]


@pytest.mark.parametrize(
    ("code", "status"),
    [("113001", "cancelled"), ("113037", "entered-in-error"), ("113038", "entered-in-error")],
)
def test_e26_everything_rejected(code: str, status: str) -> None:
    """The reason of the rejection makes the status."""
    made = resource(header(1), _note(code, [f"{STUDY_UID}.1.1"]))
    assert (made["status"], made["numberOfInstances"]) == (status, 0)


def test_e26_notes_that_reject_nothing() -> None:
    """A note of key images takes nothing out."""
    made = resource(header(1), _note("113000", [f"{STUDY_UID}.1.1"]))
    assert (made["status"], made["numberOfInstances"]) == ("available", 2)


def test_e26_images_deleted_in_due_time() -> None:
    """Expired retention keeps the record without its note, and takes the endpoint out."""
    service = BuildContext(image_service=ImageService("Endpoint/wado"))
    note = _note("113039", [f"{STUDY_UID}.1.1"])
    made = build(header(1), note, context=service)
    found = made.resource
    assert (found["status"], found["numberOfInstances"]) == ("available", 1)
    assert "endpoint" not in found
    assert IMAGES_EXPIRED in codes(made)
    assert "endpoint" in build(header(1), header(2), note, context=service).resource


def test_e27_late_report_with_its_own_date() -> None:
    """A late report or segmentation does not move the start."""
    images = [header(n) for n in (1, 2)]
    late = [
        header(n, series=n, Modality="SR", StudyDate="20240304", StudyTime="080000")
        for n in range(3, 9)
    ]
    assert resource(*images, *late)["started"] == resource(*images)["started"]


@pytest.mark.parametrize(
    "patient_id", ["", "0", "UNKNOWN", "unknown patient", "ANONYMOUS", "Temp123", "N/A"]
)
def test_e28_nobody(patient_id: str) -> None:
    """A Patient ID that identifies nobody makes a subject that is marked as unknown."""
    built = build(header(PatientID=patient_id, PatientIdentityRemoved="YES"))
    assert "identifier" not in built.resource["subject"]
    assert {"subject_unknown", "subject_anonymous"} <= codes(built)
    assert [one.code for one in errors(built.findings)] == ["subject_unknown"]


@pytest.mark.parametrize(
    ("values", "code"),
    [
        ({"QualityControlSubject": "YES"}, "subject_is_phantom"),
        ({"PatientSpeciesDescription": "Canis lupus familiaris"}, "subject_is_animal"),
    ],
)
def test_e28_no_patient(values: dict[str, str], code: str, tmp_path: Path) -> None:
    """A phantom and an animal are held, unless the site's mapping sends them."""
    assert [one.code for one in errors(build(header(**values)).findings)] == [code]
    sent = load_mapping(_sending(tmp_path, "not_a_patient: publish"))
    built = build(header(**values), mapping=sent)
    assert errors(built.findings) == []
    assert "subject_sent_as_patient" in codes(built)


def test_e28_nobody_is_sent_where_the_site_says_so(tmp_path: Path) -> None:
    """A site may send studies without Patient ID; their subject is marked as unknown."""
    sent = load_mapping(_sending(tmp_path, "unknown: publish"))
    built = build(header(PatientID=""), mapping=sent)
    assert errors(built.findings) == []
    assert built.resource["subject"]["extension"][0]["valueCode"] == "unknown"


def _sending(folder: Path, key: str) -> Path:
    path = folder / "mapping.yaml"
    path.write_text(f"extends: shipped\nstudy:\n  subject: {{converter: patient, {key}}}\n")
    return path


def test_e29_two_senders_with_their_issuers() -> None:
    """A study of two archives is one study; the more frequent issuer counts."""
    made = resource(
        *(
            header(n, IssuerOfPatientID="urn:oid:1.2.3" if n < 3 else "urn:oid:1.2.4")
            for n in (1, 2, 3)
        ),
        calling=("PACS_A", "PACS_B"),
    )
    assert made["numberOfSeries"] == 1
    assert made["subject"]["identifier"]["system"] == "urn:oid:1.2.3"


@pytest.mark.parametrize("values", [{"NumberOfFrames": "2000"}, {"ConcatenationUID": "1.2.3"}])
def test_e30_e31_e40_multi_frame(values: dict[str, str]) -> None:
    """A multi-frame object, a part of a concatenation or a video is one instance."""
    assert resource(header(**values))["numberOfInstances"] == 1


def test_e32_left_and_right_in_one_series() -> None:
    """Mammograms of both sides make a bilateral series."""
    sides = ["L", "R", "L", "R"]
    headers = [header(n, Modality="MG", ImageLaterality=s) for n, s in enumerate(sides, 1)]
    assert resource(*headers)["series"][0]["laterality"]["code"] == "51440002"


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ("LSPINE", "122496007"),
        ("L SPINE", "122496007"),
        ("l_spine", "122496007"),
        ("lumbar spine", "122496007"),
        ("THORAX\\ABDOMEN", "43799004"),
        ("NOWHERE\\ABDOMEN", "818981001"),
        ("WHOLE BODY", "38266002"),
    ],
)
def test_e33_body_parts(raw: str, expected: str) -> None:
    """A body part is found by its term or a frequent spelling; of several the first known one."""
    assert _series(BodyPartExamined=raw)["bodySite"]["code"] == expected


@pytest.mark.parametrize("raw", ["UNKNOWN", "none", "N/A", " "])
def test_e33_body_parts_that_say_nothing(raw: str) -> None:
    """A word for nothing is no body part."""
    assert "bodySite" not in _series(BodyPartExamined=raw)


def test_e33_side_in_the_body_part() -> None:
    """A spelling that names the side gives it, unless the series has its own."""
    made = _series(BodyPartExamined="RT KNEE")
    assert (made["bodySite"]["code"], made["laterality"]["code"]) == ("72696002", "24028007")
    assert _series(BodyPartExamined="RT KNEE", Laterality="L")["laterality"]["code"] == "7771000"


@pytest.mark.parametrize("term", ["FETALARM", "FETALDIGIT", "FETALHEART", "FETALLEG", "FETALPOLE"])
def test_e34_terms_without_code(term: str) -> None:
    """A term without SNOMED CT code is text."""
    assert _series(BodyPartExamined=term)["bodySite"] == {"display": term}
    assert _series("r5", BodyPartExamined=term)["bodySite"] == {"concept": {"text": term}}


def test_e35_study_id_is_no_identifier() -> None:
    """Study ID 1 identifies nothing."""
    assert len(resource(header(StudyID="1"))["identifier"]) == 1


def test_e39_documents() -> None:
    """An encapsulated document is DOC, with its title."""
    made = _series(Modality=None, sop_class=PDF, DocumentTitle="Report")
    assert made["modality"]["code"] == "DOC"
    assert made["instance"][0]["title"] == "Report"


@pytest.mark.parametrize("term", sorted(load_mapping().tables.body_sites))
def test_every_term_of_annex_l(term: str) -> None:
    """Every body part of PS3.16 annex L has its code, or is text where it has none."""
    site = load_mapping().tables.body_sites[term]
    made = _series(BodyPartExamined=term.lower())["bodySite"]
    assert made.get("code", "") == site.code


@pytest.mark.parametrize("term", sorted(load_mapping().tables.modalities))
def test_every_modality(term: str) -> None:
    """Every modality of the table is sent as it stands."""
    assert _series(Modality=term)["modality"]["code"] == term


def test_anatomic_region_before_body_part() -> None:
    """A coded region counts more than a word, and old SNOMED codes are translated."""
    made = _series(
        BodyPartExamined="HEAD",
        AnatomicRegionSequence=[code_item("T-D3000", "SRT", "Chest")],
    )
    assert made["bodySite"]["system"] == "http://snomed.info/sct"
    assert made["bodySite"]["code"].isdigit()


def test_old_code_without_translation() -> None:
    """An old SNOMED code that has no translation is sent in words, never as it is."""
    items = [code_item("X-00000", "SRT", "Odd region")]
    built = build(header(AnatomicRegionSequence=items))
    assert built.resource["series"][0]["bodySite"] == {"display": "Odd region"}
    assert "untranslated_code" in codes(built)


@pytest.mark.parametrize(
    ("code", "scheme", "expected"),
    [
        ("T-D3000", "SCT", {"system": SCT, "code": "51185008", "display": "Chest"}),
        ("51185008", "SRT", {"system": SCT, "code": "51185008", "display": "Chest"}),
        ("T-XXXXX", "SCT", {"display": "Chest"}),
    ],
)
def test_codes_of_snomed_under_the_wrong_name(
    code: str, scheme: str, expected: dict[str, str]
) -> None:
    """Old codes are sent as no SNOMED CT codes, and SNOMED CT codes are not lost for old ones."""
    assert _series(AnatomicRegionSequence=[code_item(code, scheme, "Chest")])["bodySite"] == (
        expected
    )


def test_a_coded_body_part_comes_before_a_region_in_words() -> None:
    """A region of a scheme that nobody knows is words: Body Part Examined has a code."""
    region = [code_item("X1", "99LOCAL", "Brustkorb")]
    made = _series("r4", AnatomicRegionSequence=region, BodyPartExamined="CHEST")
    assert made["bodySite"]["code"] == "43799004"
    made = _series("r4", AnatomicRegionSequence=region, BodyPartExamined="FETALARM")
    assert made["bodySite"] == {"display": "Brustkorb"}


def test_equivalent_codes_stand_together() -> None:
    """A code and its equivalents are one concept; an unknown scheme leaves the meaning."""
    item = code_item("24627-2", "LN", "Chest CT")
    item["EquivalentCodeSequence"] = [code_item("RPID1", "RADLEX"), code_item("1", "99X", "y")]
    made = resource(header(ProcedureCodeSequence=[item, code_item("7", "99X", "Local")]))
    assert [len(one.get("coding", [])) for one in made["procedureCode"]] == [2, 0]
    assert made["procedureCode"][1] == {"text": "Local"}


@pytest.mark.parametrize(
    ("issuer", "kind"), [(None, "MR"), ("urn:oid:1.2.3", "MR"), ("urn:oid:1.9", "PI")]
)
def test_ids_of_other_issuers(issuer: str | None, kind: str) -> None:
    """A Patient ID of the site is MR, one of another issuer PI."""
    site = Identifiers.model_validate({"patient": {"default": "urn:oid:1.2.3"}})
    one = header(IssuerOfPatientID=issuer)
    made = resource(one, context=BuildContext(identifiers=site))["subject"]["identifier"]
    assert made["type"]["coding"][0]["code"] == kind


def test_identification_that_fits_nobody() -> None:
    """One identification for two persons identifies neither."""
    item = {"PersonIdentificationCodeSequence": [code_item("77", "SCT")]}
    names = {"OperatorsName": "A^B\\C^D", "OperatorIdentificationSequence": [item]}
    for one in resource(header(**names))["series"][0]["performer"]:
        assert "identifier" not in one["actor"]


def test_performers_are_named_once_with_their_identifier() -> None:
    """Each distinct person is one performer; a known scheme identifies him."""
    item = {"PersonIdentificationCodeSequence": [code_item("77", "99HOSP")]}
    schemes = [{"CodingSchemeDesignator": "99HOSP", "CodingSchemeUID": "1.2.3.4"}]
    made = resource(
        header(
            1,
            OperatorsName="Roe^Jane\\Doe^John",
            PerformingPhysicianName="Meier^Eva",
            PerformingPhysicianIdentificationSequence=[item],
            CodingSchemeIdentificationSequence=schemes,
        ),
        header(2, OperatorsName="Doe^John", PerformingPhysicianName="Meier^Eva"),
    )
    actors = [one["actor"] for one in made["series"][0]["performer"]]
    assert [one["display"] for one in actors] == ["Eva Meier", "Jane Roe", "John Doe"]
    assert actors[0]["identifier"] == {"system": "urn:oid:1.2.3.4", "value": "77"}


def test_a_designator_of_two_schemes_is_no_system() -> None:
    """Two makers may call schemes of their own alike: no code of one is sent as the other's."""
    made = resource(
        *(
            header(
                n,
                ProcedureCodeSequence=[code_item(code, "99LOCAL", f"procedure {code}")],
                CodingSchemeIdentificationSequence=[
                    {"CodingSchemeDesignator": "99LOCAL", "CodingSchemeUID": f"1.2.3.{n}"}
                ],
            )
            for n, code in ((1, "A"), (2, "B"))
        )
    )
    assert made["procedureCode"] == [{"text": "procedure A"}, {"text": "procedure B"}]


def test_of_two_patient_names_the_first_is_shown() -> None:
    """Patient's Name has one value: two of them do not become one person."""
    built = build(header(PatientName="Doe^John\\Roe^Jane"))
    assert built.resource["subject"]["display"] == "John Doe"
    assert "several_values" in codes(built)


def _numbered(number: str) -> dict[str, Any]:
    return {"PersonIdentificationCodeSequence": [code_item(number, "99STAFF")]}


def test_persons_of_one_name_are_told_apart_by_their_numbers() -> None:
    """Two persons may have one name: each keeps the own number, and neither is lost."""
    schemes = [{"CodingSchemeDesignator": "99STAFF", "CodingSchemeUID": "1.2.3.4"}]
    both: dict[str, Any] = {"CodingSchemeIdentificationSequence": schemes}
    made = resource(
        header(1, OperatorsName="Doe^John", **both),
        header(
            2,
            OperatorsName="Doe^John\\Doe^John",
            OperatorIdentificationSequence=[_numbered("1"), _numbered("2")],
            **both,
        ),
        header(
            3,
            OperatorsName="Doe^John",
            OperatorIdentificationSequence=[_numbered("2")],
            **both,
        ),
    )
    actors = [one["actor"] for one in made["series"][0]["performer"]]
    assert [one["display"] for one in actors] == ["John Doe"] * 2
    assert sorted(one["identifier"]["value"] for one in actors) == ["1", "2"]


def test_who_operated_and_performed_is_named_once() -> None:
    """The same person in the same function is one performer."""
    made = resource(header(OperatorsName="Doe^John", PerformingPhysicianName="Doe^John"))
    actors = [one["actor"]["display"] for one in made["series"][0]["performer"]]
    assert actors == ["John Doe"]


def test_reasons_and_places() -> None:
    """Reason, encounter, location and specimen come from where the standard has them."""
    made = resource(
        header(
            RequestAttributesSequence=[{"ReasonForTheRequestedProcedure": "Dyspnoea"}],
            AdmissionID="V1",
            PerformedLocation="Room 1",
            InstitutionalDepartmentName="Radiology",
            SpecimenDescriptionSequence=[{"SpecimenIdentifier": "S1"}],
            ContainerIdentifier="C1",
        ),
        release="r5",
    )
    assert made["reason"] == [{"concept": {"text": "Dyspnoea"}}]
    assert made["encounter"]["identifier"]["value"] == "V1"
    assert made["location"] == {"type": "Location", "display": "Room 1"}
    assert made["series"][0]["specimen"][0]["identifier"] == {"value": "S1"}


def test_the_reason_of_every_request_is_sent() -> None:
    """A request that says its reason in words loses it to no code of another request."""
    coded = {
        "ReasonForTheRequestedProcedure": "Cough for weeks",
        "ReasonForRequestedProcedureCodeSequence": [code_item("49727002", "SCT", "Cough")],
    }
    in_words = {"ReasonForTheRequestedProcedure": "Fall"}
    same = {"ReasonForTheRequestedProcedure": "Cough for weeks"}
    made = resource(
        header(1, RequestAttributesSequence=[coded, in_words]),
        header(2, RequestAttributesSequence=[same, {"ReasonForTheRequestedProcedure": "COUGH"}]),
    )
    code = {"system": "http://snomed.info/sct", "code": "49727002", "display": "Cough"}
    assert made["reasonCode"] == [{"coding": [code]}, {"text": "Fall"}]


def test_differing_reasons_are_all_sent() -> None:
    """Of an attribute of which each distinct value counts none is lost."""
    made = resource(
        header(1, ReasonForTheRequestedProcedure="Cough"),
        header(2, ReasonForTheRequestedProcedure="Fall"),
        header(3, ReasonForTheRequestedProcedure="Cough "),
    )
    assert made["reasonCode"] == [{"text": "Cough"}, {"text": "Fall"}]


def test_started_from_series_or_images() -> None:
    """Without a Study Date the earliest time below it counts, and that is noted."""
    built = build(
        header(1, StudyDate=None, AcquisitionDate="20240303", AcquisitionTime="080000"),
        header(2, StudyDate=None, AcquisitionDate="20240302", AcquisitionTime="090000"),
    )
    assert built.resource["started"] == "2024-03-02T09:00:00+01:00"
    assert "started_derived" in codes(built)
    zoned = header(StudyDate=None, ContentDate="20240303", ContentTime="0800")
    zoned["TimezoneOffsetFromUTC"] = "-0500"
    assert build(zoned).resource["started"] == "2024-03-03T08:00:00-05:00"
    built = build(header(StudyDate=None, AcquisitionDateTime="20240303080000.5+0900"))
    assert built.resource["started"] == "2024-03-03T08:00:00.5+09:00"


@pytest.mark.parametrize(
    ("moments", "expected"),
    [
        (["20240301100000+0100", "20240301093000+0000"], "2024-03-01T10:00:00+01:00"),
        (["20240301233000-0500", "20240302010000+0100"], "2024-03-02T01:00:00+01:00"),
        (["20240301100000.5+0000", "20240301110000+0100"], "2024-03-01T11:00:00+01:00"),
        (["20240301", "20240301100000+0100"], "2024-03-01T10:00:00+01:00"),
        (["20240229", "20240301000000+1400"], "2024-02-29"),
        (["20240301235960+0000", "20240302000000+0000"], "2024-03-01T23:59:60+00:00"),
    ],
)
def test_the_earliest_of_several_zones_is_the_earliest_moment(
    moments: list[str], expected: str
) -> None:
    """Times of several offsets are compared as moments, not as the clocks showed them."""
    images = [
        header(n, StudyDate=None, AcquisitionDateTime=one) for n, one in enumerate(moments, 1)
    ]
    assert resource(*images)["started"] == expected


def test_many_findings_of_one_kind_are_counted() -> None:
    """A mistake in every instance makes some findings and one that counts the rest."""
    built = build(*(header(n, InstanceNumber="x") for n in range(1, 101)))
    found = [one for one in built.findings if one.code == "invalid_number"]
    assert len(found) == 21
    assert "80 more" in found[-1].message


def test_findings_hold_no_values() -> None:
    """No finding repeats what a header says of a person."""
    secret = "Geheimnis"
    built = build(
        header(
            PatientID=f"{secret}\\2",
            PatientName=secret,
            AccessionNumber=secret * 3,
            ReferringPhysicianName=f"{secret}\N{REPLACEMENT CHARACTER}",
            StudyDate=secret,
            InstanceNumber=secret,
            BodyPartExamined=secret,
            Modality=secret,
            Laterality=secret,
            TimezoneOffsetFromUTC=secret,
        )
    )
    assert len(built.findings) > 6
    assert not [one for one in built.findings if secret in one.message]
