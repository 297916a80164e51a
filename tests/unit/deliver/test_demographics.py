"""Whether a patient found can be the patient of the study."""

from __future__ import annotations

from typing import Any

import pytest

from intu_fhir.deliver.demographics import birth_date, mismatches
from intu_fhir.deliver.subject import new_patient

VALUES: dict[str, Any] = {
    "PatientName": "Müller^Anna",
    "PatientBirthDate": "19700131",
    "PatientSex": "F",
}
PATIENT: dict[str, Any] = {
    "name": [{"family": "Müller", "given": ["Anna"]}],
    "birthDate": "1970-01-31",
    "gender": "female",
}


@pytest.mark.parametrize(
    ("values", "patient"),
    [
        ({}, {}),
        ({"PatientName": "MUELLER^ANNA"}, {}),
        ({"PatientName": "Muller"}, {}),
        ({"PatientName": "Müllerova^Anna"}, {}),
        ({"PatientName": ""}, {}),
        ({"PatientName": "^^^"}, {}),
        ({"PatientName": "山田^太郎"}, {}),
        ({"PatientName": "Yamada^Taro=山田^太郎"}, {"name": [{"family": "山田"}]}),
        ({"PatientName": "Meier"}, {"name": [{"family": "Schmidt"}, {"family": "Meier"}]}),
        ({"PatientName": "Meier"}, {"name": [{"text": "Anna Meier"}]}),
        ({}, {"name": []}),
        ({}, {"name": None}),
        ({"PatientBirthDate": ""}, {}),
        ({"PatientBirthDate": "1970.01.31"}, {}),
        ({"PatientBirthDate": "garbage"}, {}),
        ({"PatientBirthDate": "00000000"}, {}),
        ({"PatientBirthDate": "19700000"}, {}),
        ({"PatientBirthDate": "20240230"}, {}),
        ({"PatientBirthDate": "99991231"}, {}),
        ({"PatientName": "Müller^Anna\\Schmidt^Berta"}, {}),
        ({}, {"birthDate": "1970"}),
        ({}, {"birthDate": "1970-01"}),
        ({}, {"birthDate": None}),
        ({"PatientSex": ""}, {}),
        ({"PatientSex": "f "}, {}),
        ({"PatientSex": "X"}, {}),
        ({}, {"gender": "unknown"}),
        ({}, {"gender": None}),
    ],
)
def test_no_contradiction(values: dict[str, Any], patient: dict[str, Any]) -> None:
    """Absent values, other spellings and former names do not contradict."""
    assert mismatches({**VALUES, **values}, {**PATIENT, **patient}) == []


@pytest.mark.parametrize(
    ("patient", "what"),
    [
        ({"birthDate": "1970-01-30"}, "birth date"),
        ({"birthDate": "1971"}, "birth date"),
        ({"gender": "male"}, "sex"),
        ({"gender": "other"}, "sex"),
        ({"name": [{"family": "Schmidt"}]}, "family name"),
        ({"name": [{"text": "Berta Schmidt"}]}, "family name"),
    ],
)
def test_contradiction_is_named(patient: dict[str, Any], what: str) -> None:
    """One value that contradicts is enough, and is named without its value."""
    assert mismatches(VALUES, {**PATIENT, **patient}) == [what]


def test_birth_date_reads_both_forms() -> None:
    """DA as it is and as it was before 1993 give the same FHIR date."""
    assert birth_date({"PatientBirthDate": "19700131"}) == "1970-01-31"
    assert birth_date({"PatientBirthDate": "1970.01.31"}) == "1970-01-31"
    assert birth_date({"PatientBirthDate": "197001"}) == ""


def test_a_new_patient_holds_what_the_images_say() -> None:
    """Identifier, name, sex and birth date; what is missing is left out."""
    assert new_patient(("s", "1"), {**VALUES, "PatientName": "Müller^Anna Maria^B"}) == {
        "resourceType": "Patient",
        "identifier": [{"system": "s", "value": "1"}],
        "name": [{"family": "Müller", "given": ["Anna", "Maria", "B"]}],
        "gender": "female",
        "birthDate": "1970-01-31",
    }
    assert new_patient(("s", "1"), {"PatientSex": "Z", "PatientName": "^^"}) == {
        "resourceType": "Patient",
        "identifier": [{"system": "s", "value": "1"}],
    }


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("M\ufffdller^Anna", None),
        ("M\ufffdller^Anna=山田^太郎", {"family": "山田", "given": ["太郎"]}),
        ("M\x01üller^An\x1bna", {"family": "Müller", "given": ["Anna"]}),
        ("Müller^Anna\\Schmidt^Berta", {"family": "Müller", "given": ["Anna"]}),
        ("^^\\Schmidt^Berta", {"family": "Schmidt", "given": ["Berta"]}),
    ],
)
def test_a_new_patient_has_no_damaged_and_no_mixed_name(
    name: str, expected: dict[str, Any] | None
) -> None:
    """Text that could not be decoded is not sent, and two names do not become one."""
    assert new_patient(("s", "1"), {"PatientName": name}).get("name", [None])[0] == expected


@pytest.mark.parametrize("written", ["00000000", "20240230", "99991231", "1970.00.00"])
def test_a_new_patient_has_no_birth_date_that_is_none(written: str) -> None:
    """What is no day of the calendar would make the Patient an invalid one."""
    assert "birthDate" not in new_patient(("s", "1"), {"PatientBirthDate": written})
