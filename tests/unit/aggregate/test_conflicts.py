"""Contradictions inside a study."""

from __future__ import annotations

from intu_fhir.aggregate.conflicts import find_conflicts
from intu_fhir.model.settling import SeriesHeaders, StudyHeaders
from intu_fhir.model.study import HeaderGroup


def _study(*patient_ids: str, shared: tuple[tuple[str, str], ...] = ()) -> StudyHeaders:
    groups = tuple(
        HeaderGroup({"PatientID": patient_id}, 1, (1, n, f"1.{n}"))
        for n, patient_id in enumerate(patient_ids)
    )
    series = {"1.2.3.1": SeriesHeaders(groups, ())}
    return StudyHeaders("1.2.3", 1, series, shared_series=shared)


def test_two_patient_ids_hold_a_study() -> None:
    """Two patients in one study are a conflict, and neither ID is told."""
    [hold] = find_conflicts(_study("SECRET1", "SECRET2"))
    assert hold.reason == "patient_conflict"
    assert "SECRET" not in hold.detail


def test_edge_spaces_and_missing_ids_are_no_second_patient() -> None:
    """Padding and absent Patient IDs are no conflict; leading zeros are one (E06)."""
    assert find_conflicts(_study("P1", " P1 ", "")) == []
    assert len(find_conflicts(_study("12", "0012"))) == 1


def test_a_series_of_two_studies_holds() -> None:
    """A Series Instance UID that stands in another study too is named, and so is that study."""
    [hold] = find_conflicts(_study("P1", shared=(("1.2.3.1", "1.2.9"),)))
    assert hold.reason == "series_in_two_studies"
    assert hold.detail.startswith("series 1.2.3.1 stands in study 1.2.9 as well; find out")
