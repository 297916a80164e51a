"""`intu-fhir tokens`: shown once, listed, revoked."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from intu_fhir.cli.main import run
from intu_fhir.db.session import Database
from intu_fhir.db.tokens import find_token
from intu_fhir.web.access.tokens import hash_of

Ask = Callable[..., tuple[int, str, str]]


@pytest.fixture
def ask(database: Database, tmp_path: Path, capsysbinary: pytest.CaptureFixture[bytes]) -> Ask:
    """Give a function that runs ``intu-fhir tokens``."""
    (tmp_path / "intu.yaml").write_text(
        f"database: {json.dumps(database.url)}\n"
        "identifiers: {patient: {default: urn:oid:1.2}}\n"
    )

    def run_it(*arguments: str) -> tuple[int, str, str]:
        code = run(["--config", str(tmp_path), "tokens", *arguments])
        out, err = capsysbinary.readouterr()
        return code, out.decode(), err.decode()

    return run_it


def test_a_token_is_shown_once(ask: Ask, database: Database) -> None:
    """Standard output has the token and nothing else; no list shows it or its hash again."""
    code, out, err = ask("create", "dashboard", "--role", "operator", "--days", "90")
    token = out.strip()
    assert code == 0
    assert out == f"{token}\n"
    assert "not shown again" in err
    with database.read() as connection:
        row = find_token(connection, hash_of(token))
    assert row is not None
    assert (row.name, row.role) == ("dashboard", "operator")
    assert row.expires_at is not None
    assert (row.expires_at - row.created_at).days == 90
    for listed in (ask("list")[1], ask("list", "--json", "--revoked")[1]):
        assert "dashboard" in listed
        assert token not in listed
        assert hash_of(token) not in listed


def test_a_name_is_given_once(ask: Ask) -> None:
    """A second token of a name is refused until the first one is revoked."""
    assert ask("create", "job")[0] == 0
    code, out, err = ask("create", "job")
    assert (code, out) == (2, "")
    assert "revoke it first" in err
    assert ask("revoke", "job")[0] == 0
    assert ask("revoke", "job")[0] == 2
    assert ask("create", "job", "--days", "0")[0] == 0
    assert "never" in ask("list")[1]
    rows = json.loads(ask("list", "--revoked", "--json")[1])
    assert [row["revoked_at"] is None for row in rows] == [True, False]


@pytest.mark.parametrize("name", ["", " ", "a b", "x" * 65, "-x", "a:b", "ä", "a\n"])
def test_a_name_is_printable_and_short(ask: Ask, name: str) -> None:
    """What would not stand well in the audit trail is no name."""
    assert ask("create", "--", name)[0] == 2
