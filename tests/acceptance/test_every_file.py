"""Every real file at hand, through the network and through the batch door."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from pydicom.uid import ImplicitVRLittleEndian

from intu_fhir.app.importing import import_paths
from intu_fhir.app.serving import Site
from intu_fhir.app.wiring import App, open_app
from intu_fhir.db.reports import StudyFilter, list_studies
from intu_fhir.db.tables import associations, headers, instances, quarantine, resources
from intu_fhir.db.tables import studies as studies_table
from intu_fhir.deliver.dicom import NO_CONTEXT, ObjectToSend, StorageScu
from intu_fhir.files.part10 import part10_head
from intu_fhir.model.outcome import InstanceOutcome
from intu_fhir.settings.load import load_configuration
from intu_fhir.settings.schema import DicomDestination
from intu_fhir.stage.import_files import Result
from intu_fhir.stage.part10 import DataSetPlace, find_data_set
from tests.support.census import Census, CountedFile, take_census
from tests.support.data import INCOMPLETE, require_shared_data
from tests.support.ports import free_port
from tests.support.site_folder import write_site
from tests.support.studies import uid
from tests.support.validators import validate_independently
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


PRIVATE_SOP_CLASSES = [
    "1.3.46.670589.11.0.0.12.1",
    "1.3.46.670589.5.0.1.1",
    "2.25.152752519834663263826301420581341174218",
    "2.25.215425430857432966361489015284054781485",
]
"""SOP classes of some of the files that no standard knows: taken where they are configured."""

SOURCE = {
    "type": "dicom",
    "host": "127.0.0.1",
    "ae_title": "INTU_TEST",
    "private_sop_classes": PRIVATE_SOP_CLASSES,
}
TURNED_AWAY = frozenset({Result.REFUSED, Result.NOT_DICOM})


@pytest.fixture(scope="module")
def census() -> Census:
    """What pydicom alone finds in the folder of real files."""
    return take_census(require_shared_data() / "dicom")


@pytest.fixture
def site(tmp_path: Path, migrated_database_url: str) -> Iterator[Site]:
    """A running site that publishes both releases to nowhere yet."""
    port = free_port()
    # Nobody listens there: what is built is looked at, delivery is shown elsewhere.
    fhir = {"type": "fhir", "base_url": f"http://127.0.0.1:{free_port()}/fhir"}
    write_site(
        tmp_path,
        database=migrated_database_url,
        port=port,
        destinations={"r4": {**fhir, "release": "r4"}, "r5": {**fhir, "release": "r5"}},
        channel={"source": {**SOURCE, "port": port}},
    )
    running = Site(open_app(load_configuration(tmp_path)))
    running.start()
    yield running
    running.stop()


def test_every_file_goes_through_the_network(site: Site, census: Census, tmp_path: Path) -> None:
    """Each object sent is stored byte for byte, or refused or quarantined with a reason."""
    answers = _send(site, _objects(census.objects, tmp_path))
    assert len(answers) == len(census.objects)
    assert all(a.detail for a in answers if not a.delivered), "a refusal names its reason"
    # What no presentation context was given for never left the sender.
    sent = [answer for answer in answers if answer.status != NO_CONTEXT]
    _check_staging(site.app, census, len(sent))
    _check_resources(site.app, census)


def test_every_file_goes_through_the_batch_door(site: Site, census: Census) -> None:
    """Importing the folder counts out what went in, twice, and stages the same studies."""
    folder = require_shared_data() / "dicom"
    first = import_paths(site.app, [folder])
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert first.total - first.counts[Result.MISSING] == len(files)
    turned_away = {Path(p.name).name for p in first.problems if p.result in TURNED_AWAY}
    directories = {path.name for path in census.directories}
    assert turned_away - directories == _bad(census)
    assert all(problem.reason for problem in first.problems)
    _check_staging(site.app, census, None)
    second = import_paths(site.app, [folder])
    assert second.total == first.total
    assert second.counts[Result.STORED] == 0
    _check_resources(site.app, census)


def _bad(census: Census) -> set[str]:
    """Name the files that cannot be staged: without an identity, or cut short."""
    return {
        counted.path.name
        for counted in census.objects
        if counted.identity is None or counted.path.name in INCOMPLETE
    }


def _objects(counted: Sequence[CountedFile], folder: Path) -> list[ObjectToSend]:
    """Write each object below a head that says what its command will."""
    return [_object(one, folder / f"{number:04}") for number, one in enumerate(counted)]


def _object(counted: CountedFile, place: Path) -> ObjectToSend:
    content = counted.path.read_bytes()
    # Some bare data sets look like nothing until somebody says that they are one.
    found = find_data_set(content[:65_536]) or DataSetPlace(0, ImplicitVRLittleEndian)
    _, _, instance, sop_class = counted.identity or (
        "",
        "",
        uid(counted.path.name),
        found.sop_class_uid or "1.2.840.10008.5.1.4.1.1.7",
    )
    head = part10_head(sop_class, instance, found.transfer_syntax_uid)
    path = place.with_name(f"{place.name}-{counted.path.name}")
    path.write_bytes(head + content[found.offset :])
    return ObjectToSend(sop_class, instance, found.transfer_syntax_uid, path, len(head))


def _send(site: Site, objects: list[ObjectToSend]) -> list[InstanceOutcome]:
    answers: list[InstanceOutcome] = []
    destination = DicomDestination(
        type="dicom",
        host="127.0.0.1",
        port=site.listeners[0].port,
        ae_title="TESTER",
        called_ae_title="INTU_TEST",
    )
    StorageScu(destination).send(objects, answers.append, keep_going=lambda: True)
    return answers


def _rows(app: App, statement: sa.Select[Any]) -> list[Any]:
    with app.database.read() as connection:
        return list(connection.execute(statement).all())


def _check_staging(app: App, census: Census, sent: int | None) -> None:
    """Every whole object with an identity is in staging or quarantine, byte for byte; no other."""
    kept = set(_rows_of(app, sa.select(instances.c.sha256)))
    kept |= set(_rows_of(app, sa.select(quarantine.c.sha256)))
    turned_away = {
        one.path.name
        for one in census.objects
        if kept.isdisjoint({one.body_sha256, one.padded_sha256})
    }
    assert turned_away == _bad(census)
    if sent is not None:
        [ended] = wait_until(
            lambda: _rows(app, sa.select(associations).where(associations.c.ended_at.is_not(None)))
        )
        counts = ended.stored + ended.already_stored + ended.quarantined + ended.refused
        assert counts == sent


def _rows_of(app: App, statement: sa.Select[Any]) -> list[str]:
    return [row[0] for row in _rows(app, statement)]


def _check_resources(app: App, census: Census) -> None:
    """Every study is built, valid in R4 and R5, with the counts that pydicom alone counts."""
    wait_until(lambda: _all_built(app), 120, "every study built")
    undescribed = sa.select(instances.c.file).where(instances.c.described_at.is_(None))
    assert _rows(app, undescribed) == []
    assert len(_rows(app, sa.select(headers.c.instance_key))) == len(
        _rows(app, sa.select(instances.c.instance_key))
    )
    expected = census.studies(INCOMPLETE)
    for row in _rows(app, _NEWEST):
        wrong = {one["code"] for one in row.findings if one["severity"] == "error"}
        # A study of nobody, or of an animal, is held for a person; all else about it is right.
        assert wrong <= {"subject_unknown", "subject_is_animal"}, (
            row.study_instance_uid,
            row.release,
            wrong,
        )
        assert (row.state == "invalid") == bool(wrong)
        series = row.resource["series"]
        counted = {one["uid"]: {i["uid"] for i in one["instance"]} for one in series}
        assert counted == expected[row.study_instance_uid]
        assert row.resource["numberOfSeries"] == len(counted)
        assert row.resource["numberOfInstances"] == sum(map(len, counted.values()))
    for release, definitions in (("r4", "r4"), ("r4", "r4b"), ("r5", "r5")):
        built = [row.resource for row in _rows(app, _NEWEST) if row.release == release]
        assert len(built) == len(expected)
        problems = validate_independently(built, definitions)
        assert problems == [], problems[:3]


_NEWEST = (
    sa.select(
        studies_table.c.study_instance_uid,
        resources.c.release,
        resources.c.state,
        resources.c.findings,
        resources.c.resource,
    )
    .join(studies_table, studies_table.c.study_key == resources.c.study_key)
    .where(resources.c.generation == studies_table.c.generation)
)


def _all_built(app: App) -> bool:
    with app.database.read() as connection:
        rows = list_studies(connection, StudyFilter(limit=10_000))
    return bool(rows) and not any(row.state in {"receiving", "settled", "building"} for row in rows)
