"""The commands that show and change what is staged, on both databases."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from pyarrow import parquet

from intu_fhir.cli.main import run
from intu_fhir.db import migrate
from intu_fhir.db import tables as t
from intu_fhir.db.holds import hold_study
from intu_fhir.db.session import Database
from intu_fhir.model.settling import StudyHold
from tests.support.clock import START
from tests.support.seeded import stage
from tests.support.studies import uid

Ask = Callable[..., tuple[int, str, str]]


@pytest.fixture
def site(database: Database, tmp_path: Path) -> Path:
    """Give a configuration whose database holds one delivered and one failed study."""
    (tmp_path / "intu.yaml").write_text(f"database: {json.dumps(database.url)}\n")
    with database.write() as connection:
        stage(connection, "good", patient_name="Good^Ann", deliveries={"ehr": "delivered"})
        stage(
            connection,
            "bad",
            patient_name="=Bad^Bob",
            deliveries={"ehr": "dead", "pacs": "delivered"},
        )
        stage(connection, "coming", generation=0, build=None, revision=2)
    return tmp_path


@pytest.fixture
def ask(site: Path, capsysbinary: pytest.CaptureFixture[bytes]) -> Ask:
    """Give a function that runs a command and returns exit code, output and messages."""

    def run_it(*arguments: str) -> tuple[int, str, str]:
        code = run([*arguments[:1], "--config", str(site), *arguments[1:]])
        out, err = capsysbinary.readouterr()
        return code, out.decode("utf-8", "surrogateescape"), err.decode()

    return run_it


def _json(ask: Ask, *arguments: str) -> Any:
    code, out, _ = ask(*arguments, "--json")
    assert code == 0
    return json.loads(out)


def test_studies(ask: Ask) -> None:
    """Studies are listed with their state and found by filters."""
    code, out, _ = ask("studies")
    assert code == 0
    assert out.splitlines()[0].startswith("STATE")
    assert [line.split()[0] for line in out.splitlines()[1:]] == [
        "receiving",
        "failed",
        "delivered",
    ]
    (row,) = _json(ask, "studies", "--state", "failed", "--patient-name", "bob")
    assert row["study_instance_uid"] == uid("bad")
    assert row["last_received_at"] == "2024-03-01T12:00:01Z"
    assert ask("studies", "--modality", "XX")[1] == "No study matches.\n"


def test_pages_of_studies(ask: Ask) -> None:
    """A full page names the option that gives the next one."""
    code, out, err = ask("studies", "--limit", "2")
    assert code == 0
    after = err.split()[-1]
    assert after in out
    (row,) = _json(ask, "studies", "--after", after)
    assert row["study_instance_uid"] == uid("good")
    assert ask("studies", "--after", "1.2.3")[0] == 2


def test_study(ask: Ask) -> None:
    """One study shows its parts; one that never came is wrong use."""
    code, out, _ = ask("study", uid("bad"))
    assert code == 0
    for word in ("failed", "Timeline", "Deliveries", "422 refused", "2 instances from CT_SCANNER"):
        assert word in out
    report = _json(ask, "study", uid("bad"))
    assert {row["destination"] for row in report["deliveries"]} == {"ehr", "pacs"}
    assert report["timeline"][0]["step"] == "receive"
    assert ask("study", "1.2.3")[0] == 2


STUDY_COMMANDS = [
    ("study",),
    ("settle",),
    ("preview",),
    ("deliveries", "--study"),
    ("replay", "--dry-run", "--study"),
    ("holds", "list", "--study"),
    ("studies", "--after"),
]


@pytest.mark.parametrize("command", STUDY_COMMANDS)
def test_the_uid_of_a_part_names_its_study(command: tuple[str, ...], ask: Ask) -> None:
    """Given the UID of a series or an instance, a command says of which study it is."""
    for part, words in (((1,), "a series"), ((1, 0), "an instance")):
        code, _, err = ask(*command, uid("good", *part))
        assert code == 2
        assert f"{uid('good', *part)} is {words} of study {uid('good')}\n" in err
    assert f"{uid('nobody')} was never received" in ask(*command, uid("nobody"))[2]
    assert "1.2\N{REPLACEMENT CHARACTER}3" in ask(*command, "1.2\x1b3")[2]


def test_the_uid_of_an_object_in_quarantine(ask: Ask, database: Database) -> None:
    """Whoever has the UID of an object that is kept aside alone is led to it."""
    with database.write() as connection:
        connection.execute(
            t.quarantine.insert().values(
                association_id="a-good",
                reason="different_bytes",
                sop_instance_uid=uid("aside"),
                file="quarantine/x.dcm",
                sha256="0" * 64,
                received_at=START,
            )
        )
    told = f"{uid('aside')} is in quarantine; see `intu-fhir quarantine show 1`"
    assert told in ask("study", uid("aside"))[2]


@pytest.mark.parametrize("command", STUDY_COMMANDS)
def test_a_uid_with_the_end_of_a_line(command: tuple[str, ...], ask: Ask) -> None:
    """The line end of a CSV file behind a UID, which cannot be seen, does no harm."""
    assert ask(*command, f"{uid('good')}\r") == ask(*command, uid("good"))
    assert "never received" not in ask(*command, f" {uid('good')}\r\n")[2]


def test_a_finding_of_a_study_names_its_attribute_once(ask: Ask, database: Database) -> None:
    """In a column of its own, so the message beside it does not say it again."""
    finding = {"attribute": "PatientID", "message": "PatientID: it is not usable"}
    with database.write() as connection:
        key = sa.select(t.studies.c.study_key).where(t.studies.c.study_instance_uid == uid("bad"))
        connection.execute(
            sa.insert(t.resources).values(
                study_key=key.scalar_subquery(),
                generation=1,
                release="r4",
                mapping_version="1",
                channel="ct",
                built_at=START,
                state="invalid",
                content_hash="",
                resource={},
                findings=[finding],
            )
        )
    out = " ".join(ask("study", uid("bad"))[1].split())
    assert "PatientID it is not usable" in out


def test_a_part_of_a_cause_is_enough(ask: Ask, database: Database) -> None:
    """Words that one cause alone has stand for it; those of several are asked for again."""
    no_mr = "the PACS takes no MR Image Storage: SOP class not supported"
    with database.write() as connection:
        stage(connection, "worse", deliveries={"pacs": "dead"})
        c = t.deliveries.c
        dead = t.deliveries.update().where(c.state == "dead")
        connection.execute(dead.where(c.destination == "pacs").values(cause=no_mr))
        connection.execute(dead.where(c.destination == "ehr").values(cause="a … of … supported"))
    options = ["replay", "--dry-run", "--cause"]
    code, out, _ = ask(*options, "SOP class NOT supported")
    assert (code, out.startswith("1 delivery would be put back")) == (0, True)
    assert "1 delivery" in ask(*options, "a ... of ...")[1]
    code, out, err = ask(*options, "supported")
    assert (code, out) == (2, "")
    assert "2 causes have these words" in err
    assert no_mr in err
    assert "1 delivery" in ask(*options, "supported", "--destination", "ehr")[1]
    code, _, err = ask(*options, "no such")
    assert (code, "nothing fails for this cause" in err) == (2, True)


def test_deliveries(ask: Ask) -> None:
    """What is not done is listed with its reason; --all shows the rest."""
    code, out, _ = ask("deliveries")
    assert code == 0
    assert "ehr: 1 dead, 1 delivered" in out
    assert "422 refused" in out
    assert [row["state"] for row in _json(ask, "deliveries")] == ["dead"]
    assert len(_json(ask, "deliveries", "--all")) == 3
    assert _json(ask, "deliveries", "--state", "delivered", "--destination", "pacs") != []


def test_what_waits_for_a_destination_that_is_down(ask: Ask, database: Database) -> None:
    """Its next try is the next probe, and how the destination stands is told beside what fails."""
    probe = datetime(2099, 3, 1, 12, tzinfo=UTC)
    since, then = (f"{one.astimezone():%Y-%m-%d}" for one in (START, probe))  # as it is here
    with database.write() as connection:
        for number in range(3):
            stage(connection, f"late {number}", deliveries={"pacs": "waiting"})
        stage(connection, "tried", deliveries={"pacs": "retrying"})
        connection.execute(
            t.destination_states.insert().values(
                destination="pacs",
                breaker="open",
                opened_at=START,
                next_probe_at=probe,
                last_error="no connection: refused",
                updated_at=START,
            )
        )
    out = " ".join(ask("deliveries")[1].split())
    assert f"pacs is down: nothing gets there since {since}" in out
    assert out.count(then) == 5  # one that is retried, three that wait, and the head
    assert out.count("waits for pacs, which is down") == 3
    out = " ".join(ask("deliveries", "--by-cause")[1].split())
    assert f"pacs is down: nothing gets there since {since}" in out
    assert "3 deliveries wait for it besides, not tried yet" in out
    assert then in ask("study", uid("late 0"))[1]
    assert ask("destinations", "pause", "pacs")[0] == 0
    out = ask("deliveries")[1]
    assert "pacs is paused: paused by" not in out
    assert "pacs is paused by" in out


def test_deliveries_say_what_to_do(ask: Ask) -> None:
    """Dead letters name the command that puts them back; a filter that hides them says no more."""
    assert "intu-fhir replay" in ask("deliveries")[2]
    assert ask("deliveries", "--destination", "pacs")[1].endswith("\nNo delivery matches.\n")
    assert ask("deliveries", "--state", "delivered")[2] == ""


def test_deliveries_of_one_study(ask: Ask) -> None:
    """Asked for one study, the head counts that one, and that it has all is said."""
    assert ask("deliveries", "--study", uid("good"))[1].splitlines() == [
        "ehr: 1 delivered",
        "Nothing of this study waits and nothing failed; --all lists what there is.",
    ]
    assert ask("deliveries", "--study", uid("bad"))[1].startswith("ehr: 1 dead\npacs: 1 delivered")
    assert ask("deliveries", "--study", uid("coming"))[1] == "No deliveries of this study yet.\n"


@pytest.mark.parametrize(
    "words",
    [
        "deliveries",
        "deliveries --by-cause",
        "deliveries --json",
        "studies",
        "studies --json",
    ],
)
def test_a_destination_that_is_not_there(ask: Ask, site: Path, words: str) -> None:
    """A mistyped destination is an error that names the right ones, and not "nothing failed"."""
    code, out, err = ask(*words.split(), "--destination", "pasc")
    assert (code, out) == (2, "")
    assert "delivered to pasc; there are: ehr, pacs" in err
    assert ask(*words.split(), "--destination", "pacs")[0] == 0  # not configured, but has rows
    with (site / "intu.yaml").open("a") as file:
        file.write("destinations: {pasc: {type: fhir, base_url: 'https://ehr.example/fhir'}}\n")
    assert ask(*words.split(), "--destination", "pasc")[0] == 0


def test_replay_knows_its_names(ask: Ask) -> None:
    """A destination, study or cause that nothing has is wrong use, not a job done."""
    code, _, err = ask("replay", "--destination", "ehrr")
    assert (code, "ehr, pacs" in err) == (2, True)
    assert ask("replay", "--study", "1.2.3")[0] == 2
    code, out, err = ask("replay", "--cause", "nonsense")
    assert (code, out, "deliveries --by-cause" in err) == (2, "", True)
    (failing,) = _json(ask, "deliveries", "--by-cause")
    assert "1 delivery" in ask("replay", "--cause", failing["cause"], "--dry-run")[1]
    assert "1 delivery" in ask("replay", "--destination", "ehr", "--dry-run")[1]


def test_replay_says_what_it_does(ask: Ask) -> None:
    """A dry run changes nothing, the real run puts back, a second one has nothing to do."""
    assert "1 delivery would be put back" in ask("replay", "--all", "--dry-run")[1]
    code, out, _ = ask("replay", "--where", "destination = 'ehr' AND patient_name LIKE '%Bob'")
    assert code == 0
    assert "1 delivery put back" in out
    assert "Nothing to put back" in ask("replay", "--all")[1]
    (row,) = _json(ask, "deliveries")
    assert (row["state"], row["attempts"]) == ("waiting", 0)


def test_a_replay_of_nothing_asks_nothing(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    """At a terminal it is asked whether to put something back, not whether to do nothing."""
    stdin = io.StringIO("")
    monkeypatch.setattr(stdin, "isatty", lambda: True)
    monkeypatch.setattr("sys.stdin", stdin)
    code, out, _ = ask("replay", "--study", uid("good"))
    assert (code, out.splitlines()[0]) == (0, "Nothing to put back.")
    assert "Do it?" not in out
    assert "Do it?" in ask("replay", "--study", uid("bad"))[1]


@pytest.mark.parametrize(
    "arguments",
    [
        ("replay",),
        ("replay", "--all", "--force", "--rebuild"),
        ("replay", "--where", "nonsense ="),
        ("replay", "--since", "yesterday"),
        ("studies", "--since", "999999w"),
        ("quarantine", "show", "9" * 20),
        ("quarantine", "remove", "--yes", "9" * 20),
        ("holds", "release", "--yes", "9" * 20),
        ("sql", "SELECT 1", "--limit", "9" * 20),
        ("sql", "DELETE FROM studies"),
        ("sql", "SELECT nonsense"),
        ("sql", "SELECT 1; SELECT 2"),
        ("study",),
        ("settle", "1.2.3"),
    ],
)
def test_wrong_use(ask: Ask, arguments: tuple[str, ...]) -> None:
    """Wrong use ends with 2 and words, not with a traceback."""
    code, out, err = ask(*arguments)
    assert (code, out) == (2, "")
    assert err
    assert "Traceback" not in err


def test_replay_columns(ask: Ask) -> None:
    """The columns of a predicate can be listed."""
    assert "last_status" in ask("replay", "--columns")[1].split()


def test_holds(site: Path, database: Database) -> None:
    """A hold is listed and released by its number, once, with the name of who did it."""
    with database.write() as connection:
        key = connection.execute(t.studies.select()).first()
        assert key is not None
        hold = StudyHold("patient_conflict", "two Patient IDs")
        hold_study(connection, key.study_key, [hold], generation=1, now=START)
    config = ["--config", str(site)]
    assert run(["holds", "list", *config]) == 0
    assert run(["holds", "release", "1", "--by", "Dr. Who", *config]) == 0
    assert run(["holds", "release", "1", *config]) == 1
    with database.read() as connection:
        row = connection.execute(t.holds.select()).one()
        assert row.released_by == "Dr. Who"


@pytest.fixture
def held(database: Database, ask: Ask) -> None:
    """Hold six studies of one destination for one reason, and one as a whole for another."""
    with database.write() as connection:
        for number in range(6):
            key = stage(connection, f"held {number}", deliveries={"ehr": "held"})
            hold = StudyHold("patient_not_found", "no patient there")
            hold_study(connection, key, [hold], generation=1, now=START, destination="ehr")
        conflict = [StudyHold("patient_conflict", "two Patient IDs")]
        hold_study(connection, 1, conflict, generation=1, now=START)


@pytest.mark.usefixtures("held")
def test_holds_are_gathered_and_chosen_by_their_reason(ask: Ask) -> None:
    """Many holds of one reason are one line, and can be listed by reason and destination."""
    groups = _json(ask, "holds", "list", "--by-reason")
    assert [(row["destination"], row["reason"], row["number"]) for row in groups] == [
        ("ehr", "patient_not_found", 6),
        ("", "patient_conflict", 1),
    ]
    assert len(ask("holds", "list", "--by-reason")[1].splitlines()) == 3
    assert len(_json(ask, "holds", "list", "--held-for", "patient_not_found")) == 6
    assert len(_json(ask, "holds", "list", "--destination", "ehr")) == 6
    assert ask("holds", "list", "--held-for", "nothing")[1] == "No hold matches.\n"
    assert "nothing was ever" in ask("holds", "list", "--destination", "nowhere")[2]


@pytest.mark.usefixtures("held")
def test_holds_are_released_by_their_reason(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    """All holds of a reason go at once, where somebody says yes; why is in the audit trail."""
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    assert "say --yes" in ask("holds", "release", "--held-for", "patient_not_found")[2]
    why = ("--yes", "--reason", "the patients are there now")
    code, out, _ = ask("holds", "release", "--held-for", "patient_not_found", *why)
    assert (code, out.count("is released")) == (0, 6)
    (event, *_) = _json(ask, "audit", "list", "--action", "released")
    assert event["reason"].endswith(": patient_not_found; the patients are there now")
    assert [row["reason"] for row in _json(ask, "holds", "list")] == ["patient_conflict"]
    assert "nothing is held for" in ask("holds", "release", "--held-for", "patient_not_found")[2]
    assert ask("holds", "release")[0] == 2
    assert ask("holds", "release", "7", "--held-for", "patient_conflict")[0] == 2


@pytest.mark.usefixtures("held")
def test_a_study_names_the_command_that_it_waits_for(ask: Ask) -> None:
    """What is held names the list of its holds, what failed the replay; what is done nothing."""
    assert (
        f"\nNext       intu-fhir holds list --study {uid('good')}\n" in ask("study", uid("good"))[1]
    )
    assert f"\nNext       intu-fhir replay --study {uid('bad')}\n" in ask("study", uid("bad"))[1]
    assert "\nNext" not in ask("study", uid("coming"))[1]


@pytest.mark.usefixtures("held")
def test_holds_do_not_hide_what_fails(ask: Ask) -> None:
    """Of deliveries that are held for one reason a few are shown; by cause their number is told."""
    _, out, err = ask("deliveries")
    assert out.count("patient_not_found: no patient there") == 3
    assert "... and 3 more held at ehr for patient_not_found\n" in out
    assert "holds list --by-reason" in err
    assert ask("deliveries", "--state", "held")[1].count("patient_not_found: no patient") == 6
    assert "\n7 holds wait for a decision" in ask("deliveries", "--by-cause")[1]
    assert (
        "Nothing fails.\n1 hold waits"
        in ask("deliveries", "--by-cause", "--destination", "pacs")[1]
    )


def test_what_lists_needs_no_more_words(ask: Ask) -> None:
    """`holds`, `quarantine`, `audit` and the like list on their own; others show their help."""
    assert ask("holds")[:2] == (0, "No study is held.\n")
    assert ask("quarantine")[:2] == (0, "Nothing is in quarantine.\n")
    assert ask("audit")[0] == 0
    assert ask("commitments")[0] == 0
    code, _, err = ask("files")
    assert (code, "verify" in err) == (2, True)


def test_what_a_release_does(site: Path, database: Database, ask: Ask) -> None:
    """A release tells what comes of it; what has to be built again stays held."""
    with database.write() as connection:
        for reason, where in (("invalid_resource", "ehr"), ("patient_not_found", "ehr")):
            hold_study(
                connection, 1, [StudyHold(reason, "")], generation=1, now=START, destination=where
            )
    code, out, err = ask("holds", "release", "1", "2", "3")
    assert code == 1
    assert "Hold 1 stays: a resource with errors is never sent." in err
    assert f"`intu-fhir replay --rebuild --study {uid('good')}`" in err
    assert "Hold 2 is released; the destination judges the study again" in out
    assert "Hold 3 is not open" in err
    assert [row["hold_key"] for row in _json(ask, "holds", "list")] == [1]


def test_reading_needs_no_secret_of_a_destination(site: Path, ask: Ask) -> None:
    """Who looks at staging has no token at hand; what asks the destination still needs it."""
    with (site / "intu.yaml").open("a") as file:
        file.write(
            "destinations: {ehr: {type: fhir, base_url: 'https://x/fhir', release: r4, "
            "auth: {type: bearer, token: '${env:INTU_NO_SUCH}'}}}\n"
        )
    for words in (["studies"], ["deliveries"], ["destinations"], ["study", uid("good")]):
        assert ask(*words)[0] == 0
    code, _, err = ask("check", "--offline")
    assert (code, "the environment variable INTU_NO_SUCH is not set" in err) == (2, True)


def test_settle(ask: Ask) -> None:
    """A study that is still coming in is settled on request; a settled one has nothing to do."""
    assert "settled next" in ask("settle", uid("coming"), "--by", "me")[1]
    assert "settled already" in ask("settle", uid("good"))[1]


def test_sql_formats(ask: Ask, tmp_path: Path) -> None:
    """One question in every format; formulas do not run in CSV."""
    question = "SELECT patient_name, number_of_instances FROM studies ORDER BY study_key"
    assert ask("sql", question)[1].splitlines()[1].split() == ["Good^Ann", "2"]
    assert _json(ask, "sql", question)[1]["patient_name"] == "=Bad^Bob"
    rows = list(csv.reader(io.StringIO(ask("sql", question, "--format", "csv")[1])))
    assert rows[:3] == [
        ["patient_name", "number_of_instances"],
        ["Good^Ann", "2"],
        ["'=Bad^Bob", "2"],
    ]
    file = tmp_path / "x.parquet"
    assert ask("sql", question, "--format", "parquet", "--output", str(file))[0] == 0
    assert parquet.read_table(file).num_rows == 3


@pytest.mark.parametrize("comment", ["-- SQLite\n", "--SQLite\n", "--\n", "-- one\n-- two\n"])
def test_sql_may_begin_with_a_comment(comment: str, ask: Ask) -> None:
    """A query that is pasted with its comment is asked; an option that is not there is not."""
    assert ask("sql", f"{comment}SELECT 1 AS n", "--json")[0] == 0
    assert "No such option" in ask("sql", "--limt", "5", "SELECT 1")[2]


def test_sql_says_when_rows_are_missing(ask: Ask) -> None:
    """A cut table says so; a cut export also ends with 1."""
    question = "SELECT study_key FROM studies"
    code, out, err = ask("sql", question, "--limit", "2")
    assert (code, len(out.splitlines())) == (0, 3)
    assert "Only the first 2 rows" in err
    assert ask("sql", question, "--limit", "2", "--format", "csv")[0] == 1
    assert ask("sql", question, "--limit", "3", "--format", "csv")[0] == 0


def test_database_that_was_never_upgraded(
    database_url: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Commands say what to run; upgrade does it, twice without harm."""
    (tmp_path / "intu.yaml").write_text(f"database: {json.dumps(database_url)}\n")
    site = ["--config", str(tmp_path)]
    assert run(["studies", *site]) == 2
    assert "intu-fhir db upgrade" in capfd.readouterr().err
    assert run(["db", "current", *site]) == 1
    assert run(["db", "upgrade", *site]) == 0
    assert run(["db", "upgrade", *site]) == 0
    assert run(["db", "current", *site]) == 0
    assert migrate.current(database_url) == migrate.head()
    assert run(["db", "downgrade", "base", "--yes", *site]) == 0
    assert migrate.current(database_url) is None


def test_a_broken_configuration_ends_with_2(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Every mistake is one line on standard error."""
    (tmp_path / "intu.yaml").write_text("databse: x\nfile: y\n")
    assert run(["studies", "--config", str(tmp_path)]) == 2
    lines = capfd.readouterr().err.splitlines()
    assert len(lines) == 2
    assert "did you mean database?" in lines[0]


def test_a_lost_database_ends_with_1(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """A database that does not answer needs a person; --debug shows where it was noticed."""
    (tmp_path / "intu.yaml").write_text("database: postgresql+psycopg://x@127.0.0.1:1/x\n")
    assert run(["studies", "--config", str(tmp_path)]) == 1
    assert "Traceback" not in capfd.readouterr().err
    assert run(["--debug", "studies", "--config", str(tmp_path)]) == 1
    assert "Traceback" in capfd.readouterr().err


def test_init_and_configuration_by_environment(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Init writes once and keeps what is there; INTU_CONFIG names the folder."""
    folder = tmp_path / "site"
    assert run(["init", str(folder)]) == 0
    assert run(["init", str(folder)]) == 0
    assert "kept" in capfd.readouterr().out
    monkeypatch.setenv("INTU_CONFIG", str(folder))
    assert run(["db", "upgrade"]) == 0
    assert run(["studies"]) == 0
    assert (folder / "data/staging.db").is_file()


def test_destinations(ask: Ask) -> None:
    """Destinations are listed with what waits for them; one is paused and resumed by name."""
    code, out, _ = ask("destinations")
    assert code == 0
    assert [line.split()[:2] for line in out.splitlines()[1:]] == [["up", "ehr"]]
    assert ask("destinations", "pause", "ehr", "--by", "jo")[0] == 0
    assert "paused by jo" in ask("destinations")[1]
    assert ask("destinations", "resume", "ehr")[0] == 0
    assert "paused" not in ask("destinations")[1]
    code, _, err = ask("destinations", "pause", "ehx")
    assert code == 2
    assert "there are: ehr" in err


def test_a_user_without_a_name_pauses(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    """A container may run under a number that has no name: it pauses and resumes all the same."""
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os, "getuid", lambda: 1_000_720_000)
    assert ask("destinations", "pause", "ehr")[0] == 0
    assert "paused by unknown" in ask("destinations")[1]
    assert ask("destinations", "resume", "ehr")[0] == 0
