"""Every page as a person sees it: wide, narrow, light and dark, and what its buttons do."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from intu_fhir.db.tables import resources
from tests.browser.conftest import Looked
from tests.support.browser import Look, Watch, watch
from tests.support.studies import make_instance, make_study, uid
from tests.support.waiting import wait_until
from tests.support.web import Served

LOOKS: tuple[Look, ...] = ("light", "dark", "narrow")
PAGES = {
    "overview": "/",
    "grid": "/grid",
    "studies": "/studies",
    "study": f"/studies/{uid('good')}",
    "study-failed": f"/studies/{uid('refused-1')}",
    "study-held": f"/studies/{uid('nobody')}",
    "series": f"/studies/{uid('good')}/series/{uid('good', 1)}",
    "preview": f"/studies/{uid('good')}/preview?release=r5",
    "failures": "/failures",
    "review": "/review",
    "destinations": "/destinations",
    "sql": "/sql",
    "audit": "/audit",
    "not-found": "/studies/1.2.3",
}


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_readable_wide_and_narrow_light_and_dark(window: Watch, name: str) -> None:
    """No page is wider than its window, runs a foreign script, or breaks its own policy."""
    page = window.go(PAGES[name])
    expect(page.locator("h1, h2").first).to_be_visible()
    if name == "destinations":
        expect(page.locator(".good-text")).to_have_count(2, timeout=15_000)
    for look in LOOKS:
        window.picture(name, look)
    for here in page.locator("nav a[aria-current]").all():
        expect(here).to_be_in_viewport(ratio=0.9)


@pytest.mark.parametrize(
    "path", ["/", "/grid", "/studies", "/failures", "/review", "/destinations"]
)
def test_an_empty_site_says_what_to_do_next(browser: Browser, empty: Served, path: str) -> None:
    """Before the first image each page says what it waits for."""
    with watch(browser, empty.url) as window:
        page = window.go(path)
        expect(page.locator(".empty, .notice.good").first).to_be_visible()
        window.picture(f"empty{path.replace('/', '-').rstrip('-')}")


def test_a_page_renews_itself(window: Watch, looked: Looked) -> None:
    """A study that arrives stands on the overview and in the list without reload."""
    page = window.go("/studies")
    looked.running.send(make_study("late", PatientName="Late^Laura", PatientID="LATE"))
    expect(page.get_by_text("Late, Laura")).to_be_visible(timeout=20_000)
    assert page.evaluate("performance.getEntriesByType('navigation').length") == 1


def test_a_search_finds_a_study_and_opens_it(window: Watch) -> None:
    """Name, then Enter, then the link: the study opens, and no patient stands in the address."""
    page = window.go("/studies")
    page.keyboard.press("/")
    page.get_by_label("Name").fill("okafor")
    page.keyboard.press("Enter")
    expect(page.locator("tbody tr")).to_have_count(1)
    assert "okafor" not in page.url.lower()
    window.picture("search")
    page.get_by_role("link", name="Okafor, Chidi").click()
    expect(page.get_by_role("heading", name="Okafor, Chidi")).to_be_visible()


def test_the_keyboard_is_enough(window: Watch) -> None:
    """Pages, rows and the list of shortcuts are reached without a mouse; focus is visible."""
    page = window.go("/")
    page.keyboard.press("Tab")
    expect(page.locator(".skip")).to_be_focused()
    page.keyboard.press("g")
    page.keyboard.press("s")
    page.wait_for_url("**/studies")
    page.keyboard.press("j")
    page.keyboard.press("j")
    outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert outline != "none"
    page.keyboard.press("Enter")
    page.wait_for_url("**/studies/2.25.*")
    page.keyboard.press("?")
    expect(page.locator("#shortcuts")).to_be_visible()
    window.picture("shortcuts")


def test_a_colour_scheme_is_kept(window: Watch) -> None:
    """Who chooses dark finds every page dark, whatever the system says."""
    page = window.go("/")
    page.locator("[data-theme-button]").click(click_count=1)
    page.locator("[data-theme-button]").click(click_count=1)
    window.go("/grid")
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(14, 19, 24)"


def test_a_cell_of_the_grid_leads_to_its_study(window: Watch) -> None:
    """A red cell opens the deliveries of its study."""
    page = window.go("/grid")
    page.locator("a.cell.dead").first.click()
    page.wait_for_url("**/studies/2.25.*#deliveries")
    expect(page.get_by_text("HTTP 422").first).to_be_visible()


def test_two_versions_are_compared(window: Watch, looked: Looked) -> None:
    """The difference between the versions of a study can be read."""
    newest = max(row.resource_key for row in looked.running.rows(resources) if row.generation == 2)
    page = window.go(f"/studies/{uid('good')}/versions/{newest}")
    expect(page.locator("table.difference")).to_be_visible()
    for look in LOOKS:
        window.picture("version", look)


def test_a_hold_is_released(window: Watch, looked: Looked) -> None:
    """Who has read why a study is held lets it go, and what it kept back is sent."""
    two = [make_instance("two-patients"), make_instance("two-patients", number=2, PatientID="P9")]
    looked.running.send(two, calling="CT_SCANNER_1")
    address = f"/studies/{uid('two-patients')}"

    def is_held() -> bool:
        return window.go(address).get_by_text("patient_conflict").first.is_visible()

    wait_until(is_held, 20, "the hold")
    page = window.go("/review")
    row = page.locator("tr", has_text=uid("two-patients"))
    row.get_by_role("button", name="Release").click()
    expect(page.get_by_role("status")).to_contain_text("Released")
    window.go(address)
    sent = page.locator("tr", has_text="pacs").first
    expect(sent.locator(".state")).to_contain_text("delivered", timeout=20_000)


def test_a_selection_then_all_of_a_cause_are_replayed(window: Watch) -> None:
    """One chosen study, then all others of the cause: first a dry run, then progress to its end."""
    page = window.go("/failures")
    page.get_by_role("link", name="Look").first.click()
    expect(page.locator("tbody tr")).to_have_count(4)
    page.locator("tbody input[type=checkbox]").first.check()
    for look in LOOKS:
        window.picture("failure", look)
    page.get_by_role("button", name="Replay what is chosen").click()
    expect(page.get_by_text("1 delivery")).to_be_visible()
    for look in LOOKS:
        window.picture("replay", look)
    page.get_by_role("button", name="Do it").click()
    expect(page.get_by_text("All done")).to_be_visible(timeout=20_000)
    for look in LOOKS:
        window.picture("progress", look)
    window.go("/failures")
    page.get_by_role("button", name="Replay all 3").click()
    page.get_by_role("button", name="Do it").click()
    expect(page.get_by_text("All done")).to_be_visible(timeout=20_000)
    window.go("/failures")
    expect(page.get_by_text("Nothing fails")).to_be_visible()
    window.picture("failures-none")


def test_a_destination_is_paused_and_resumed(window: Watch) -> None:
    """Pausing asks why and shows it to everybody; one click resumes."""
    page = window.go("/destinations")
    card = page.locator("section#pacs")
    card.get_by_text("Pause …").click()
    card.get_by_label("Why").fill("new disks until ten")
    card.get_by_role("button", name="Pause").click()
    expect(page.locator("section#pacs")).to_contain_text("new disks until ten")
    window.picture("destinations-paused")
    page.locator("section#pacs").get_by_role("button", name="Resume").click()
    expect(page.get_by_role("status")).to_contain_text("Resumed")


def test_sql_is_run_and_downloaded(window: Watch) -> None:
    """A saved query opens and runs by Ctrl+Enter; CSV comes as a file, its formulas tame."""
    page = window.go("/sql")
    page.get_by_role("link", name="Studies by modality and day").click()
    page.locator("textarea").click()
    page.keyboard.press("Control+Enter")
    expect(page.locator(".result table")).to_be_visible()
    for look in LOOKS:
        window.picture("sql-result", look)
    page.locator("textarea").fill("SELECT patient_name FROM studies WHERE patient_id = 'X9'")
    with page.expect_download() as download:
        page.get_by_role("button", name="Download").click()
    rows = list(csv.reader(io.StringIO(Path(download.value.path()).read_text())))
    assert rows[0] == ["patient_name"]
    assert rows[1][0].startswith("'=")


def test_a_telephone_shows_sentences_from_the_left(window: Watch) -> None:
    """Words begin where the words above them do, and a study of the list needs few lines."""
    for name in ("studies", "review", "failures", "study-failed"):
        page = window.go(PAGES[name])
        window.picture(name, "narrow")
        sides = page.locator("table.cards td").evaluate_all(_SIDES)
        assert set(sides) <= {"start", "left"}, name
    window.go("/studies")
    heights = page.locator("table.studies tbody tr").evaluate_all(_HEIGHTS)
    assert sorted(heights)[len(heights) // 2] < 140, "a long name may take one more"


def test_fields_stand_on_one_line(window: Watch) -> None:
    """A field for a date is as high as one for a text, so that their names stand level."""
    page = window.go("/studies")
    fields = page.locator(".filters :is(input:not([type=hidden]), select)")
    assert len(set(fields.evaluate_all(_HEIGHTS))) == 1


_SIDES = "(cells) => cells.map((one) => getComputedStyle(one).textAlign)"
_HEIGHTS = "(all) => all.map((one) => one.getBoundingClientRect().height)"
_BROKEN = "(cells) => cells.filter((c) => c.clientHeight > 44).map((c) => c.innerText)"


def test_a_value_of_a_result_is_not_broken(window: Watch) -> None:
    """Words, UIDs and times stand whole, and a column of numbers is no wider than its name."""
    page = window.go("/sql")
    page.locator("textarea").fill("SELECT 'pacs_archive' AS destination, s.* FROM studies AS s")
    page.get_by_role("button", name="Run").click()
    result = page.locator(".result table")
    expect(result).to_be_visible()
    for look in LOOKS:
        window.picture("sql-whole", look)
        broken = (
            "(cells) => cells.filter((one) => one.clientHeight > 44).map((one) => one.innerText)"
        )
        assert result.locator("td:not(.long)").evaluate_all(broken) == []
    page.set_viewport_size({"width": 1280, "height": 900})
    page.locator("textarea").fill("SELECT 'MR' AS modality, NULL AS dose, 1 AS images")
    page.get_by_role("button", name="Run").click()
    expect(result.locator("td")).to_have_count(3)
    widths = result.locator("td").evaluate_all("(cells) => cells.map((one) => one.clientWidth)")
    assert max(widths) < 120


def test_sql_that_is_wrong_is_explained(window: Watch) -> None:
    """A mistake keeps what was written and says what the database says."""
    page = window.go("/sql")
    page.locator("textarea").fill("SELECT uid FROM nowhere")
    page.get_by_role("button", name="Run").click()
    expect(page.get_by_role("alert")).to_contain_text("nowhere")
    expect(page.locator("textarea")).to_have_value("SELECT uid FROM nowhere")
    window.picture("sql-wrong")


def test_no_text_of_an_image_becomes_anything_else(window: Watch, looked: Looked) -> None:
    """W-03: hostile texts stand on every page as text: no dialog, no report of the policy."""
    hostile = [row for row in looked.running.studies() if row.patient_id.startswith("X")]
    assert len(hostile) == 12
    for row in hostile:
        page = window.go(f"/studies/{row.study_instance_uid}")
        series = page.locator("#series + div a").first.get_attribute("href")
        window.go(series or "")
        window.go(f"/studies/{row.study_instance_uid}/preview")
        assert page.locator("iframe, object, embed, body style, main script").count() == 0
    page = window.go("/sql")
    page.locator("textarea").fill("SELECT * FROM studies")
    page.get_by_role("button", name="Run").click()
    expect(page.locator(".result table")).to_be_visible()
    assert page.locator("main script, main iframe").count() == 0
