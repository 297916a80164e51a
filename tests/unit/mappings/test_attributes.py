"""The list of staged attributes: what it holds, and what is wrong with a damaged one."""

from __future__ import annotations

from pathlib import Path

import pytest

from intu_fhir.errors import ConfigurationError
from intu_fhir.mappings import acquisition_modalities, load_mapping, staged_attributes
from intu_fhir.mappings.attributes import load_attributes, shipped_attributes


def test_levels() -> None:
    """Shared attributes and an instance's own are told apart."""
    levels = staged_attributes()
    assert levels["PatientID"] == "patient"
    assert levels["StudyDate"] == "study"
    assert levels["TimezoneOffsetFromUTC"] == levels["ImageLaterality"] == "series"
    assert levels["InstanceNumber"] == levels["ConceptNameCodeSequence"] == "instance"


def test_what_belongs_together_is_staged() -> None:
    """Every attribute that is chosen with others or collected is a staged one."""
    attributes = shipped_attributes()
    named = {name for groups in attributes.together.values() for group in groups for name in group}
    assert named | attributes.collected <= set(attributes.levels)


def test_everything_mapped_is_staged() -> None:
    """The shipped mapping reads staged attributes only."""
    rules = load_mapping().rules
    read = {
        name.partition(".")[0]
        for elements in rules.values()
        for listed in elements.values()
        for rule in listed
        for name in rule.attributes()
    }
    assert read <= set(staged_attributes())


def test_acquisition_modalities() -> None:
    """CID 29 has 51 terms, and reports are none of them."""
    assert len(acquisition_modalities()) == 51
    assert not acquisition_modalities() & {"SR", "KO", "PR", "SEG", "OT"}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("patient: [PatientID, PatientID]\n", "twice"),
        ("patient: [PatientId]\n", "not a DICOM keyword"),
        ("patient: PatientID\n", "must be a list"),
        ("patients: []\n", "unknown key"),
        ('series: ["0018xx10:NOT PRIVATE"]\n', "not a DICOM keyword"),
        ("together: 5\n", "by level"),
        ("collected: [5]\n", "not a DICOM keyword"),
    ],
)
def test_mistakes(tmp_path: Path, text: str, words: str) -> None:
    """A damaged list names file, line and what is wrong."""
    path = tmp_path / "attributes.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigurationError, match=words) as caught:
        load_attributes(path)
    assert f"{path}:1: " in str(caught.value)


def test_private_attributes(tmp_path: Path) -> None:
    """A private attribute is known by its creator, whatever case its digits have."""
    path = tmp_path / "attributes.yaml"
    path.write_text('series: ["00A9XX10:Maker 1"]\n', encoding="utf-8")
    assert load_attributes(path).levels == {"00a9xx10:Maker 1": "series"}
