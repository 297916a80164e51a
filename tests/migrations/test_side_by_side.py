"""This version on a database that the next one has upgraded: it starts, stages and works."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.config import Config

from intu_fhir.app.wiring import open_app
from intu_fhir.app.working import Working
from intu_fhir.cli.main import run
from intu_fhir.db import migrate
from intu_fhir.db.tables import instances
from intu_fhir.errors import ConfigurationError
from intu_fhir.settings.load import load_configuration
from tests.support.databases import sqlite_url
from tests.support.worked_site import worked_site

_NEXT = """
import sqlalchemy as sa
from alembic import op
from intu_fhir.db import online

revision, down_revision = "{revision}", "{before}"


def upgrade():
    {what}
"""
_GROWS = """op.add_column(
        "instances", sa.Column("more", sa.Text(), nullable=False, server_default="")
    )"""
_INDEXES = 'online.create_index("ix_instances_more", "instances", ["more"])'
_TAKES_AWAY = 'op.drop_column("instances", "more"); online.runs_from("9002")'


class NextVersion:
    """A version of the program that has more migrations than this one."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        folder.mkdir()
        self._folder, self._monkeypatch = folder, monkeypatch
        self._newest = migrate.head()

    def upgrade(self, url: str, *migrations: tuple[str, str]) -> None:
        """Add migrations and upgrade a database by them."""
        for revision, what in migrations:
            text = _NEXT.format(revision=revision, before=self._newest, what=what)
            (self._folder / f"{revision}_next.py").write_text(text)
            self._newest = revision
        ours = migrate._config
        with self._monkeypatch.context() as next_version:
            next_version.setattr(migrate, "_config", lambda: self._also(ours()))
            migrate.upgrade(url)
            assert migrate.current(url) == self._newest == migrate.head()

    def _also(self, config: Config) -> Config:
        places = [f"{config.get_main_option('script_location')}/versions", str(self._folder)]
        config.set_main_option("path_separator", "newline")
        config.set_main_option("version_locations", "\n".join(places))
        return config


@pytest.fixture
def newer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> NextVersion:
    """The migrations of versions to come."""
    return NextVersion(tmp_path / "newer", monkeypatch)


def test_programs_of_before_begin_on_a_schema_that_grew(
    newer: NextVersion, migrated_database_url: str, tmp_path: Path
) -> None:
    """A process that starts after the upgrade stages and describes as one from before it."""
    newer.upgrade(migrated_database_url, ("9001", _GROWS), ("9002", _INDEXES))
    folder = tmp_path / "site"
    with worked_site(folder, migrated_database_url) as site:
        site.stage(2)
        app = open_app(load_configuration(folder))
        assert Working(app).describer.describe_some() == 2
        with app.database.read() as connection:
            staged = sa.select(sa.func.count()).select_from(instances)
            assert connection.execute(staged).scalar_one() == 2
        app.close()


def test_programs_of_before_are_refused_once_something_is_gone(
    newer: NextVersion, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Commands go on after the upgrade that adds, and say clearly why not after the next one."""
    url = sqlite_url(tmp_path / "staging.db")
    (tmp_path / "intu.yaml").write_text(f"database: {json.dumps(url)}\n")
    site = ["--config", str(tmp_path)]
    newer.upgrade(url, ("9001", _GROWS))
    assert run(["db", "current", *site]) == 0
    assert run(["studies", *site]) == 0
    assert run(["db", "upgrade", *site]) == 0
    newer.upgrade(url, ("9002", _TAKES_AWAY))
    assert run(["db", "current", *site]) == 1
    assert "install that version again" in capfd.readouterr().err
    with pytest.raises(ConfigurationError, match=r"9002.*newer"):
        open_app(load_configuration(tmp_path))
