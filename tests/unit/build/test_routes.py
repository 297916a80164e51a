"""Which destinations get a study, and what the others are told."""

from __future__ import annotations

from typing import Any

import pytest

from intu_fhir.aggregate.merge import merge_headers
from intu_fhir.build.routes import attribute, left_out, require_staged
from intu_fhir.errors import ConfigurationError
from intu_fhir.model.study import Study
from intu_fhir.settings.schema import AnyDestination, DicomDestination, FhirDestination
from tests.support.building import STUDY_UID, header, staged


def _study(*headers: dict[str, Any]) -> Study:
    made = staged(headers or [header(1), header(1, series=2, Modality="SR")])
    return merge_headers(STUDY_UID, made, ("CT1",), 1)


def _pacs(**settings: Any) -> DicomDestination:
    return DicomDestination(type="dicom", host="h", port=1, called_ae_title="P", **settings)


def _ehr(**settings: Any) -> FhirDestination:
    return FhirDestination(type="fhir", base_url="http://ehr/fhir", **settings)


def _left_out(study: Study, **destinations: AnyDestination) -> dict[str, str]:
    return left_out(destinations, study, ("radiology",))


@pytest.mark.parametrize(
    ("only", "reason"),
    [
        ({"modalities": ["CT", "MR"]}, ""),
        ({"modalities": ["MR"]}, "only.modalities wants MR; this study has CT, SR"),
        ({"calling_ae_titles": ["CT1"]}, ""),
        ({"calling_ae_titles": ["US1"]}, "only.calling_ae_titles wants US1; this study has CT1"),
        ({"channels": ["radiology"]}, ""),
        ({"channels": ["dental"]}, "only.channels wants dental; this study has radiology"),
        ({"where": "every Modality in (CT, SR)"}, ""),
        ({"where": "CallingAETitle = CT1 and Channel = radiology"}, ""),
        ({"where": "NumberOfInstances = 2 and NumberOfSeries = 2"}, ""),
        ({"where": "PatientID = P2"}, "only.where does not hold: PatientID = P2"),
        ({"modalities": ["CT"], "where": "PatientID = P2"}, "only.where does not hold"),
    ],
)
def test_what_a_destination_gets(only: dict[str, Any], reason: str) -> None:
    """All that ``only`` says has to hold; the first that does not is the reason."""
    reasons = _left_out(_study(), pacs=_pacs(only=only))
    assert reasons.get("pacs", "").startswith(reason)
    assert bool(reasons) is bool(reason)


def test_no_patient_data_in_a_reason() -> None:
    """A reason quotes the configuration, never a value of the patient."""
    reasons = _left_out(_study(), pacs=_pacs(only={"where": "not has PatientID"}))
    assert "P1" not in reasons["pacs"]


def test_what_comes_after_is_left_out_too() -> None:
    """A study that the PACS does not get is not published by what speaks of the PACS."""
    reasons = _left_out(
        _study(),
        portal=_ehr(after=["ehr"]),
        ehr=_ehr(after=["pacs"]),
        pacs=_pacs(only={"modalities": ["MR"]}),
        other=_ehr(),
    )
    assert set(reasons) == {"pacs", "ehr", "portal"}
    assert reasons["ehr"] == "pacs, which it comes after, does not get this study"


def test_values_are_those_of_all_levels() -> None:
    """An attribute has the values of study, series and instances, each once."""
    study = _study(header(1, SeriesDescription="a"), header(2, SeriesDescription="b"))
    assert attribute(study, (), "Modality") == ["CT"]
    assert set(attribute(study, (), "SeriesDescription")) == {"a", "b"}
    assert attribute(study, (), "InstanceNumber") == ["1", "2"]


def test_a_condition_on_what_is_not_staged() -> None:
    """An attribute that never has a value is a mistake, told before any study comes."""
    require_staged({"pacs": _pacs(only={"where": "Channel = a and PatientID = b"})}, {"PatientID"})
    with pytest.raises(ConfigurationError, match="KVP is not staged") as caught:
        require_staged({"pacs": _pacs(only={"where": "KVP > 100"})}, {"PatientID"})
    assert caught.value.key == "destinations.pacs.only.where"
