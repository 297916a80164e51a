"""``intu-fhir destinations retire``, and what ``check`` says before."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from intu_fhir.cli.main import run
from intu_fhir.db.session import Database
from tests.support.seeded import stage

Ask = Callable[..., tuple[int, str, str]]
SITE = "destinations: {new: {type: dicom, host: 127.0.0.1, port: 4, called_ae_title: NEW}}\n"


@pytest.fixture
def ask(database: Database, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Ask:
    """Give a function that runs a command at a site whose old PACS has left something open."""
    (tmp_path / "intu.yaml").write_text(f"database: {json.dumps(database.url)}\n{SITE}")
    with database.write() as connection:
        stage(connection, "one", deliveries={"old": "dead", "new": "waiting"})
        stage(connection, "two", deliveries={"old": "delivered"})

    def run_it(*arguments: str) -> tuple[int, str, str]:
        code = run([*arguments, "--config", str(tmp_path)])
        return code, *capsys.readouterr()

    return run_it


RETIRE = ("destinations", "retire")


def test_a_destination_is_taken_out_of_service(ask: Ask) -> None:
    """What it lacks is left out with the reason, and it is listed no more."""
    code, out, _ = ask(*RETIRE, "old", "--yes", "--by", "jo", "--reason", "replaced by new")
    assert (code, out) == (0, "old is out of service; 1 study left out\n")
    listed = json.loads(ask("deliveries", "--all", "--destination", "old", "--json")[1])
    assert sorted((one["state"], one["reason"]) for one in listed) == [
        ("delivered", ""),
        ("filtered", "taken out of service by jo: replaced by new"),
    ]
    assert "old" not in ask("destinations")[1]
    assert "replaced by new" in ask("audit", "list", "--action", "retired")[1]


@pytest.mark.parametrize(
    ("name", "says"), [("new", "new is configured; remove it"), ("odl", "there are: new, old")]
)
def test_one_in_service_is_refused(ask: Ask, name: str, says: str) -> None:
    """A destination that is configured, or that nothing knows, is left as it is."""
    code, _, err = ask(*RETIRE, name, "--yes")
    assert code == 2
    assert says in err


def test_it_asks_first(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without --yes and nobody to answer nothing is changed."""
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    code, _, err = ask(*RETIRE, "old")
    assert code == 2
    assert "say --yes" in err
    assert "old" in ask("destinations")[1]


def _looked_at(ask: Ask) -> list[tuple[str, bool, str]]:
    rows = json.loads(ask("check", "--offline", "--json")[1])
    return [
        (one["subject"], one["ok"], one["detail"]) for one in rows if one["what"] == "destination"
    ]


def test_check_tells_what_waits_for_one_that_is_gone(ask: Ask) -> None:
    """A destination that is not configured and lacks studies is named, until it is retired."""
    assert _looked_at(ask) == [("old", True, "not configured, and lacks 1 study")]
    assert ask(*RETIRE, "old", "--yes")[0] == 0
    assert _looked_at(ask) == []
