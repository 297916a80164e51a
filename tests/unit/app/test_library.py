"""The product as a library."""

from __future__ import annotations

from pathlib import Path

import pytest

import intu_fhir
from intu_fhir.errors import InvalidDataSet
from intu_fhir.model.finding import errors
from tests.support.ports import free_port
from tests.support.site_folder import write_site
from tests.support.studies import make_study, uid, write_study


def test_a_study_is_built_from_files_alone(tmp_path: Path) -> None:
    """Files of one study become a valid ImagingStudy without a server or a database."""
    built = intu_fhir.build_imaging_study(write_study(tmp_path))
    assert errors(built.findings) == []
    assert built.resource["numberOfInstances"] == 6
    assert built.resource["identifier"][0]["value"] == f"urn:oid:{uid('study')}"


def test_files_and_data_sets_give_the_same(tmp_path: Path) -> None:
    """Data sets in memory are built as their files are, in either release."""
    files = write_study(tmp_path)
    for release in ("r4", "r5"):
        from_files = intu_fhir.build_imaging_study(files, release).resource
        assert from_files == intu_fhir.build_imaging_study(make_study(), release).resource


def test_what_a_mapping_adds_is_read(tmp_path: Path) -> None:
    """Attributes that the given mapping wants staged are read from the files, as a site does."""
    (tmp_path / "own.yaml").write_text(
        "extends: shipped\nattributes: {series: [KVP]}\nseries:\n"
        "  description: {converter: text, from: KVP}\n"
    )
    built = intu_fhir.build_imaging_study(make_study(KVP="120"), mapping=tmp_path / "own.yaml")
    assert {one["description"] for one in built.resource["series"]} == {"120"}


def test_two_studies_are_not_one(tmp_path: Path) -> None:
    """Instances of two studies are refused, not mixed."""
    mixed = [*make_study("one"), *make_study("two")]
    with pytest.raises(InvalidDataSet, match="2 studies"):
        intu_fhir.build_imaging_study(mixed)


def test_a_site_runs_inside_a_program(tmp_path: Path, migrated_database_url: str) -> None:
    """A site runs in a block, and its staging database can be asked but not changed."""
    write_site(tmp_path, database=migrated_database_url, port=free_port())
    with intu_fhir.running_site(tmp_path) as site:
        assert site.listeners[0].port > 0
    with intu_fhir.query_staging(migrated_database_url, "SELECT count(*) FROM studies") as result:
        assert [tuple(row) for row in result.rows] == [(0,)]
