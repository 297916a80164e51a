"""Failures by cause, and replays that say who, why and how fast."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from intu_fhir.cli.main import run
from intu_fhir.db.tables import audit_events, deliveries
from intu_fhir.demo.ehr import Fault
from tests.support.running import Running, running_site
from tests.support.studies import make_instance
from tests.support.waiting import wait_until

STUDIES = 4


@pytest.fixture
def failed(tmp_path: Path, migrated_database_url: str) -> Iterator[Running]:
    """A site of which the EHR has refused four studies for the same reason."""
    with running_site(tmp_path, migrated_database_url) as running:
        running.ehr.fail_next(*[Fault(status=422)] * STUDIES)
        for number in range(STUDIES):
            running.send([make_instance(f"study {number}")])
        wait_until(lambda: _states(running, "ehr") == ["dead"] * STUDIES)
        yield running


def _rows(running: Running, destination: str) -> list[Any]:
    return [row for row in running.rows(deliveries) if row.destination == destination]


def _states(running: Running, destination: str) -> list[str]:
    return [row.state for row in _rows(running, destination)]


def _ask(running: Running, capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    capsys.readouterr()
    code = run([arguments[0], "--config", str(running.folder), *arguments[1:]])
    # The site runs in this process, and its log stands between the lines.
    lines = capsys.readouterr().out.splitlines()
    return code, "\n".join(line for line in lines if not line.startswith("20"))


def test_what_fails_for_one_reason_is_one_line(
    failed: Running, capsys: pytest.CaptureFixture[str]
) -> None:
    """Four dead letters with one cause are told once, with its remedy and how to replay them."""
    code, out = _ask(failed, capsys, "deliveries", "--by-cause", "--json")
    [cause] = json.loads(out)
    assert (code, cause["destination"], cause["dead"], cause["retrying"]) == (0, "ehr", 4, 0)
    assert cause["cause"].startswith("HTTP 422")
    assert "as the script says" in cause["example"]
    assert "replay" in cause["remedy"]
    assert cause["since"] <= cause["newest"]
    text = _ask(failed, capsys, "deliveries", "--by-cause")[1]
    assert text.count("HTTP 422") == 2  # the cause, and one of them as an example


def test_a_replay_by_cause_is_recorded_with_who_and_why(
    failed: Running, capsys: pytest.CaptureFixture[str]
) -> None:
    """All of a cause are put back and delivered once; the audit trail has one line of it."""
    cause = json.loads(_ask(failed, capsys, "deliveries", "--by-cause", "--json")[1])[0]["cause"]
    options = ["--cause", cause, "--by", "jo", "--reason", "profile was mended", "--wait"]
    code, out = _ask(failed, capsys, "replay", *options)
    assert code == 0
    assert "4 deliveries put back." in out
    assert "4 delivered" in out
    assert len(failed.imaging_studies()) == STUDIES
    [event] = [row for row in failed.rows(audit_events) if row.action == "replayed"]
    assert (event.actor, event.objects, event.reason) == ("jo", 4, "profile was mended")
    assert event.position is not None


def test_a_dry_run_records_and_changes_nothing(
    failed: Running, capsys: pytest.CaptureFixture[str]
) -> None:
    """A dry run leaves queue and audit trail as they are."""
    out = _ask(failed, capsys, "replay", "--all", "--dry-run", "--by", "jo")[1]
    assert "4 deliveries would be put back" in out
    assert _states(failed, "ehr") == ["dead"] * STUDIES
    assert [row for row in failed.rows(audit_events) if row.action == "replayed"] == []


def test_a_pace_spreads_what_becomes_due(
    failed: Running, capsys: pytest.CaptureFixture[str]
) -> None:
    """With --per-minute 12 one becomes due every five seconds, the first at once."""
    failed.site.stop()
    assert _ask(failed, capsys, "replay", "--all", "--per-minute", "12")[0] == 0
    due = sorted(row.due_at for row in _rows(failed, "ehr"))
    steps = [later - earlier for earlier, later in pairwise(due)]
    assert steps == [timedelta(seconds=5)] * (STUDIES - 1)


def test_a_rebuild_is_recorded_too(failed: Running, capsys: pytest.CaptureFixture[str]) -> None:
    """Building again after a change of the mapping names who asked."""
    assert _ask(failed, capsys, "replay", "--all", "--rebuild", "--by", "jo")[0] == 0
    [event] = [row for row in failed.rows(audit_events) if row.action == "rebuilt"]
    assert (event.actor, event.objects) == ("jo", STUDIES)
    code, _ = _ask(failed, capsys, "replay", "--all", "--rebuild", "--per-minute", "5")
    assert code == 2
