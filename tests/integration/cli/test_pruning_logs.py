"""`intu-fhir prune-attempts` and `prune-audit`, and the same by the site's own rule."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from intu_fhir.app.working import Working
from intu_fhir.cli.main import run
from intu_fhir.db.audit import record_and_seal
from intu_fhir.db.session import Database
from intu_fhir.db.tables import attempts, audit_events
from intu_fhir.model.audit import Action, AuditEvent
from tests.support.clock import START, FakeClock
from tests.support.old_attempts import make_old
from tests.support.rows import rows_of
from tests.support.studies import uid
from tests.support.worked_site import worked_site

pytestmark = pytest.mark.usefixtures("small_spans")
Ask = Callable[..., tuple[int, str, str]]


@pytest.fixture
def ask(database: Database, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Ask:
    """Give a function that runs a command on a site."""
    (tmp_path / "intu.yaml").write_text(
        f"database: {json.dumps(database.url)}\nretention:\n  attempts_days: 30\n  audit_days: 30\n"
    )

    def run_it(*arguments: str) -> tuple[int, str, str]:
        code = run(["--config", str(tmp_path), *arguments])
        out, err = capsys.readouterr()
        return code, out, err

    return run_it


def test_tries_are_shown_and_removed(database: Database, clock: FakeClock, ask: Ask) -> None:
    """A dry run names what would go and leaves it; then it goes, by the age of the settings."""
    make_old(database, clock, "one")
    code, out, _ = ask("prune-attempts", "--dry-run")
    assert (code, "1 tries" in out) == (0, True)
    code, out, _ = ask("prune-attempts", "--dry-run", "--json")
    [found] = json.loads(out)
    assert (found["attempts"], found["kept_by"]) == (1, [])
    assert len(rows_of(database, attempts)) == 2
    code, out, _ = ask("prune-attempts", "--yes", "--json")
    assert json.loads(out) == {"attempts": 1, "ranges_kept": 0}
    assert len(rows_of(database, attempts)) == 1


def test_that_the_newest_range_stays_is_told(
    database: Database, clock: FakeClock, ask: Ask
) -> None:
    """Where tries are there and none goes, a person is told why; JSON stays JSON."""
    make_old(database, clock, "one")
    assert "1 tries removed" in ask("prune-attempts", "--yes")[1]
    for more in (["--dry-run"], ["--yes"]):
        code, _, err = ask("prune-attempts", "--older-than", "0", *more)
        assert (code, "No range is old enough" in err) == (0, True)
    assert len(rows_of(database, attempts)) == 1
    code, out, err = ask("prune-attempts", "--older-than", "0", "--dry-run", "--json")
    assert (code, json.loads(out)) == (0, [])


def test_what_keeps_tries_is_named(database: Database, clock: FakeClock, ask: Ask) -> None:
    """A dead letter keeps its tries, and the command says whose it is."""
    make_old(database, clock, "one", state="dead")
    assert uid("one") in ask("prune-attempts", "--dry-run", "--json")[1]
    code, out, err = ask("prune-attempts", "--yes")
    assert (code, "0 tries removed" in out, "1 ranges are kept" in err) == (0, True, True)


def test_events_are_shown_and_removed_and_the_rest_verified(database: Database, ask: Ask) -> None:
    """Old events go; `audit verify` says where the trail begins and that the rest is whole."""
    old = [AuditEvent(Action.VIEWED, START, "rita", reason=str(n)) for n in range(4)]
    record_and_seal(database, *old)
    assert ask("audit", "verify")[0] == 0  # the reading is an event of today
    code, out, _ = ask("prune-audit", "--dry-run", "--json")
    [found] = json.loads(out)
    assert (found["first"], found["last"], found["events"], found["kept_by"]) == (1, 4, 4, "")
    assert "4 events of the audit trail would go" in ask("prune-audit", "--dry-run")[1]
    assert json.loads(ask("prune-audit", "--yes", "--json")[1]) == {"events": 4, "ranges_kept": 0}
    assert [row.action for row in rows_of(database, audit_events)][-1] == "audit_removed"
    code, out, _ = ask("audit", "verify", "--seal", f"1:{'0' * 64}")
    assert code == 0
    assert "Begins behind event 4" in out
    assert "1 of the seals" in out
    assert "none changed" in out
    assert json.loads(ask("audit", "verify", "--json")[1])["begin"]["seal"]["position"] == 4
    assert ask("prune-audit", "--yes")[1].startswith("0 events")


def test_a_broken_trail_is_named_and_kept(database: Database, ask: Ask) -> None:
    """What somebody changed stays, and the command says so."""
    record_and_seal(database, *(AuditEvent(Action.VIEWED, START, "rita") for _ in range(3)))
    record_and_seal(database, AuditEvent(Action.STARTED, START, "worker"))
    with database.write() as connection:
        connection.exec_driver_sql("UPDATE audit_events SET actor = 'nobody' WHERE position = 1")
    assert "broken at event 1" in ask("prune-audit", "--dry-run", "--json")[1]
    code, out, err = ask("prune-audit", "--yes")
    assert (code, "0 events" in out, "1 ranges are kept" in err) == (0, True, True)


def test_a_site_removes_by_its_own_rules(tmp_path: Path, migrated_database_url: str) -> None:
    """Each setting of its own lets serve and worker look; without any, nobody does."""
    wanted = {"attempts_days": 30, "audit_days": 400}
    with worked_site(tmp_path, migrated_database_url, retention=wanted) as site:
        removals = Working(site.app).scheduled_removals()
        assert {name: one.days for name, one in removals.items()} == {
            "prune-attempts": 30,
            "prune-audit": 400,
        }
        assert [one.remove_some() for one in removals.values()] == [0, 0]
