"""Tokens with which programs come: what opens, what does not, and what is recorded of it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from intu_fhir.db.session import Database
from intu_fhir.db.tables import api_tokens, audit_events
from intu_fhir.db.tokens import list_tokens, revoke_token
from intu_fhir.web.access.attempts import FREE
from intu_fhir.web.access.roles import Role
from intu_fhir.web.access.tokens import new_token
from tests.support.clock import FakeClock
from tests.support.web import Served, give_token, log_in, serving, write_people

WHERE = "/studies"


@pytest.fixture
def served(tmp_path: Path, database: Database, clock: FakeClock) -> Iterator[Served]:
    """A page that people have to log in to, on a clock of the test's own."""
    people = write_people(tmp_path / "people")
    ehr = {"type": "fhir", "base_url": "http://127.0.0.1:1/fhir"}
    web = {"users_file": str(people)}
    with serving(tmp_path, database.url, web=web, destinations={"ehr_fhir": ehr}) as page:
        page.page.site.clock = clock
        yield page


def _asked(served: Served, headers: dict[str, str], path: str = WHERE) -> int:
    with served.client() as client:
        return client.get(path, headers=headers).status_code


def _recorded(served: Served) -> list[tuple[str, str, str, str]]:
    c = audit_events.c
    wanted = sa.select(c.action, c.outcome, c.actor, c.reason).order_by(c.audit_event_key)
    with served.page.site.database.read() as connection:
        return [(a, b, d, e) for a, b, d, e in connection.execute(wanted)]


def test_a_token_opens_what_its_role_may(served: Served) -> None:
    """With a viewer's token pages open, what needs more is 403, and there is no cookie."""
    headers = give_token(served, "dashboard", Role.VIEWER)
    with served.client() as client:
        answer = client.get(WHERE, headers=headers)
        assert answer.status_code == 200
        assert "set-cookie" not in answer.headers
        assert client.get("/audit", headers=headers).status_code == 403
        assert client.post("/destinations/ehr_fhir/pause", headers=headers).status_code == 403
    administrator = give_token(served, "lead", Role.ADMINISTRATOR)
    assert _asked(served, administrator, "/audit") == 200


def test_a_token_needs_no_token_of_a_form(served: Served) -> None:
    """A program changes something by its token alone; a page elsewhere can not send one."""
    headers = give_token(served, "night-job", Role.OPERATOR)
    with served.client() as client:
        path = "/destinations/ehr_fhir/pause"
        assert client.post(path, headers=headers, data={"reason": "x"}).status_code == 303
        foreign = {**headers, "origin": "https://elsewhere.example"}
        assert client.post(path, headers=foreign).status_code == 403
    assert ("paused", "success", "token:night-job", "x") in _recorded(served)


def test_only_the_hash_is_kept(served: Served) -> None:
    """Nothing in the row of a token lets one come as it."""
    token = give_token(served, "dashboard", Role.VIEWER)["authorization"].partition(" ")[2]
    with served.page.site.database.read() as connection:
        row = connection.execute(sa.select(api_tokens)).one()
    assert token not in str(row)
    assert _asked(served, {"authorization": f"Bearer {row.sha256}"}) == 401


def test_what_is_no_token_opens_nothing(served: Served) -> None:
    """Whatever stands after Bearer: 401 with the challenge of RFC 6750, never a failure."""
    values = ["Bearer", "Bearer intu_", "bearer x y", f"Bearer {'x' * 20_000}", "Bearer \xff"]
    assert len(values) <= FREE
    with served.client() as client:
        for value in values:
            answer = client.get(WHERE, headers={"authorization": value.encode("latin-1")})
            assert answer.status_code == 401, value[:20]
            assert answer.headers["www-authenticate"].startswith("Bearer")


def test_two_tokens_in_one_request_open_nothing(served: Served) -> None:
    """A second header, which somebody put beside the first, is no way in."""
    good = give_token(served, "dashboard", Role.VIEWER)["authorization"]
    with served.client() as client:
        headers = [("authorization", "Bearer nothing"), ("authorization", good)]
        assert client.get(WHERE, headers=headers).status_code == 401


def test_a_wrong_token_is_not_helped_by_a_session(served: Served) -> None:
    """A request with a token is judged by it alone, whoever is logged in beside it."""
    with served.logged_in(Role.ADMINISTRATOR) as client:
        answer = client.get(WHERE, headers={"authorization": f"Bearer {new_token()}"})
    assert answer.status_code == 401


def test_another_scheme_is_none_of_ours(served: Served) -> None:
    """The password that a proxy in front asked for does not stand in the way of a session."""
    with served.logged_in(Role.VIEWER) as client:
        assert client.get(WHERE, headers={"authorization": "Basic dTpw"}).status_code == 200


def test_a_revoked_token_is_out_at_once(served: Served, clock: FakeClock) -> None:
    """The next request after revoking is 401, and the trail says who came and why not."""
    headers = give_token(served, "dashboard", Role.VIEWER)
    assert _asked(served, headers) == 200
    with served.page.site.database.write() as connection:
        assert revoke_token(connection, "dashboard", by="anna", now=clock.now())
        assert not revoke_token(connection, "dashboard", by="anna", now=clock.now())
    assert _asked(served, headers) == 401
    rows = _recorded(served)
    assert rows[0] == ("granted", "success", "tests", "token dashboard as viewer")
    assert ("revoked", "success", "anna", "token dashboard") in rows
    assert rows[-1] == ("signed_in", "minor", "token:dashboard", "token: revoked")
    give_token(served, "dashboard", Role.VIEWER)  # the name is free again


def test_a_token_ends_by_itself(served: Served, clock: FakeClock) -> None:
    """At the moment it expires it opens nothing any more."""
    ends = clock.now() + timedelta(days=1)
    headers = give_token(served, "dashboard", Role.VIEWER, ends=ends)
    clock.advance(86_399)
    assert _asked(served, headers) == 200
    clock.advance(1)
    assert _asked(served, headers) == 401


def test_the_last_use_is_noted_to_the_minute(served: Served, clock: FakeClock) -> None:
    """A token remembers when it was used, and writes so at most once a minute."""
    headers = give_token(served, "dashboard", Role.VIEWER)
    used = []
    for seconds in (0, 59, 1):
        clock.advance(seconds)
        assert _asked(served, headers) == 200
        with served.page.site.database.read() as connection:
            used += [row.last_used_at for row in list_tokens(connection, revoked=False, limit=9)]
    assert used == [used[0], used[0], clock.now()]


def test_wrong_tokens_are_slowed_down(served: Served, clock: FakeClock) -> None:
    """After some failures an address waits, with 429 and Retry-After; a known token does not."""
    known = give_token(served, "dashboard", Role.VIEWER)
    assert _asked(served, known) == 200
    with served.client() as client:
        for _ in range(FREE):
            wrong = {"authorization": f"Bearer {new_token()}"}
            assert client.get(WHERE, headers=wrong).status_code == 401
        wrong = {"authorization": f"Bearer {new_token()}"}
        answer = client.get(WHERE, headers=wrong)
        assert answer.status_code == 429
        assert int(answer.headers["retry-after"]) >= 1
        assert client.get(WHERE, headers=known).status_code == 200
        fresh = give_token(served, "fresh", Role.VIEWER)
        assert client.get(WHERE, headers=fresh).status_code == 429
        # A person's login from the same address is another matter.
        assert log_in(client, "viewer", "correct horse viewer").status_code == 303
    clock.advance(60)
    assert _asked(served, fresh) == 200
    failures = [row for row in _recorded(served) if row[1] == "minor"]
    assert len(failures) == FREE, "what was not looked at is not recorded"
