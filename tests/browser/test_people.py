"""Pages as people of each role find them, and pages about what is gone or down."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest
from playwright.sync_api import Browser, expect

from intu_fhir.db.destinations import pause, remember
from intu_fhir.db.tables import destination_states
from intu_fhir.web.access.roles import Role
from tests.browser.test_live import log_in
from tests.support.browser import Look, watch
from tests.support.databases import sqlite_url
from tests.support.seeded import stage
from tests.support.studies import uid
from tests.support.web import Served, serving, write_people

LOOKS: tuple[Look, ...] = ("light", "dark", "narrow")


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A page that people log in to: one destination is paused, one down, and one study failed."""
    folder = tmp_path_factory.mktemp("people")
    people = write_people(folder / "people")
    fhir = {"type": "fhir", "base_url": "http://127.0.0.1:9/fhir"}
    options = {"web": {"users_file": str(people)}, "destinations": {"ehr": fhir, "archive": fhir}}
    with serving(folder, sqlite_url(folder / "staging.db"), **options) as one:
        now = one.page.site.clock.now()
        with one.app.database.write() as connection:
            stage(connection, "one", deliveries={"ehr": "retrying", "archive": "waiting"})
            stage(connection, "two", deliveries={"ehr": "dead"})
            pause(connection, "archive", by="anna", reason="new disks until ten", now=now)
            remember(connection, "ehr", now)
            down = destination_states.c.destination == "ehr"
            connection.execute(
                destination_states.update()
                .where(down)
                .values(
                    breaker="open",
                    silences=5,
                    opened_at=now - timedelta(minutes=20),
                    next_probe_at=now + timedelta(minutes=10),
                    last_error="no connection (refused); see that it runs",
                )
            )
        yield one


def test_a_pause_and_an_outage_stand_on_the_overview(browser: Browser, served: Served) -> None:
    """It is said who paused what and why, and what does not answer; each leads to its place."""
    with watch(browser, served.url) as window:
        log_in(window)
        stuck = window.page.locator(".stuck")
        expect(stuck).to_contain_text("archive is paused by anna: new disks until ten")
        expect(stuck).to_contain_text("Nothing gets to ehr")
        expect(stuck).not_to_contain_text("nobody takes it")
        for look in LOOKS:
            window.picture("overview-down", look)
        stuck.get_by_role("link", name="Resume").click()
        window.page.wait_for_url("**/destinations#archive")
        for look in LOOKS:
            window.picture("destinations-down", look)


def test_a_viewer_looks_and_changes_nothing(browser: Browser, served: Served) -> None:
    """Whoever may only look finds no button that does anything, and no page of administrators."""
    with watch(browser, served.url) as window:
        window.go("/login")
        window.picture("login")
        window.picture("login", "narrow")
        log_in(window, Role.VIEWER)
        page = window.page
        for path in ("/", "/failures", "/destinations", "/review", f"/studies/{uid('two')}"):
            window.go(path)
            expect(page.locator("main h1")).to_be_visible()
            assert page.locator("main form[method=post] button").count() == 0, path
        window.picture("study-viewer")
        expect(page.get_by_role("link", name="Audit")).to_have_count(0)
        page.get_by_role("button", name="Log out").click()
        expect(page.get_by_label("Password")).to_be_visible()
        window.go("/failures")
        page.wait_for_url("**/login?next=/failures")


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("/failures/0123456789abcdef0123", "Nothing fails for that cause any more"),
        ("/replays/12345", "no longer watched"),
    ],
)
def test_what_is_gone_says_where_to_go(
    browser: Browser, served: Served, path: str, text: str
) -> None:
    """A cause that is mended and a replay that nobody watches any more lead on."""
    with watch(browser, served.url) as window:
        log_in(window)
        page = window.go(path)
        expect(page.get_by_role("heading", name=text)).to_be_visible()
        for look in LOOKS:
            window.picture(path.split("/")[1] + "-gone", look)
        page.get_by_role("main").get_by_role("link").first.click()
        page.wait_for_url("**/failures")
