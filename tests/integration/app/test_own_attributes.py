"""Attributes that a site's own mapping wants staged belong to the level that it names."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydicom import Dataset

from intu_fhir.app.reading import read_studies
from intu_fhir.mappings import attributes_of, load_mapping
from tests.support.running import running_site
from tests.support.studies import make_instance, uid
from tests.support.waiting import wait_until

URL = "https://hospital.example.org/fhir/kvp"
MAPPING = f"""
extends: shipped
attributes:
  series: [KVP, "0009xx02:MAKER 1.0"]
series:
  extension:
    - {{converter: extension, url: "{URL}", from: KVP}}
"""


def _images() -> Iterator[Dataset]:
    """Give a series whose images say their voltage, and one of a report that has none."""
    for number in (1, 2):
        image = make_instance("study", 1, number, KVP="120")
        image.private_block(0x0009, "MAKER 1.0", create=True).add_new(0x02, "LO", "TUBE A")
        yield image
    yield make_instance("study", 2, 1, Modality="SEG")


def _by_series(resource: dict[str, Any]) -> dict[str, Any]:
    return {one["uid"]: one.get("extension") for one in resource["series"]}


def test_a_series_says_nothing_that_another_one_does(
    tmp_path: Path, migrated_database_url: str
) -> None:
    """What a site stages of a series is published with that series, with no other of its study."""
    with running_site(tmp_path, migrated_database_url) as running:
        running.use_mapping(MAPPING)
        running.send(_images())
        [made] = wait_until(running.imaging_studies)
    assert _by_series(made) == {
        uid("study", 1): [{"url": URL, "valueString": "120"}],
        uid("study", 2): None,
    }


def test_files_that_are_not_staged_say_the_same(tmp_path: Path) -> None:
    """Of files, attributes of a series stand with it alone, private ones too."""
    (tmp_path / "own.yaml").write_text(MAPPING)
    levels = attributes_of([load_mapping(tmp_path / "own.yaml")]).levels
    [study] = read_studies(_images(), levels)
    for key, value in {"KVP": "120", "0009xx02:MAKER 1.0": "TUBE A"}.items():
        assert key not in study.values
        assert [one.values.get(key) for one in study.series] == [value, None]
