"""What pages say of studies that wait, are held, or were built with remarks."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from intu_fhir.db.destinations import remember
from intu_fhir.db.holds import hold_study
from intu_fhir.db.session import Database
from intu_fhir.db.tables import attempts, deliveries, destination_states, resources
from intu_fhir.model.destination import OPEN
from intu_fhir.model.settling import StudyHold
from tests.support.clock import START
from tests.support.seeded import stage
from tests.support.studies import uid
from tests.support.web import Served, serving


@pytest.fixture
def served(tmp_path: Path, database: Database) -> Iterator[Served]:
    """A page over studies on their way, of which the EHR does not answer, and one that is held."""
    with database.write() as connection:
        stage(connection, "down", deliveries={"ehr": "waiting"}, patient_name="Down^Dora")
        stage(connection, "again", deliveries={"pacs": "retrying"}, patient_name="Again^Ada")
        stage(connection, "fine", deliveries={"pacs": "waiting"}, patient_name="Fine^Finn")
        remember(connection, "ehr", START)
        connection.execute(destination_states.update().values(breaker=OPEN, opened_at=START))
        key = stage(connection, "held", deliveries={"ehr": "held"}, patient_name="Held^Hana")
        hold_study(connection, key, [StudyHold("patient_conflict", "two")], generation=1, now=START)
        remark = {"severity": "warning", "code": "S16", "message": "began before it"}
        connection.execute(
            resources.insert().values(
                study_key=key,
                generation=1,
                release="r4",
                mapping_version="m1",
                channel="radiology",
                built_at=START,
                state="valid",
                findings=[remark],
                content_hash="x",
                resource={},
            )
        )
        of_study = sa.select(deliveries.c.delivery_key).where(deliveries.c.study_key == key)
        one = connection.execute(of_study).scalar_one()
        for number, outcome in enumerate(("retrying", "held")):
            values = {"generation": 1, "number": number + 1, "outcome": outcome}
            times = {"started_at": START, "ended_at": START}
            connection.execute(attempts.insert().values(delivery_key=one, **values, **times))
    with serving(tmp_path, database.url) as page:
        yield page


def _get(served: Served, path: str) -> str:
    with served.client() as client:
        answer = client.get(path)
    assert answer.status_code == 200
    return answer.text


def _row(page: str, name: str) -> str:
    return next(one for one in re.findall(r"<tr data-row>.*?</tr>", page, re.DOTALL) if name in one)


@pytest.mark.parametrize(
    ("name", "state", "words"),
    [
        ("down", "retrying", "ehr does not answer"),
        ("again", "retrying", "tried again at pacs"),
        ("fine", "delivering", ""),
    ],
)
def test_a_study_that_does_not_get_on_looks_so(
    served: Served, name: str, state: str, words: str
) -> None:
    """On its way to who does not answer, or after a try that failed, a study is amber."""
    row = _row(_get(served, "/studies"), uid(name))
    head = _get(served, f"/studies/{uid(name)}").partition('class="actions"')[0]
    for shown in (row, head):
        assert f'class="state {state}"' in shown
        assert "delivering" in shown
        assert words in shown


def test_the_grid_names_patients(served: Served) -> None:
    """Each row of the grid has the name that people look for."""
    grid = _get(served, "/grid")
    assert [one for one in ("Down, Dora", "Fine, Finn", "Held, Hana") if one not in grid] == []


def test_a_held_study_leads_to_where_it_is_decided(served: Served) -> None:
    """Its head names the page of that name; its tries have the colours of their outcomes."""
    shown = _get(served, f"/studies/{uid('held')}")
    assert 'see <a href="/review#holds">Review</a>' in shown
    assert 'class="deliver failed retrying"' in shown
    assert 'class="deliver held"' in shown


def test_a_numbered_finding_says_what_it_asks_for(served: Served) -> None:
    """A code that is only a number stands beside the rule that it names."""
    assert "No series began before its study." in _get(served, f"/studies/{uid('held')}")
