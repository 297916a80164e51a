"""What waits for a decision, or fails, by the names that people know; and what is removed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from intu_fhir.db.failures import causes
from intu_fhir.db.holds import hold_study
from intu_fhir.db.session import Database
from intu_fhir.db.tables import audit_events, holds, quarantine
from intu_fhir.model.settling import StudyHold
from intu_fhir.web.access.roles import Role
from intu_fhir.web.pages.failures import name_of
from tests.support.clock import START
from tests.support.rows import rows_of
from tests.support.seeded import stage
from tests.support.studies import uid
from tests.support.web import Served, serving, token_in, write_people

FILE = "quarantine/one.dcm"
KNOWN_BY = ("Okafor, Chidi", "P7", "A-77", "2024-02-29", "MR", "MR head")


@pytest.fixture
def served(tmp_path: Path, database: Database) -> Iterator[Served]:
    """A page over a study that is held and failed, and an object that was put aside beside it."""
    with database.write() as connection:
        known = {
            "patient_name": "Okafor^Chidi",
            "patient_id": "P7",
            "accession_number": "A-77",
            "modalities": "MR",
            "study_description": "MR head",
        }
        key = stage(connection, "one", modality="MR", deliveries={"ehr": "dead"}, **known)
        hold = StudyHold("patient_conflict", "two of them")
        hold_study(connection, key, [hold], generation=1, now=START)
        connection.execute(
            quarantine.insert().values(
                association_id="a-one",
                reason="other_study_or_series",
                detail="it stands in another study",
                sop_instance_uid=uid("one", 1, 0),
                study_instance_uid="1.2.3",
                file=FILE,
                sha256="1" * 64,
                received_at=START,
            )
        )
    people = {"users_file": str(write_people(tmp_path / "people"))}
    with serving(tmp_path, database.url, web=people) as one:
        kept = tmp_path / "files" / FILE
        kept.parent.mkdir()
        kept.touch()
        yield one


def test_a_study_is_named_where_it_is_held(served: Served) -> None:
    """Review shows patient, date, modality and accession of a held study, and leads to it."""
    with served.logged_in(Role.VIEWER) as client:
        held = client.get("/review").text.partition('id="quarantine"')[0]
    assert [one for one in (*KNOWN_BY, uid("one")) if one not in held] == []
    assert f'href="/studies/{uid("one")}"' in held


def test_what_has_to_be_built_again_leads_to_its_findings(
    served: Served, database: Database
) -> None:
    """A page names no commands to type: it leads to what is wrong, and has a button to build."""
    with database.write() as connection:
        connection.execute(
            sa.update(holds).values(
                reason="invalid_resource",
                detail="the r4 resource has errors (subject_unknown); read its findings with "
                "`intu-fhir study 1.2`, then `intu-fhir replay --rebuild --study 1.2`",
            )
        )
    with served.logged_in(Role.OPERATOR) as client:
        held = client.get("/review").text.partition('id="quarantine"')[0]
        study = client.get(f"/studies/{uid('one')}").text
    assert f'href="/studies/{uid("one")}#findings"' in held
    for page in (held, study):
        assert "the r4 resource has errors (subject_unknown)" in page
        assert "intu-fhir study" not in page


def test_a_study_is_named_where_it_fails(served: Served, database: Database) -> None:
    """The list of a cause shows by which names people know its studies."""
    with database.read() as connection:
        [cause] = causes(connection)
    with served.logged_in(Role.VIEWER) as client:
        shown = client.get(f"/failures/{name_of(cause)}").text
    assert [one for one in (*KNOWN_BY, uid("one")) if one not in shown] == []


def test_a_quarantined_object_has_a_number_and_a_study(served: Served, database: Database) -> None:
    """It has the number that the command takes, and leads to the study whose UID it used."""
    [row] = rows_of(database, quarantine)
    with served.logged_in(Role.OPERATOR) as client:
        aside = client.get("/review").text.partition('id="quarantine"')[2]
    assert f'data-label="Object" class="num">{row.quarantine_key}<' in aside
    assert f'href="/studies/{uid("one")}"' in aside
    assert "Okafor, Chidi" in aside
    assert "1.2.3" in aside
    assert "/remove" not in aside, "only who may remove it is offered that"


def test_an_object_is_removed_by_the_page(served: Served, database: Database) -> None:
    """First it asks, and nothing is gone; then object and file are, and the trail says why."""
    [row] = rows_of(database, quarantine)
    path, kept = f"/quarantine/{row.quarantine_key}/remove", served.folder / "files" / FILE
    with served.logged_in(Role.ADMINISTRATOR) as client:
        token = token_in(client.get("/review").text)
        asked = client.post(path, data={"form_token": token})
        assert "for good" in asked.text
        assert kept.exists()
        sure = {"form_token": token, "confirmed": "yes", "reason": "resent under a new UID"}
        done = client.post(path, data=sure)
        assert done.headers["location"] == "/review?said=removed"
        assert "Nothing is quarantined" in client.get("/review").text
        for form in (sure, {"form_token": token}):
            again = client.post(path, data=form)
            assert again.headers["location"] == "/review?said=not-quarantined"
    assert not kept.exists()
    [event] = [one for one in rows_of(database, audit_events) if one.action == "deleted"]
    assert event.actor == "administrator"
    assert "resent under a new UID" in event.reason
