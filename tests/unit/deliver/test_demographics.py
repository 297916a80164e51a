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
