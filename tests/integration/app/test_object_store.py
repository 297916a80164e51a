"""A whole site whose files are in an object store."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from click.testing import CliRunner

from intu_fhir.app.importing import import_paths
from intu_fhir.app.spooling import adopt_files
from intu_fhir.app.wiring import open_app
from intu_fhir.check import check
from intu_fhir.cli.main import cli
from intu_fhir.db.instances import store_instances
from intu_fhir.db.session import Database
from intu_fhir.db.tables import deliveries, instances, uploads
from intu_fhir.db.uploads import Upload, want_uploads
from intu_fhir.errors import ConfigurationError
from intu_fhir.observe.clock import SystemClock
from intu_fhir.settings.load import load_configuration
from intu_fhir.settings.schema import Configuration
from tests.support.object_stores import BUCKET, ObjectStoreServer, Running
from tests.support.running import Running as RunningSite
from tests.support.running import running_site
from tests.support.site_folder import write_site
from tests.support.staging import header, new_instance
from tests.support.store_proxy import StoreProxy
from tests.support.studies import make_instance, make_study, uid, write_file
from tests.support.waiting import wait_until


def keys(server: Running, folder: Path, **more: Any) -> dict[str, Any]:
    """Return the keys of a site that has its files there."""
    settings = server.settings(folder / "spool", **more)
    return {"files": f"s3://{BUCKET}/{uuid.uuid4().hex}", "object_store": settings}


def configured(folder: Path, database: str, **site: Any) -> Configuration:
    """Return a site that need not run."""
    return load_configuration(write_site(folder, database=database, port=4104, **site))


@pytest.mark.parametrize("answer", ["spooled", "uploaded"])
def test_a_study_goes_the_whole_way(
    migrated_database_url: str, object_store: ObjectStoreServer, tmp_path: Path, answer: str
) -> None:
    """Sealed and without copies, both far sides get every instance, and nothing stays here."""
    (tmp_path / "key").write_text("5" * 64)
    site = keys(
        object_store, tmp_path, cache_bytes=0, key_files=[str(tmp_path / "key")], answer=answer
    )
    datasets = list(make_study(instances=3))
    number = len(datasets)
    with running_site(tmp_path, migrated_database_url, **site) as running:
        assert {answer.status for answer in running.send(datasets)} == {"0000"}
        assert [row.state for row in running.rest()] == ["delivered"]
        wait_until(lambda: not running.rows(uploads), what="an empty ledger")
        spool = tmp_path / "spool"
        wait_until(lambda: not list(spool.rglob("*.dcm")), what="an empty spool")
        assert len(running.pacs.instances) == number
        [study] = running.imaging_studies()
        assert study["numberOfInstances"] == number


def _at_pacs(running: RunningSite) -> Any:
    [row] = [row for row in running.rows(deliveries) if row.destination == "pacs"]
    return row


def test_a_spoiled_object_goes_to_no_pacs(
    migrated_database_url: str, object_store: ObjectStoreServer, tmp_path: Path
) -> None:
    """What comes out of the bucket with another byte is a dead letter that says so."""
    proxy = StoreProxy(object_store)
    proxy.spoils = True
    site = keys(proxy, tmp_path, cache_bytes=0, answer="uploaded", verify="head")
    with running_site(tmp_path, migrated_database_url, **site) as running:
        assert {answer.status for answer in running.send([make_instance()])} == {"0000"}
        wait_until(lambda: running.rows(deliveries) != [], what="a study that was built")
        wait_until(lambda: _at_pacs(running).state == "dead", what="a dead letter")
        assert "not what was received" in _at_pacs(running).last_error
        assert not running.pacs.instances
    proxy.close()


def test_an_import_ends_in_the_bucket(
    migrated_database_url: str, object_store: ObjectStoreServer, tmp_path: Path
) -> None:
    """What comes by the batch door is uploaded when the import ends."""
    folder = tmp_path / "media"
    folder.mkdir()
    write_file(make_instance(), folder / "one.dcm")
    configuration = configured(tmp_path, migrated_database_url, **keys(object_store, tmp_path))
    app = open_app(configuration)
    import_paths(app, [folder])
    assert not list((tmp_path / "spool" / "instances").rglob("*.dcm"))
    with app.database.read() as connection:
        assert connection.execute(sa.select(uploads)).all() == []
        [row] = connection.execute(sa.select(instances)).all()
    prefix = str(configuration.site.files).removeprefix(f"s3://{BUCKET}/")
    assert f"{prefix}/{row.file}" in object_store.objects()
    app.close()


def test_a_local_store_goes_over(
    migrated_database_url: str, object_store: ObjectStoreServer, tmp_path: Path
) -> None:
    """A site with a folder adopts it as its spool; every file is uploaded and stays readable."""
    media = tmp_path / "media"
    media.mkdir()
    for name in ("one", "two"):
        write_file(make_instance(SOPInstanceUID=uid(name)), media / f"{name}.dcm")
    before = open_app(configured(tmp_path, migrated_database_url))
    import_paths(before, [media])
    before.close()
    section = object_store.settings(tmp_path / "files", cache_bytes=0)
    site = {"files": f"s3://{BUCKET}/{uuid.uuid4().hex}", "object_store": section}
    configuration = configured(tmp_path, migrated_database_url, **site)
    with pytest.raises(ConfigurationError, match="uploads adopt"):
        open_app(configuration).files  # noqa: B018
    run = CliRunner()
    for _ in range(2):
        adopted = run.invoke(cli, ["uploads", "adopt", "--config", str(tmp_path)])
        assert "2 files" in adopted.output, adopted.output
    listed = run.invoke(cli, ["uploads", "list", "--config", str(tmp_path)])
    assert "FAILING" in listed.output
    done = run.invoke(cli, ["uploads", "run", "--config", str(tmp_path)])
    assert "2 uploaded" in done.output
    assert not list((tmp_path / "files" / "instances").rglob("*.dcm"))
    app = open_app(configuration)
    with app.database.read() as connection:
        files = connection.execute(sa.select(instances.c.file)).scalars().all()
    for file in files:
        with app.files.open(file) as stored:
            assert stored.read(132)[128:] == b"DICM"
    app.close()


def test_check_asks_the_bucket(
    migrated_database_url: str, object_store: ObjectStoreServer, tmp_path: Path
) -> None:
    """`check` writes to the bucket and says what to do where that fails."""
    good = configured(tmp_path, migrated_database_url, **keys(object_store, tmp_path))
    rows = {row.subject: row for row in check(good, SystemClock())}
    assert rows[str(good.site.files)].ok
    bad = configured(
        tmp_path,
        migrated_database_url,
        **{**keys(object_store, tmp_path), "files": "s3://no-such-bucket/x"},
    )
    row = {row.subject: row for row in check(bad, SystemClock())}["s3://no-such-bucket/x"]
    assert not row.ok
    assert "bucket" in row.remedy


def test_adopting_needs_the_folder(database: Database, tmp_path: Path) -> None:
    """A folder that is not there is a mistake in the settings, not an empty store."""
    with pytest.raises(ConfigurationError, match="name the folder"):
        adopt_files(database, tmp_path / "nowhere", SystemClock().now())


def test_a_lost_spool_is_given_up_by_a_command(
    migrated_database_url: str, object_store: ObjectStoreServer, tmp_path: Path
) -> None:
    """Its images count as damaged and its ledger is empty; that of another spool is as it was."""
    site = keys(object_store, tmp_path, cache_bytes=0)
    configuration = configured(tmp_path, migrated_database_url, **site)
    app = open_app(configuration)
    app.rows.start()
    with app.database.write() as connection:
        staged = new_instance(app.clock.now(), header())
        store_instances(connection, [staged], receiver="gone", spool="gone-1")
        aside = Upload("quarantine/2024/01/01/0000/x.dcm", 0, "0" * 64)
        want_uploads(connection, "gone-1", [aside], app.clock.now())
        kept = Upload("instances/2024/01/01/0000/y.dcm", 0, "0" * 64)
        want_uploads(connection, "other-2", [kept], app.clock.now())
    runner, config = CliRunner(), ["--config", str(tmp_path)]
    own = runner.invoke(cli, ["uploads", "lost", app.files.here, "--yes", *config])
    assert (own.exit_code, "uploads run" in own.output) == (2, True)
    unknown = runner.invoke(cli, ["uploads", "lost", "nobody-3", "--yes", *config])
    assert (unknown.exit_code, "uploads list" in unknown.output) == (2, True)
    refused = runner.invoke(cli, ["uploads", "lost", "gone-1", *config], input="n\n")
    assert (refused.exit_code, "2 files" in refused.output) == (1, True)
    done = runner.invoke(cli, ["uploads", "lost", "gone-1", "--yes", *config])
    assert (done.exit_code, done.output.split(";")[0]) == (0, "1 images are lost")
    with app.database.read() as connection:
        assert [row.spool for row in connection.execute(sa.select(uploads))] == ["other-2"]
        [row] = connection.execute(sa.select(instances)).all()
    assert (row.file, row.damaged_at is None) == (staged.file, False)
    app.rows.stop()
    app.close()
