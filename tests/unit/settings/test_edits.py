"""Which header edits may be declared."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from intu_fhir.settings.edits import Edits


def test_edits_by_tag() -> None:
    """Keywords become tags with what is put there."""
    edits = Edits(set={"InstitutionName": "General"}, remove=("PatientComments",))
    assert edits.by_tag() == {0x00080080: ("LO", "General"), 0x00104000: None}


@pytest.mark.parametrize(
    ("declared", "said"),
    [
        ({"remove": ["NoSuchThing"]}, "no DICOM keyword"),
        ({"remove": ["SOPInstanceUID"]}, "cannot be edited"),
        ({"remove": ["StudyInstanceUID"]}, "cannot be edited"),
        ({"remove": ["SpecificCharacterSet"]}, "cannot be edited"),
        ({"remove": ["Rows"]}, "cannot be edited"),
        ({"remove": ["PixelData"]}, "cannot be edited"),
        ({"remove": ["TransferSyntaxUID"]}, "cannot be edited"),
        ({"set": {"FrameOfReferenceUID": "1.2"}}, "only removed"),
        ({"set": {"OtherPatientIDsSequence": "x"}}, "only removed"),
        ({"set": {"PatientName": "Müller"}}, "printable ASCII"),
        ({"set": {"PatientComments": "two\nlines"}}, "printable ASCII"),
        ({"set": {"Modality": "ct"}}, "CS"),
        ({"set": {"AccessionNumber": "A" * 17}}, "16"),
        ({"set": {"StudyDate": "29.02.2024"}}, "DA"),
        ({"set": {"PatientID": "1"}, "remove": ["PatientID"]}, "both set and removed"),
    ],
)
def test_what_cannot_be_edited(declared: dict[str, Any], said: str) -> None:
    """What names the image, reads it or breaks it is refused with the reason."""
    with pytest.raises(ValidationError, match=said):
        Edits.model_validate(declared)
