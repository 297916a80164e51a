"""`intu-fhir audit`: who did what, whether it is whole, and its export."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from xml.etree.ElementTree import fromstring

import pytest
import sqlalchemy as sa

from intu_fhir.app.storing import begin_anew
from intu_fhir.cli.auditing import tell_audit
from intu_fhir.cli.main import run
from intu_fhir.db import tables as t
from intu_fhir.db.audit import record_audit
from intu_fhir.db.holds import hold_study
from intu_fhir.db.session import Database
from intu_fhir.model.audit import Action, AuditEvent
from intu_fhir.model.settling import StudyHold
from intu_fhir.settings.load import load_configuration
from tests.support.audit_messages import objections
from tests.support.clock import START
from tests.support.ports import free_port
from tests.support.seeded import stage
from tests.support.studies import uid

Ask = Callable[..., tuple[int, str, str]]


@pytest.fixture
def ask(database: Database, tmp_path: Path, capsysbinary: pytest.CaptureFixture[bytes]) -> Ask:
    """Give a function that runs a command on a site with a held study and one to settle."""
    (tmp_path / "intu.yaml").write_text(
        f"database: {json.dumps(database.url)}\n"
        "identifiers:\n  patient:\n    default: urn:oid:1.2\n"
    )
    with database.write() as connection:
        key = stage(connection, "good", patient_id="P-77", deliveries={"ehr": "held"})
        conflict = StudyHold("patient_conflict", "two Patient IDs")
        hold_study(connection, key, [conflict], generation=1, now=START)
        stage(connection, "coming", generation=0, build=None, revision=2)
    begin_anew(load_configuration(tmp_path).site, database)  # the rows have no files

    def run_it(*arguments: str) -> tuple[int, str, str]:
        code = run(["--config", str(tmp_path), *arguments])
        out, err = capsysbinary.readouterr()
        return code, out.decode(), err.decode()

    return run_it


def _told(ask: Ask, *arguments: str) -> list[tuple[str, str, str]]:
    code, out, _ = ask("audit", "list", "--json", *arguments)
    assert code == 0
    rows = json.loads(out)
    return [(row["action"], row["study_instance_uid"], row["reason"]) for row in reversed(rows)]


@pytest.mark.parametrize("words", ["list", "list --json", "export"])
def test_a_destination_that_nobody_knows(ask: Ask, database: Database, words: str) -> None:
    """A mistyped destination is an error; one that only the trail remembers can be asked for."""
    code, out, err = ask("audit", *words.split(), "--destination", "pasc")
    assert (code, out) == (2, "")
    assert "delivered to pasc; there are: ehr" in err
    assert ask("audit", *words.split(), "--destination", "ehr")[0] == 0
    with database.write() as connection:
        old = AuditEvent(Action.PUBLISHED, START, "worker", destination="pasc")
        record_audit(connection, old)
    code, out, _ = ask("audit", *words.split(), "--destination", "pasc", "--since", "1d")
    assert (code, "pasc" in out) == (0, False)
    assert ask("audit", *words.split(), "--destination", "pasc")[0] == 0


def test_what_a_person_does_and_sees_is_told(ask: Ask) -> None:
    """Release, settle, study, preview, studies, sql, reading the trail: one event each."""
    assert ask("holds", "release", "1", "--by", "rita")[0] == 0
    assert ask("settle", uid("coming"), "--by", "rita")[0] == 0
    assert ask("study", uid("good"))[0] == 0
    ask("preview", uid("good"))
    assert ask("studies")[0] == 0
    assert ask("sql", "SELECT * FROM studies")[0] == 0
    assert ask("sql", "SELECT * FROM studies", "--format", "csv")[0] == 0
    assert _told(ask) == [
        ("released", uid("good"), "hold 1: patient_conflict"),
        ("settled", uid("coming"), ""),
        ("viewed", uid("good"), "study"),
        ("viewed", uid("good"), "preview"),
        ("queried", "", "studies"),
        ("queried", "", "sql as table"),
        ("exported", "", "sql as csv"),
        ("audit_read", "", "audit list"),
    ]
    assert [one[0] for one in _told(ask, "--actor", "rita")] == ["released", "settled"]
    assert ask("audit", "verify")[0] == 0


def test_what_failed_is_not_told_as_done(ask: Ask) -> None:
    """A hold that is not there, a study that never came: no event says that they were."""
    assert ask("holds", "release", "99")[0] == 1
    assert ask("settle", "1.2.3")[0] == 2
    assert ask("study", "1.2.3")[0] == 2
    assert _told(ask) == [("audit_read", "", "audit list")]


def test_the_list_is_readable(ask: Ask) -> None:
    """People get a table with the time, the action and who it was."""
    ask("study", uid("good"))
    code, out, _ = ask("audit", "list", "--action", "viewed")
    assert code == 0
    for word in ("ACTION", "WHO", "viewed", "success", uid("good")):
        assert word in out
    assert "Nothing" in ask("audit", "list", "--action", "paused")[1]


def test_verify_names_the_first_broken_event(ask: Ask, database: Database) -> None:
    """After an event was changed, verify ends with 1 and says which, and what is wrong."""
    for _ in range(3):
        ask("study", uid("good"))
    with database.write() as connection:
        connection.execute(
            sa.update(t.audit_events).where(t.audit_events.c.position == 2).values(actor="nobody")
        )
    code, out, _ = ask("audit", "verify")
    assert code == 1
    assert "Broken at event 2: its content was changed" in out


def test_verify_against_a_seal_of_the_log(ask: Ask, database: Database) -> None:
    """A seal that was kept elsewhere finds a trail whose end was cut off."""
    ask("study", uid("good"))
    _, out, _ = ask("audit", "verify")
    seal = out.split("Newest seal: ")[1].strip()
    assert ask("audit", "verify", "--seal", seal)[0] == 0
    with database.write() as connection:
        connection.execute(sa.delete(t.audit_events))
    assert ask("audit", "verify")[0] == 0
    code, out, _ = ask("audit", "verify", "--seal", f"9:{seal.split(':')[1]}")
    assert code == 1
    assert "rows up to 9 were sealed and are not there" in out
    assert ask("audit", "verify", "--seal", "nonsense")[0] == 2


@pytest.mark.parametrize("release", ["r4", "r5"])
def test_export_as_fhir(ask: Ask, release: str, tmp_path: Path) -> None:
    """Each event is one AuditEvent a line, with the Patient ID and its system."""
    ask("study", uid("good"))
    file = tmp_path / "out.ndjson"
    code, _, err = ask("audit", "export", "--release", release, "--output", str(file))
    assert (code, err) == (0, "2 events\n")
    first, second = (json.loads(line) for line in file.read_text().splitlines())
    assert {first["resourceType"], second["resourceType"]} == {"AuditEvent"}
    identifiers = [entity["what"]["identifier"] for entity in first["entity"]]
    assert identifiers == [
        {"system": "urn:dicom:uid", "value": f"urn:oid:{uid('good')}"},
        {"system": "urn:oid:1.2", "value": "P-77"},
    ]
    assert "entity" not in second


def test_export_as_dicom(ask: Ask) -> None:
    """Each event is one audit message a line, with the kinds of objects of its study."""
    ask("study", uid("good"))
    code, out, _ = ask("audit", "export", "--format", "dicom", "--source", "intu.example.org")
    assert code == 0
    messages = [fromstring(line) for line in out.splitlines()]
    assert [list(objections(one)) for one in messages] == [[], []]
    study, patient = messages[0].findall("ParticipantObjectIdentification")
    assert (study.get("ParticipantObjectID"), patient.get("ParticipantObjectID")) == (
        uid("good"),
        "P-77",
    )
    sop_class = study.find("ParticipantObjectDescription/SOPClass")
    assert sop_class is not None
    assert sop_class.get("NumberOfInstances") == "2"


def test_a_database_that_takes_nothing_hides_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    """Where the trail cannot be written, the command goes on and says that it has a gap."""
    nobody = Database(f"postgresql+psycopg://127.0.0.1:{free_port()}/none")
    tell_audit(nobody, Action.VIEWED, study="1.2.3")
    assert "The audit trail does not know of this" in capsys.readouterr().err
