"""Pages that renew themselves: nothing that somebody does is lost, and nothing old looks new."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, Response, Route, expect

from intu_fhir.web.access.roles import Role
from tests.support.browser import Watch, watch
from tests.support.databases import sqlite_url
from tests.support.seeded import stage
from tests.support.studies import uid
from tests.support.web import PASSWORDS, Served, serving, write_people

RENEWALS = 3
"""So many renewals, of three seconds each, have to leave alone what somebody does."""


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A page that people log in to, with two destinations and some studies."""
    folder = tmp_path_factory.mktemp("live")
    people = write_people(folder / "people")
    fhir = {"type": "fhir", "base_url": "http://127.0.0.1:9/fhir"}
    url = sqlite_url(folder / "staging.db")
    options = {"web": {"users_file": str(people)}, "destinations": {"ehr": fhir, "second": fhir}}
    with serving(folder, url, **options) as one:
        with one.app.database.write() as connection:
            for number in range(8):
                stage(connection, f"s{number}", deliveries={"ehr": "delivered"})
        yield one


@pytest.fixture
def window(browser: Browser, served: Served) -> Iterator[Watch]:
    """A window of somebody who operates the site."""
    with watch(browser, served.url) as one:
        log_in(one)
        yield one


def log_in(window: Watch, role: Role = Role.OPERATOR) -> None:
    """Fill in the login."""
    page = window.go("/login")
    _fill_in(page, role)
    expect(page.get_by_role("heading", name="Overview")).to_be_visible()


def _fill_in(page: Page, role: Role) -> None:
    page.get_by_label("Name").fill(role.word)
    page.get_by_label("Password").fill(PASSWORDS[role])
    page.get_by_role("button", name="Log in").click()


def _is_renewal(answer: Response) -> bool:
    return "x-fragment" in answer.request.headers


def _renewals(page: Page, number: int = RENEWALS) -> None:
    """Wait until the page has asked so often for its newest content, and has shown it."""
    for _ in range(number):
        with page.expect_response(_is_renewal) as answer:
            pass
        answer.value.finished()
    page.evaluate("new Promise((done) => setTimeout(done, 50))")


def test_a_typed_text_outlives_renewals(window: Watch) -> None:
    """A reason stays in its field, and focus on the button, while the page renews itself."""
    page = window.go("/destinations")
    page.locator("#pause-second summary").focus()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    page.keyboard.type("new disks until ten")
    page.keyboard.press("Tab")
    _renewals(page)
    expect(page.locator("#pause-second button")).to_be_focused()
    page.evaluate("document.activeElement.blur()")
    _renewals(page, 1)
    expect(page.locator("#pause-second input[name=reason]")).to_have_value("new disks until ten")
    expect(page.locator("[data-live-state]")).to_contain_text("kept as it is while you use it")


def test_focus_outlives_renewals(window: Watch) -> None:
    """Who has come to an opener or a link by the keyboard stays there."""
    page = window.go("/destinations")
    opener = page.locator("#pause-ehr summary")
    opener.focus()
    _renewals(page)
    expect(opener).to_be_focused()
    link = page.locator("#ehr dd a").first
    link.focus()
    _renewals(page)
    expect(link).to_be_focused()
    expect(page.locator("[data-live-state]")).to_contain_text("live, every 3 s")


def test_what_is_selected_to_be_copied_stays(window: Watch) -> None:
    """Marked text stays marked."""
    page = window.go("/destinations")
    page.locator("#ehr p").first.select_text()
    _renewals(page)
    assert "127.0.0.1:9" in page.evaluate("getSelection().toString()")


def test_a_table_stays_where_it_was_moved_to(window: Watch) -> None:
    """On a narrow screen a table that was moved sideways is still there after renewals."""
    page = window.go(f"/studies/{uid('s1')}")
    page.set_viewport_size({"width": 240, "height": 900})
    table = page.locator("#series + .scroll")
    table.evaluate("(one) => { one.scrollTo(60, 0); one.isOld = true; }")
    assert table.evaluate("(one) => one.scrollLeft") == 60
    _renewals(page, 2)
    assert not table.evaluate("(one) => one.isOld")
    assert table.evaluate("(one) => one.scrollLeft") == 60


def test_an_answer_that_never_comes_is_told(window: Watch) -> None:
    """Where the server hangs the page says at its top from when it is, and again when it lives."""
    page = window.go("/destinations")
    hung: list[Route] = []

    def hang(route: Route) -> None:
        hung.append(route)

    page.route("**/destinations", hang)
    notice = page.locator("[data-stale]")
    expect(notice).to_be_visible(timeout=20_000)
    expect(notice).to_contain_text("does not answer. What stands here is from ")
    expect(page.locator("[data-live-state]")).to_contain_text("not live")
    window.picture("stale")
    assert hung
    page.unroute("**/destinations")
    expect(notice).to_be_hidden(timeout=20_000)
    expect(page.locator("[data-live-state]")).to_contain_text("live, every 3 s")


def test_a_session_that_has_ended_leads_to_the_login(window: Watch) -> None:
    """Who has logged out elsewhere is told, with the time of what stands there, and can log in."""
    page = window.go("/destinations")
    other = page.context.new_page()
    other.goto(window.url)
    other.get_by_role("button", name="Log out").click()
    expect(other.get_by_label("Password")).to_be_visible()
    notice = page.locator("[data-stale]")
    expect(notice).to_contain_text("Your session has ended", timeout=20_000)
    expect(page.locator("#ehr")).to_be_visible()
    for look in ("light", "narrow"):
        window.picture("session-ended", look)
    notice.get_by_role("link", name="Log in").click()
    _fill_in(page, Role.OPERATOR)
    page.wait_for_url("**/destinations")


def test_what_is_being_asked_for_is_shown_soon(browser: Browser, tmp_path: Path) -> None:
    """A destination that is slow to answer stands as being asked for no longer than it is."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        base_url = f"http://127.0.0.1:{silent.getsockname()[1]}/fhir"
        options = {"destinations": {"ehr": {"type": "fhir", "base_url": base_url}}}
        with (
            serving(tmp_path, sqlite_url(tmp_path / "s.db"), **options) as served,
            watch(browser, served.url) as window,
        ):
            page = window.go("/destinations")
            expect(page.locator("[data-soon]")).to_be_visible()
            with page.expect_request(lambda one: "x-fragment" in one.headers, timeout=2_000):
                pass
