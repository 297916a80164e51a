"""What a page or a command leaves out, it says."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from intu_fhir.cli.main import run
from intu_fhir.db import tables as t
from intu_fhir.db.failures import MOST_CAUSES
from intu_fhir.db.session import Database
from intu_fhir.db.study_report import MANY, study_report
from tests.support.clock import START
from tests.support.seeded import stage
from tests.support.studies import uid
from tests.support.web import serving


def _configured(folder: Path, database: Database) -> list[str]:
    (folder / "intu.yaml").write_text(f"database: {json.dumps(database.url)}\n")
    return ["--config", str(folder)]


def _grow(database: Database, series: int, tries: int) -> None:
    """Stage a study with more series, and tries of its delivery."""
    with database.write() as connection:
        key = stage(connection, "large", deliveries={"ehr": "dead"})
        more = [
            {"study_key": key, "series_instance_uid": uid("large", n), "series_number": str(n)}
            for n in range(2, series + 1)
        ]
        connection.execute(t.series.insert(), more)
        delivery = connection.execute(t.deliveries.select()).mappings().one()["delivery_key"]
        one = {"delivery_key": delivery, "generation": 1, "started_at": START, "ended_at": START}
        one |= {"outcome": "retry", "status": "503"}
        numbers = range(1, tries + 1)
        connection.execute(t.attempts.delete())
        connection.execute(t.attempts.insert(), [{**one, "number": n} for n in numbers])


def test_a_study_of_very_many_parts_says_what_is_left_out(
    database: Database, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The first thousand series and the last thousand tries are shown, and of how many."""
    _grow(database, MANY + 200, MANY + 1)
    with database.read() as connection:
        report = study_report(connection, uid("large"))
    assert report is not None
    assert (len(report.series), len(report.attempts)) == (MANY, MANY)
    assert (report.attempts[0].number, report.attempts[-1].number) == (2, MANY + 1)
    said = [one.words for one in report.cut]
    assert said == [
        "Only the first 1,000 of 1,200 series are shown.",
        "Only the last 1,000 of 1,001 tries are shown.",
    ]
    assert run(["study", uid("large"), *_configured(tmp_path, database)]) == 0
    shown = capsys.readouterr().out
    with serving(tmp_path / "page", database.url) as served, served.client() as client:
        page = client.get(f"/studies/{uid('large')}").text
    for words in said:
        assert words in shown
        assert words in page


def test_a_study_that_fits_says_nothing(database: Database) -> None:
    """A thousand of a thousand are all there are."""
    _grow(database, MANY, MANY)
    with database.read() as connection:
        report = study_report(connection, uid("large"))
    assert report is not None
    assert (len(report.series), report.cut) == (MANY, [])


@pytest.mark.parametrize("more", [0, 5])
def test_very_many_causes_say_how_many_there_are(
    database: Database, tmp_path: Path, capsys: pytest.CaptureFixture[str], more: int
) -> None:
    """Two hundred causes are listed; where there are more, page and command say so."""
    with database.write() as connection:
        studies = [stage(connection, f"s{n}") for n in range(MOST_CAUSES + more)]
        one = {"destination": "ehr", "want": 1, "have": 0, "state": "dead", "updated_at": START}
        connection.execute(
            t.deliveries.insert(),
            [{**one, "study_key": key, "cause": f"refused {key}"} for key in studies],
        )
    words = "Only the first 200 of 205 causes, those that concern most, are shown."
    config = _configured(tmp_path, database)
    assert run(["deliveries", "--by-cause", *config]) == 0
    assert (words in capsys.readouterr().err) is bool(more)
    with serving(tmp_path / "page", database.url) as served, served.client() as client:
        assert (words in client.get("/failures").text) is bool(more)
        assert (words in client.get("/failures?destination=ehr").text) is bool(more)
