"""Headers that disagree become one study by rules that do not depend on their order."""

from __future__ import annotations

from typing import Any

import pytest

from intu_fhir.aggregate.merge import merge_headers
from intu_fhir.model.finding import Severity
from intu_fhir.model.values import text
from tests.support.building import STUDY_UID, header, merged, staged


def _conflicts(*headers: dict[str, Any]) -> set[tuple[str, str]]:
    return {
        (finding.level, finding.attribute)
        for finding in merged(*headers).findings
        if finding.code == "attribute_conflict"
    }


def test_the_most_frequent_value_counts() -> None:
    """Of differing values the more frequent one is taken, and the difference is noted."""
    headers = [header(n, StudyDescription="A" if n < 2 else "B") for n in (1, 2, 3)]
    assert merged(*headers).values["StudyDescription"] == "B"
    assert _conflicts(*headers) == {("study", "StudyDescription")}


def test_padding_is_no_difference() -> None:
    """Values that differ in padding are the same."""
    headers = [header(1, StudyDescription="A "), header(2, StudyDescription="A")]
    assert text(merged(*headers).values, "StudyDescription") == "A"
    assert _conflicts(*headers) == set()


def test_empty_values_do_not_count() -> None:
    """One value beside many empty ones is taken."""
    headers = [header(n, StudyDescription="A" if n == 3 else "  ") for n in (1, 2, 3)]
    assert merged(*headers).values["StudyDescription"] == "A"


def test_acquired_objects_come_first() -> None:
    """Many reports do not outweigh one image."""
    image = header(1, StudyDescription="Image")
    reports = [header(n, series=2, Modality="SR", StudyDescription="Report") for n in range(1, 9)]
    assert merged(image, *reports).values["StudyDescription"] == "Image"
    assert merged(*reports).values["StudyDescription"] == "Report"


def test_ties_go_to_the_lowest_series_and_instance() -> None:
    """Of equally frequent values that of the lowest series and instance number is taken."""
    headers = [header(1, series=2, StudyDescription="A"), header(1, series=1, StudyDescription="B")]
    assert merged(*headers).values["StudyDescription"] == "B"
    headers = [header(2, StudyDescription="A"), header(1, StudyDescription="B")]
    assert merged(*headers).values["StudyDescription"] == "B"


def test_ties_of_dates_go_to_the_earliest() -> None:
    """Of equally frequent dates and times the earliest is taken."""
    headers = [header(1, StudyTime="120000"), header(2, StudyTime="110000")]
    assert merged(*headers).values["StudyTime"] == "110000"
    headers = [header(1, StudyDate="20240302"), header(2, StudyDate="20240301")]
    assert merged(*headers).values["StudyDate"] == "20240301"


@pytest.mark.parametrize("zone", ["+0100", "-0500"])
def test_a_date_without_time_is_no_earlier_one(zone: str) -> None:
    """Of equally many headers the one that has a time counts, whatever their zones."""
    values = merged(
        header(1, StudyTime=None, TimezoneOffsetFromUTC="+0100"),
        header(2, StudyTime="101530", TimezoneOffsetFromUTC=zone),
    ).values
    assert (values["StudyTime"], values["TimezoneOffsetFromUTC"]) == ("101530", zone)


def test_date_time_and_zone_are_of_one_header() -> None:
    """The date of one header never meets the time or zone of another."""
    headers = [
        header(1, StudyDate="20240301", StudyTime="1000", TimezoneOffsetFromUTC="+0100"),
        header(2, StudyDate="20240302", StudyTime="2300", TimezoneOffsetFromUTC="-0500"),
        header(3, StudyDate="20240302", StudyTime=None, TimezoneOffsetFromUTC=None),
    ]
    values = merged(*headers).values
    chosen = [values.get(k) for k in ("StudyDate", "StudyTime", "TimezoneOffsetFromUTC")]
    assert chosen == ["20240302", "2300", "-0500"]


def test_series_choose_their_own_zone() -> None:
    """The zone of a series is that of its own date."""
    study = merged(
        header(1, series=1, SeriesDate="20240301", TimezoneOffsetFromUTC="+0100"),
        header(1, series=2, SeriesDate="20240301", TimezoneOffsetFromUTC="+0200"),
    )
    assert [one.values["TimezoneOffsetFromUTC"] for one in study.series] == ["+0100", "+0200"]


def test_zone_without_a_date_of_its_own() -> None:
    """A zone is kept where there is no date beside it: times of images need it."""
    values = merged(header(StudyDate=None, TimezoneOffsetFromUTC="+0100")).series[0].values
    assert values["TimezoneOffsetFromUTC"] == "+0100"


def test_issuer_belongs_to_its_id() -> None:
    """The issuer is one that stands beside the chosen Patient ID."""
    headers = [
        header(1, PatientID="A", IssuerOfPatientID="X"),
        header(2, PatientID="A", IssuerOfPatientID=None),
        header(3, PatientID="A", IssuerOfPatientID=None),
        header(4, PatientID="B", IssuerOfPatientID="Y"),
        header(5, PatientID="B", IssuerOfPatientID="Y"),
    ]
    values = merged(*headers).values
    assert (values["PatientID"], values["IssuerOfPatientID"]) == ("A", "X")


def test_readable_values_come_before_damaged_ones() -> None:
    """A value that could not be decoded is taken only where there is no other."""
    damaged = "a\N{REPLACEMENT CHARACTER}"
    headers = [header(n, StudyDescription=damaged if n < 3 else "A") for n in (1, 2, 3)]
    assert merged(*headers).values["StudyDescription"] == "A"
    assert merged(headers[0]).values["StudyDescription"] == damaged


def test_several_persons_are_no_conflict() -> None:
    """Where each distinct value counts, differing ones are not noted."""
    headers = [header(1, OperatorsName="A"), header(2, OperatorsName="B")]
    assert _conflicts(*headers) == set()


def test_series_values_stay_in_their_series() -> None:
    """Attributes of series are not mixed between series and are none of the study."""
    study = merged(header(1, SeriesDescription="A"), header(1, series=2, SeriesDescription="B"))
    assert [one.values["SeriesDescription"] for one in study.series] == ["A", "B"]
    assert "SeriesDescription" not in study.values
    assert study.findings == ()


def test_order_of_series_and_instances() -> None:
    """Both are ordered by number, those without one at the end, then by UID."""
    study = merged(
        header(1, series=10),
        header(1, series=2),
        header(10, series=3, SeriesNumber=None),
        header(2, series=3, SeriesNumber=None),
        header(1, series=3, SeriesNumber=None, InstanceNumber="x"),
    )
    assert [one.uid.rsplit(".", 1)[1] for one in study.series] == ["2", "10", "3"]
    assert [one.uid.rsplit(".", 1)[1] for one in study.series[2].instances] == ["2", "10", "1"]


def test_an_instance_in_two_series_stands_in_one() -> None:
    """The same UID in two series is kept once and is an error."""
    study = merged(header(1, uid="1.2.3"), header(1, series=2, uid="1.2.3"))
    assert study.number_of_instances == 1
    (finding,) = [one for one in study.findings if one.code == "instance_in_two_series"]
    assert finding.severity is Severity.ERROR


def test_instances_without_header_are_counted() -> None:
    """A series whose headers could not be read keeps its instances."""
    study = merged({"uid": "1.2.3", "series_uid": "1.2", "sop_class": "1.2.840.1"})
    assert study.number_of_instances == 1


def test_no_series_at_all() -> None:
    """A study without anything staged is an empty one."""
    assert merge_headers(STUDY_UID, {}, (), 3).generation == 3


@pytest.mark.parametrize("odd", ["\ud800", "a\\b", "\0"])
def test_odd_characters_merge(odd: str) -> None:
    """No character of a value makes merging fail."""
    headers = staged([header(1, StudyDescription=odd), header(2, StudyDescription="A")])
    assert merge_headers(STUDY_UID, headers, (), 1).values["StudyDescription"]
