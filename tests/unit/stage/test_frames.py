"""Anatomy of enhanced multi-frame images, staged as that of any other image."""

from __future__ import annotations

import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from intu_fhir.app.library import build_imaging_study
from intu_fhir.mappings import Release
from intu_fhir.model.values import Values
from intu_fhir.stage.describe import describe
from intu_fhir.stage.tree import MAX_NODES
from tests.support.elements import EXPLICIT
from tests.support.studies import data_set_bytes, make_instance

CHEST, HEART, KNEE = ("43799004", "Chest"), ("80891009", "Heart"), ("72696002", "Knee")
Region = tuple[str, str]


def _anatomy(region: Region, side: str = "U") -> Dataset:
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = region[0], "SCT", region[1]
    anatomy = Dataset()
    anatomy.AnatomicRegionSequence, anatomy.FrameLaterality = Sequence([code]), side
    group = Dataset()
    group.FrameAnatomySequence = Sequence([anatomy])
    return group


def _image(
    shared: Dataset | None = None, frames: tuple[Dataset, ...] = (), **values: str | None
) -> Dataset:
    made = make_instance(BodyPartExamined=None, **values)
    made.SOPClassUID = "1.2.840.10008.5.1.4.1.1.2.1"
    if shared:
        made.SharedFunctionalGroupsSequence = Sequence([shared])
    if frames:
        made.PerFrameFunctionalGroupsSequence = Sequence(frames)
    return made


def _staged(dataset: Dataset) -> Values:
    levels = {"FrameAnatomySequence": "series"}
    return describe(data_set_bytes(dataset), EXPLICIT, levels).shared


def _regions(values: Values) -> list[str]:
    found = values.get("FrameAnatomySequence", [])
    assert isinstance(found, list)
    return [one["AnatomicRegionSequence"][0]["CodeMeaning"] for one in found]  # type: ignore[index,misc]


@pytest.mark.parametrize("release", ["r4", "r5"])
def test_anatomy_of_all_frames(release: Release) -> None:
    """What is said once for all frames is body site and side of the series."""
    built = build_imaging_study([_image(_anatomy(KNEE, "L"))], release)
    [series] = built.resource["series"]
    site, side = series["bodySite"], series["laterality"]
    if release == "r5":
        site, side = site["concept"]["coding"][0], side["coding"][0]
    assert (site["code"], side["code"]) == ("72696002", "7771000")


def test_the_most_frequent_anatomy_of_frames_counts() -> None:
    """Frames may differ; the region of most of them is staged first, each once."""
    frames = (_anatomy(HEART), _anatomy(CHEST), _anatomy(CHEST))
    assert _regions(_staged(_image(None, frames))) == ["Chest", "Heart"]
    built = build_imaging_study([_image(None, frames)])
    assert built.resource["series"][0]["bodySite"]["code"] == CHEST[0]
    assert "several_values" in {one.code for one in built.findings}


def test_an_image_of_its_own_region_keeps_it() -> None:
    """Anatomic Region Sequence of the top level comes before that of the frames."""
    image = _image(_anatomy(KNEE))
    image.AnatomicRegionSequence = _anatomy(CHEST).FrameAnatomySequence[0].AnatomicRegionSequence
    assert build_imaging_study([image]).resource["series"][0]["bodySite"]["code"] == CHEST[0]


def test_frames_without_anatomy_say_nothing() -> None:
    """Functional groups of something else make no attribute."""
    assert _staged(_image(Dataset(), (Dataset(),))) == {}
    assert _staged(make_instance()) == {}


def test_more_functional_groups_than_are_kept() -> None:
    """Of an image whose groups are too many to be staged, the anatomy is read all the same."""
    frames = []
    for number in range(3_000):
        group = _anatomy(CHEST if number else HEART)
        filler = Dataset()
        for element in range(20):
            filler.add_new(0x00209056 + element * 0x10000, "LO", "x")
        group.FrameContentSequence = Sequence([filler])
        frames.append(group)
    assert len(frames) * 25 > MAX_NODES
    described = describe(
        data_set_bytes(_image(None, tuple(frames))), EXPLICIT, {"FrameAnatomySequence": "series"}
    )
    assert _regions(described.shared) == ["Chest", "Heart"]
    assert "52009230" not in described.dicom_json
