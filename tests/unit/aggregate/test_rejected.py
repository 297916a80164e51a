"""Images that a rejection note takes out say nothing of the study any more (IHE RAD, IOCM)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson
import pytest

from intu_fhir.aggregate.conflicts import PATIENT_CONFLICT, find_conflicts
from intu_fhir.aggregate.merge import merge_headers
from intu_fhir.build.imaging_study import build_imaging_study
from intu_fhir.mappings import acquisition_modalities, load_mapping, staged_attributes
from intu_fhir.model.grouping import StagedHeader, group_study
from intu_fhir.model.settling import SeriesHeaders, StudyHeaders
from intu_fhir.model.study import Instance
from tests.support.building import BERLIN, KO, STUDY_UID, code_item, header

WRONG: dict[str, Any] = {"PatientID": "P9", "AccessionNumber": "A9", "StudyDescription": "Knee"}
RIGHT: dict[str, Any] = {"PatientID": "P1", "AccessionNumber": "A1", "StudyDescription": "Chest"}


def _note(*rejected: dict[str, Any], title: str = "113038", **values: Any) -> dict[str, Any]:
    references = [{"ReferencedSOPInstanceUID": one["uid"]} for one in rejected]
    series = [{"ReferencedSOPSequence": references}]
    return header(
        1,
        series=9,
        Modality="KO",
        sop_class=KO,
        ConceptNameCodeSequence=[code_item(title, "DCM")],
        CurrentRequestedProcedureEvidenceSequence=[{"ReferencedSeriesSequence": series}],
        **values,
    )


def _staged(headers: Sequence[dict[str, Any]]) -> dict[str, SeriesHeaders]:
    levels = staged_attributes()
    by_series: dict[str, list[StagedHeader]] = {}
    for one in headers:
        values = {key: value for key, value in one.items() if key in levels}
        own = {key: value for key, value in values.items() if levels[key] == "instance"}
        shared = {key: value for key, value in values.items() if key not in own}
        member = StagedHeader(
            Instance(one["uid"], one["sop_class"], values=own),
            shared,
            orjson.dumps(shared),
            one["Modality"],
            one["SeriesNumber"],
            one["InstanceNumber"],
        )
        by_series.setdefault(one["series_uid"], []).append(member)
    return group_study(by_series, acquisition_modalities())


def _built(*headers: dict[str, Any]) -> dict[str, Any]:
    study = merge_headers(STUDY_UID, _staged(headers))
    return build_imaging_study(study, load_mapping(), "r4", BERLIN).resource


@pytest.mark.parametrize("series", [1, 2])
def test_rejected_images_say_nothing_of_the_others(series: int) -> None:
    """Patient, order and description are those of what is left, however few it is."""
    wrong = [header(n, StudyTime="080000", **WRONG) for n in (1, 2, 3)]
    made = _built(*wrong, header(4, series=series, **RIGHT), _note(*wrong, **WRONG))
    assert made["subject"]["identifier"]["value"] == "P1"
    assert [one["value"] for one in made["identifier"][1:]] == ["A1"]
    assert [one["identifier"]["value"] for one in made["basedOn"]] == ["A1"]
    assert made["description"] == "Chest"
    assert made["started"] == "2024-03-01T10:15:30+01:00"
    assert (made["numberOfSeries"], made["numberOfInstances"]) == (1, 1)


def test_what_is_rejected_is_no_conflict() -> None:
    """A wrong patient whose images are rejected holds the study no longer; another one does."""
    wrong, right = header(1, **WRONG), header(2, **RIGHT)
    for note, reasons in (
        (_note(wrong, **WRONG), []),
        (_note(header(7), **WRONG), [PATIENT_CONFLICT]),
        (_note(wrong, right, **WRONG), [PATIENT_CONFLICT]),
    ):
        study = StudyHeaders(STUDY_UID, 1, _staged([wrong, right, note]))
        assert [hold.reason for hold in find_conflicts(study)] == reasons


def test_another_conflict_than_the_released_one_has_other_words() -> None:
    """A person released two patients; one is rejected and a third comes: that is a new hold."""
    first, second = header(1, **RIGHT), header(2, **WRONG)
    third = header(3, **{**WRONG, "PatientID": "P7"})
    before, after = (
        find_conflicts(StudyHeaders(STUDY_UID, 1, _staged(headers)))
        for headers in ([first, second], [first, second, third, _note(second, **WRONG)])
    )
    assert len(before) == len(after) == 1
    assert before[0].detail != after[0].detail


def test_a_study_that_is_all_rejected_keeps_what_it_says() -> None:
    """The record of a study without images still says whose it was."""
    images = [header(n, **RIGHT) for n in (1, 2)]
    made = _built(*images, _note(*images, **RIGHT))
    assert made["subject"]["identifier"]["value"] == "P1"
    assert (made["status"], made["description"]) == ("entered-in-error", "Chest")


def test_images_deleted_in_due_time_still_speak() -> None:
    """Of images whose record stays, only the note itself has no say."""
    images = [header(n, **RIGHT) for n in (1, 2)]
    made = _built(*images, _note(*images, title="113039", **WRONG))
    assert made["subject"]["identifier"]["value"] == "P1"
    assert made["numberOfInstances"] == 2
