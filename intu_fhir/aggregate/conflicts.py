"""Contradictions inside a study that a person has to look at before it is published."""

from __future__ import annotations

from collections.abc import Iterable

from intu_fhir.model.settling import StudyHeaders, StudyHold
from intu_fhir.model.study import HeaderGroup, in_use
from intu_fhir.model.values import text

PATIENT_CONFLICT = "patient_conflict"
SERIES_IN_TWO_STUDIES = "series_in_two_studies"


def find_conflicts(study: StudyHeaders) -> list[StudyHold]:
    """Return why a study must not be published as it is; the same input gives the same list.

    The details name UIDs and counts, never a patient.
    """
    found = [_patients(study), _shared_series(study)]
    return [hold for hold in found if hold is not None]


def _patients(study: StudyHeaders) -> StudyHold | None:
    """Two patients in one study are never merged; a missing Patient ID is no second patient.

    One whose images are all rejected is corrected already.
    """
    groups = [group for series in study.series.values() for group in series.groups]
    patients, all_patients = _ids(in_use(groups)), _ids(groups)
    if len(patients) < 2:
        return None
    # Said of all of them: what a person released is told from other contradictions by its words.
    rejected = len(all_patients) - len(patients)
    beside = f", {rejected} of them in rejected images alone" if rejected else ""
    return StudyHold(
        PATIENT_CONFLICT,
        f"{len(all_patients)} different Patient IDs in study {study.study_instance_uid}{beside}; "
        "correct the wrong ones at their source, or release the hold to publish all the same",
    )


def _ids(groups: Iterable[HeaderGroup]) -> set[str]:
    return {text(group.values, "PatientID") for group in groups} - {""}


def _shared_series(study: StudyHeaders) -> StudyHold | None:
    if not study.shared_series:
        return None
    pairs = sorted(study.shared_series)
    named = [f"series {series} stands in study {other} as well" for series, other in pairs[:3]]
    more = f", and {len(pairs) - 3} more" if len(pairs) > 3 else ""
    series = sorted({series for series, _ in pairs})
    remedy = "find out which study it belongs to, then release the hold"
    return StudyHold(
        SERIES_IN_TWO_STUDIES,
        f"{', '.join(named)}{more}; {remedy}",
        f"series {', '.join(series[:3])} stands in another study as well; {remedy}",
    )
