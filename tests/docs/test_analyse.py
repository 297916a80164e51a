"""The tutorial for analysts runs as it stands: its exports, its pandas and its DuckDB."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import duckdb
import pandas
import pytest
import sqlalchemy as sa
from click.testing import CliRunner

from intu_fhir.cli.main import cli
from intu_fhir.db import tables as t
from intu_fhir.db.session import Database
from tests.docs.commands import calls
from tests.docs.pages import REPOSITORY, blocks, read
from tests.support.clock import START
from tests.support.ports import free_port
from tests.support.seeded import stage
from tests.support.site_folder import write_site

PAGE = read(REPOSITORY / "docs" / "tutorials" / "analyse.md")
EXPORTS = [call.arguments for call in calls(PAGE) if ".parquet" in call.arguments[-1]]
PYTHON = [block.text for block in blocks(PAGE, "python")]
QUERIES = [block.text for block in blocks(PAGE, "sql")]


@pytest.fixture
def exported(tmp_path: Path, database: Database, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in which the exports of the page were run, on a site with three studies."""
    states = {"ehr_fhir": "delivered", "pacs_archive": "retrying"}
    with database.write() as connection:
        for name, modality in (("one", "CT"), ("two", "MR"), ("three", "CT")):
            key = stage(connection, name, modality=modality, modalities=modality, deliveries=states)
            _settled(connection, key)
        connection.execute(sa.update(t.deliveries).values(attempts=3, last_status="503"))
    monkeypatch.setenv("INTU_CONFIG", str(tmp_path / "site"))
    write_site(tmp_path / "site", database=database.url, port=free_port())
    monkeypatch.chdir(tmp_path)
    for arguments in EXPORTS:
        if "-" not in arguments:
            done = CliRunner().invoke(cli, list(arguments))
            assert done.exit_code == 0, done.output
    return tmp_path


def _settled(connection: sa.Connection, key: int) -> None:
    """Let a study have settled, and its first delivery have gone well a minute later."""
    later = START + timedelta(minutes=1)
    there = sa.select(t.generations.c.study_key).where(t.generations.c.study_key == key)
    if connection.execute(there).first() is None:
        connection.execute(
            t.generations.insert().values(
                study_key=key, generation=1, revision=1, settled_at=START, evidence="quiet",
                number_of_series=1, number_of_instances=2,
            )
        )  # fmt: skip
    d = t.deliveries.c
    first = sa.select(sa.func.min(d.delivery_key)).where(d.study_key == key)
    connection.execute(
        t.attempts.insert().values(
            delivery_key=first.scalar_subquery(), generation=1, number=9, started_at=later,
            ended_at=later, outcome="delivered", status="201",
        )
    )  # fmt: skip


def test_the_tutorial_runs(exported: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each piece of Python prints something, and each query finds rows in the exported files."""
    assert len(list(exported.glob("*.parquet"))) == 3
    assert PYTHON
    assert QUERIES
    for code in PYTHON:
        exec(compile(code, "analyse.md", "exec"), {})
        assert capsys.readouterr().out
    with duckdb.connect() as connection:
        for query in QUERIES:
            assert connection.execute(query).fetchall(), query


def test_exported_values_keep_their_kind(exported: Path) -> None:
    """Counts come out of Parquet as numbers and times as times, for DuckDB and for pandas."""
    with duckdb.connect() as connection:
        rows = connection.execute("DESCRIBE SELECT * FROM 'turnaround.parquet'").fetchall()
        times = "SELECT epoch_us(settled_at) FROM 'turnaround.parquet'"
        settled = [row[0] for row in connection.execute(times).fetchall()]
    kinds = {row[0]: row[1] for row in rows}
    assert kinds["number_of_instances"] in {"BIGINT", "INTEGER"}
    assert kinds["settled_at"] == "TIMESTAMP WITH TIME ZONE"
    assert int(START.timestamp()) * 1_000_000 in settled
    read = pandas.read_parquet(exported / "turnaround.parquet")["settled_at"]
    assert str(read.dtype).startswith("datetime64[")
    assert str(read.dt.tz) == "UTC"
    assert START in list(read)
