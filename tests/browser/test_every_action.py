"""Every button of every page is clicked: what the site says then, and what became of it."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import sqlalchemy as sa
from playwright.sync_api import Browser, Page, expect

from intu_fhir.db.studies import request_settling
from intu_fhir.db.tables import (
    audit_events,
    deliveries,
    destination_states,
    generations,
    holds,
    quarantine,
    resources,
)
from intu_fhir.demo.ehr import Fault
from intu_fhir.web import rendering
from intu_fhir.web.access.roles import Role
from intu_fhir.web.running import WebPage
from tests.browser.conftest import Looked
from tests.support.browser import Look, Watch, watch
from tests.support.databases import sqlite_url
from tests.support.identity import CLIENT, SECRET, identity_provider
from tests.support.ports import free_port
from tests.support.rows import rows_of
from tests.support.running import Running, running_site
from tests.support.seeded import stage
from tests.support.studies import make_instance, make_study, uid
from tests.support.waiting import wait_until
from tests.support.web import PASSWORDS, Served, serving, write_people

NIGHT: tuple[Look, ...] = ("narrow", "dark")
BAD_IMAGE = 0xC000
TEMPLATES = Path(rendering.__file__).parent / "templates"


@pytest.fixture(scope="module")
def acted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Looked]:
    """A running site in which nothing settles before somebody says so."""
    folder = tmp_path_factory.mktemp("acted")
    channel = {"settle": {"quiet_seconds": 3600, "on_release": False}}
    options: dict[str, Any] = {"web": {"port": free_port()}, "channel": channel}
    with running_site(folder, sqlite_url(folder / "staging.db"), **options) as running:
        page = WebPage(running.site.app)
        page.start()
        try:
            yield Looked(running, f"http://127.0.0.1:{page.server.port}")
        finally:
            page.stop()


@pytest.fixture
def window(browser: Browser, acted: Looked) -> Iterator[Watch]:
    """A window on the site."""
    with watch(browser, acted.url) as one:
        yield one


@pytest.fixture
def running(acted: Looked) -> Running:
    """The site itself, and its far sides."""
    return acted.running


@pytest.fixture(scope="module")
def good(acted: Looked) -> str:
    """The address of a study that every destination has."""
    return bring(acted.running, "good", PatientID="GOOD")


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A page with more studies, failures and images of one series than fit on a page of it."""
    folder = tmp_path_factory.mktemp("many-failures")
    fhir = {"type": "fhir", "base_url": "http://127.0.0.1:9/fhir"}
    options = {"destinations": {"ehr": fhir, "second": fhir}}
    with serving(folder, sqlite_url(folder / "staging.db"), **options) as one:
        with one.app.database.write() as connection:
            stage(connection, "large", instances=201, patient_id="LARGE")
            for number in range(110):
                failing = {"ehr": "dead", "second": "delivered"}
                stage(connection, f"s{number}", deliveries=failing, accession_number=f"N{number}")
        yield one


def bring(running: Running, name: str, *, state: str = "delivered", **attributes: Any) -> str:
    """Receive a study, let it settle, and wait for what becomes of it; return its address."""
    running.send(make_study(name, **attributes))
    return settle(running, name, state=state)


def settle(running: Running, name: str, *, generation: int = 1, state: str = "delivered") -> str:
    """Let a study settle once more and wait for what becomes of it; return its address."""
    app = running.site.app
    with app.database.write() as connection:
        assert request_settling(connection, uid(name), by="tests", now=app.clock.now())

    def is_there() -> bool:
        found = study_of(running, name)
        return found.generation == generation and found.state == state

    wait_until(is_there, 20, f"{name} {state}")
    return f"/studies/{uid(name)}"


def study_of(running: Running, name: str) -> Any:
    """Return a study with its state."""
    return next(row for row in running.studies() if row.study_instance_uid == uid(name))


def delivery_of(running: Running, name: str, destination: str) -> Any:
    """Return one delivery of a study."""
    key = study_of(running, name).study_key
    rows = running.rows(deliveries)
    return next(row for row in rows if (row.study_key, row.destination) == (key, destination))


def version_at_ehr(running: Running, name: str) -> str:
    """Return the version that the EHR has of a study, or nothing."""
    for resource in running.imaging_studies():
        if any(uid(name) in one.get("value", "") for one in resource["identifier"]):
            return str(resource["meta"]["versionId"])
    return ""


def got_by_pacs(running: Running, name: str) -> int:
    """Return how often the PACS has been sent an image of a study and took it."""
    ours = {one.sop_instance_uid for one in running.pacs.instances}
    ours &= {str(one.SOPInstanceUID) for one in make_study(name)}
    return sum(one in ours for one in running.pacs.received)


def trail(running: Running, name: str, action: str) -> list[Any]:
    """Return what the trail has of an action on a study."""
    return [
        row
        for row in running.rows(audit_events)
        if row.action == action and row.study_instance_uid == uid(name)
    ]


def confirm(page: Page) -> None:
    """Do what was asked, and see it to its end."""
    page.get_by_role("button", name="Do it").click()
    expect(page.get_by_text("All done")).to_be_visible(timeout=20_000)


def test_a_study_is_settled_now(window: Watch, running: Running) -> None:
    """Who knows that nothing more comes says so; the page shows the study go its way."""
    running.send(make_study("open"))
    page = window.go(f"/studies/{uid('open')}")
    expect(page.locator(".head .state")).to_contain_text("receiving")
    window.picture("study-receiving")
    window.picture("study-receiving", "narrow")
    page.get_by_role("button", name="Settle now").click()
    expect(page.locator(".said")).to_have_text("It is settled next.")
    expect(page.locator(".head .state")).to_contain_text("delivered", timeout=20_000)
    expect(page.get_by_role("button", name="Settle now")).to_have_count(0)
    key = study_of(running, "open").study_key
    evidence = [row.evidence for row in running.rows(generations) if row.study_key == key]
    assert evidence == ["operator"]
    assert len(trail(running, "open", "settled")) == 1
    assert version_at_ehr(running, "open") == "1"
    assert got_by_pacs(running, "open") == 6


def test_a_study_is_built_again(window: Watch, running: Running, good: str) -> None:
    """First nothing, for somebody who thinks better of it; then it is built, and not sent again."""
    page = window.go(good)
    page.get_by_role("button", name="Build again").click()
    expect(page.get_by_text("1 study will be built again")).to_be_visible()
    page.get_by_role("link", name="Do nothing").click()
    page.wait_for_url(f"**{good}")
    assert trail(running, "good", "rebuilt") == []
    before = [row.built_at for row in running.rows(resources)]
    page.get_by_role("button", name="Build again").click()
    confirm(page)
    assert len(trail(running, "good", "rebuilt")) == 1
    assert [row.built_at for row in running.rows(resources)] != before
    assert version_at_ehr(running, "good") == "1"
    page.get_by_role("link", name="Back to the study").click()
    page.wait_for_url(f"**{good}")


def test_a_delivered_study_is_sent_again(window: Watch, running: Running, good: str) -> None:
    """A PACS that lost its disks is sent every image once more, and the EHR nothing."""
    page = window.go(good)
    assert got_by_pacs(running, "good") == 6
    page.locator("tr", has_text="pacs").get_by_role("button", name="Send again").click()
    expect(page.get_by_text("1 delivery will be sent now")).to_be_visible()
    window.picture("send-again")
    confirm(page)
    assert got_by_pacs(running, "good") == 12
    assert version_at_ehr(running, "good") == "1"
    assert [row.objects for row in trail(running, "good", "replayed")] == [1]


def test_what_failed_of_a_study_is_replayed(window: Watch, running: Running) -> None:
    """One destination by its row, then all that failed; each gets what it had refused."""
    refused = str(make_instance("fails").SOPInstanceUID)
    running.pacs.answer_for(refused, BAD_IMAGE)
    running.ehr.fail_next(Fault(status=422))
    address = bring(running, "fails", state="failed")
    page = window.go(address)
    page.locator("tr", has_text="ehr").get_by_role("button", name="Replay").click()
    confirm(page)
    assert delivery_of(running, "fails", "ehr").state == "delivered"
    assert delivery_of(running, "fails", "pacs").state == "dead"
    assert version_at_ehr(running, "fails") == "1"
    window.go(address)
    page.get_by_role("button", name="Replay what failed").click()
    expect(page.get_by_text("Left alone")).to_be_visible()
    expect(page.locator("main")).not_to_contain_text("--")
    window.picture("replay-left-alone", "dark")
    page.get_by_role("button", name="Do it").click()
    expect(page.get_by_text("1 of them failed again")).to_be_visible(timeout=20_000)
    window.picture("progress-failed-again")
    window.picture("progress-failed-again", "narrow")
    running.pacs.answer_for(refused, 0)
    window.go(address)
    page.get_by_role("button", name="Replay what failed").click()
    confirm(page)
    assert delivery_of(running, "fails", "pacs").state == "delivered"
    assert got_by_pacs(running, "fails") == 6
    window.go(address)
    expect(page.get_by_role("button", name="Replay what failed")).to_have_count(0)


def test_a_hold_is_released_where_the_study_is(window: Watch, running: Running) -> None:
    """Released on the page of its study; who did stands in the ledger, and it is sent."""
    running.send([make_instance("two"), make_instance("two", number=2, PatientID="P9")])
    page = window.go(settle(running, "two", state="held"))
    page.get_by_role("button", name="Release").click()
    expect(page.locator(".said")).to_contain_text("Released")
    expect(page.locator(".head .state")).to_contain_text("delivered", timeout=20_000)
    key = study_of(running, "two").study_key
    released = [row.released_by for row in running.rows(holds) if row.study_key == key]
    assert released == [trail(running, "two", "released")[0].actor]
    assert released[0]
    assert version_at_ehr(running, "two") == "1"


def test_a_hold_leads_to_its_findings(window: Watch, running: Running) -> None:
    """What was built wrong is read on the page of its study, where it can be built again."""
    running.send([make_instance("unnamed", PatientID=None, PatientName=None)])
    settle(running, "unnamed", state="held")
    page = window.go("/review")
    page.locator("tr", has_text=uid("unnamed")).get_by_role("link", name="Findings").click()
    expect(page).to_have_url(re.compile("#findings$"))
    expect(page.locator("#findings")).to_be_in_viewport()
    expect(page.get_by_role("button", name="Build again")).to_be_visible()


def test_two_versions_of_ones_choice_are_compared(window: Watch, running: Running) -> None:
    """The first of three versions is chosen to compare the last one with."""
    address = bring(running, "versions", series=1, instances=1)
    for number in (2, 3):
        running.send([make_instance("versions", number=number)])
        settle(running, "versions", generation=number)
    page = window.go(address)
    page.get_by_role("link", name="generation 3").click()
    expect(page.locator("table.difference")).to_contain_text("Generation 2")
    page.get_by_label("Compare with").select_option(index=1)
    page.get_by_role("button", name="Compare").click()
    expect(page.get_by_role("heading", name="Generation 3")).to_be_visible()
    table = page.locator("table.difference")
    expect(table).to_contain_text("Generation 1")
    counted = table.locator("tr", has_text="numberOfInstances").first
    expect(counted.locator(".was")).to_have_text("1")
    expect(counted.locator(".is")).to_have_text("3")
    window.picture("compare", "narrow")


def test_another_mapping_and_release_are_previewed(
    window: Watch, running: Running, good: str
) -> None:
    """A mapping beside the channel shows what it would change; one with a mistake says which."""
    file = running.folder / "channels" / "radiology" / "ours.yaml"
    file.write_text("extends: shipped\nversion: ours-1\nstudy:\n  description: leave_out\n")
    page = window.go(good)
    page.get_by_role("link", name="Preview").click()
    page.get_by_label("Mapping").select_option("radiology: ours.yaml")
    page.get_by_role("button", name="Preview").click()
    expect(page.get_by_text("by ours-1")).to_be_visible()
    removed = page.locator("table.difference tr.removed")
    expect(removed).to_contain_text("description")
    expect(removed.locator(".was")).to_contain_text("Thorax")
    window.picture("preview-mapping", "dark")
    window.picture("preview-mapping", "narrow")
    page.get_by_label("FHIR release").select_option("R5")
    page.get_by_role("button", name="Preview").click()
    expect(page.get_by_label("Mapping")).to_have_value("radiology: ours.yaml")
    expect(page.get_by_text("Nothing was built of it for R5 yet")).to_be_visible()
    file.write_text("extends: shipped\nversion: ours-1\nstudy:\n  nonsense: leave_out\n")
    page.get_by_role("button", name="Preview").click()
    expect(page.get_by_role("alert")).to_contain_text("nonsense")
    window.picture("preview-wrong", "narrow")
    assert version_at_ehr(running, "good") == "1", "a preview sends nothing"


def test_a_uid_is_copied(window: Watch, good: str) -> None:
    """The UID is in the clipboard; a browser that lends none marks it to be copied by hand."""
    page = window.go(good)
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.get_by_role("button", name="copy").click()
    expect(page.get_by_role("button", name="copied")).to_be_visible()
    assert page.evaluate("navigator.clipboard.readText()") == uid("good")
    page.add_init_script("Object.defineProperty(navigator, 'clipboard', {value: undefined})")
    window.go(good)
    page.get_by_role("button", name="copy").click()
    expect(page.get_by_role("button", name="press Ctrl+C")).to_be_visible()
    assert page.evaluate("getSelection().toString().trim()") == uid("good")


@pytest.mark.usefixtures("good")
def test_an_object_that_was_put_aside_is_shown(window: Watch, running: Running) -> None:
    """Other bytes under a known UID stand under Review, until somebody removes them for good."""
    running.send([make_instance("good", StudyDescription="changed")])
    page = window.go("/review")
    row = page.locator("#quarantine ~ .scroll tr", has_text=uid("good", 1, 1))
    expect(row).to_contain_text("different_bytes")
    window.picture("review-quarantine")
    window.picture("review-quarantine", "narrow")
    row.get_by_role("button", name="Remove …").click()
    page.get_by_role("link", name="Keep it").click()
    expect(row).to_contain_text("different_bytes")
    row.get_by_role("button", name="Remove …").click()
    window.picture("quarantine-remove")
    window.picture("quarantine-remove", "narrow")
    page.get_by_label("Why").fill("sent by mistake")
    page.get_by_role("button", name="Remove for good").click()
    expect(page.locator(".said")).to_have_text("Removed, with its file.")
    expect(page.get_by_text("Nothing is quarantined")).to_be_visible()
    assert running.rows(quarantine) == []
    [event] = trail(running, "good", "deleted")
    assert event.reason.endswith("sent by mistake")


@pytest.mark.usefixtures("good")
def test_pages_are_filtered(window: Watch) -> None:
    """Grid, failures and audit show what was chosen, keep it, and say where nothing is left."""
    page = window.go("/grid")
    page.get_by_label("State").select_option("delivered")
    page.get_by_role("button", name="Show").click()
    expect(page.locator("main")).to_contain_text("GOOD")
    expect(page.get_by_label("State")).to_have_value("delivered")
    page.get_by_label("State").select_option("building")
    page.get_by_role("button", name="Show").click()
    expect(page.get_by_text("No study is in that state")).to_be_visible()
    window.picture("grid-nothing", "narrow")
    page.get_by_role("link", name="Show all").click()
    expect(page.locator("main")).to_contain_text("GOOD")
    window.go("/failures")
    page.get_by_label("Destination").select_option("pacs")
    page.get_by_role("button", name="Show").click()
    expect(page.get_by_text("Nothing fails at pacs")).to_be_visible()
    window.picture("failures-nothing-at", "narrow")


def test_the_trail_is_filtered(window: Watch, running: Running, good: str) -> None:
    """Action, outcome, person, study and day narrow it down; nothing left leads back to all."""
    page = window.go("/audit")
    page.get_by_label("Action").select_option("published")
    page.get_by_label("Outcome").select_option("success")
    page.get_by_label("Study UID").fill(uid("good"))
    page.get_by_label("Day").fill(running.site.app.clock.now().astimezone().date().isoformat())
    page.get_by_role("button", name="Show").click()
    rows = page.locator("main tbody tr")
    expect(rows).to_have_count(len(trail(running, "good", "published")))
    expect(rows.first).to_contain_text("published")
    window.picture("audit-filtered")
    window.picture("audit-filtered", "narrow")
    rows.first.get_by_role("link").click()
    page.wait_for_url(f"**{good}")
    page.go_back()
    page.get_by_label("Who").fill("nobody of that name")
    page.get_by_role("button", name="Show").click()
    expect(page.get_by_text("Nothing of the kind was recorded")).to_be_visible()
    window.picture("audit-nothing", "narrow")
    page.get_by_role("link", name="Clear").click()
    expect(page.get_by_label("Who")).to_have_value("")
    assert rows.count() > 1
    window.go("/audit?actor=nobody")
    page.get_by_role("link", name="Show all").click()
    expect(rows.first).to_be_visible()


@pytest.mark.usefixtures("good")
def test_sql_is_downloaded_as_parquet_and_json(window: Watch, running: Running) -> None:
    """Both files hold the row of the table, and the trail knows of both; a mistake keeps all."""
    page = window.go("/sql")
    statement = "SELECT patient_id, number_of_instances FROM studies WHERE patient_id = 'GOOD'"
    page.get_by_label("Statement").fill(statement)
    wanted = [{"patient_id": "GOOD", "number_of_instances": 6}]
    assert pq.read_table(_downloaded(page, "Parquet")).to_pylist() == wanted
    assert json.loads(_downloaded(page, "JSON").read_text()) == wanted
    told = [row.reason for row in running.rows(audit_events) if row.action == "exported"]
    assert told == ["sql as parquet", "sql as json"]
    page.get_by_label("Statement").fill("SELECT nonsense FROM studies")
    page.get_by_role("button", name="Download").click()
    expect(page.get_by_role("alert")).to_contain_text("nonsense")
    expect(page.get_by_label("As")).to_have_value("json")


def _downloaded(page: Page, kind: str) -> Path:
    page.get_by_label("As").select_option(kind)
    with page.expect_download() as download:
        page.get_by_role("button", name="Download").click()
    assert download.value.suggested_filename == f"intu-fhir.{kind.lower()}"
    return Path(download.value.path())


def test_a_column_is_put_into_the_statement(window: Watch) -> None:
    """A click on a column of the schema writes it where the cursor stands."""
    page = window.go("/sql")
    page.get_by_label("Statement").fill("SELECT  FROM studies")
    page.get_by_label("Statement").evaluate("(field) => field.setSelectionRange(7, 7)")
    table = page.locator("details.table", has=page.get_by_text("studies", exact=True)).last
    table.locator("summary").click()
    table.get_by_role("button", name="patient_id", exact=True).click()
    expect(page.get_by_label("Statement")).to_have_value("SELECT patient_id FROM studies")
    expect(page.get_by_label("Statement")).to_be_focused()


def test_the_list_of_shortcuts_is_opened_and_closed(window: Watch) -> None:
    """By its button, and by the one in it."""
    page = window.go("/")
    page.get_by_role("button", name="Keyboard shortcuts").click()
    expect(page.locator("#shortcuts")).to_be_visible()
    window.picture("shortcuts", "narrow")
    page.get_by_role("button", name="Close").click()
    expect(page.locator("#shortcuts")).to_be_hidden()


def test_a_page_that_is_not_there_leads_on(window: Watch) -> None:
    """From what is not there to the overview, and from a replay that is forgotten to the grid."""
    page = window.go("/studies/1.2.3")
    page.get_by_role("main").get_by_role("link", name="Overview").click()
    expect(page.get_by_role("heading", name="Overview")).to_be_visible()
    window.go("/replays/forgotten")
    page.get_by_role("main").get_by_role("link", name="Grid").click()
    expect(page.get_by_role("heading", name="Grid")).to_be_visible()


def test_all_that_are_shown_are_chosen_and_replayed(browser: Browser, many: Served) -> None:
    """Choose all takes those of this page and no other; without a choice nothing is put back."""
    with watch(browser, many.url) as window:
        page = window.go("/failures")
        page.get_by_role("link", name="Look").click()
        boxes = page.locator("tbody input[type=checkbox]")
        expect(boxes).to_have_count(100)
        page.get_by_role("button", name="Replay what is chosen").click()
        expect(page.locator(".said")).to_contain_text("choose at least one row")
        assert _states(many) == {"dead": 110}
        page.get_by_role("link", name="More").click()
        expect(boxes).to_have_count(10)
        window.picture("failure-second-page", "narrow")
        page.get_by_role("link", name="First").click()
        expect(boxes).to_have_count(100)
        page.get_by_role("link", name="More").click()
        page.get_by_label("Choose all that are shown").check()
        expect(page.locator("tbody input:checked")).to_have_count(10)
        boxes.first.uncheck()
        expect(page.get_by_label("Choose all that are shown")).not_to_be_checked()
        page.get_by_role("button", name="Replay what is chosen").click()
        expect(page.get_by_text("9 deliveries will be sent now")).to_be_visible()
        page.get_by_role("button", name="Do it").click()
        expect(page.locator("dl.numbers")).to_contain_text("of 9")
        window.picture("progress-ahead", "narrow")
        assert _states(many) == {"dead": 101, "waiting": 9}
        window.go("/failures")
        page.get_by_role("link", name="Look").click()
        page.get_by_role("button", name="Replay all 101").click()
        page.get_by_role("button", name="Do it").click()
        expect(page.locator("dl.numbers")).to_contain_text("of 101")
        assert _states(many) == {"waiting": 110}


def _states(served: Served) -> dict[str, int]:
    """Return how many deliveries to the EHR are in which state."""
    c = deliveries.c
    counted = (
        sa.select(c.state, sa.func.count().label("rows"))
        .where(c.destination == "ehr")
        .group_by(c.state)
    )
    with served.app.database.read() as connection:
        return {row.state: row.rows for row in connection.execute(counted)}


def test_long_lists_are_leafed_through(browser: Browser, many: Served) -> None:
    """Older and back to the newest: studies, the grid, and the images of a long series."""
    with watch(browser, many.url) as window:
        page = window.go("/studies")
        page.get_by_label("Destination").select_option("ehr")
        page.get_by_role("button", name="Search").click()
        page.wait_for_url("**/studies?destination=ehr")
        seen = _accessions(page)
        page.get_by_role("button", name="Older").click()
        expect(page.get_by_role("link", name="Newest")).to_be_visible()
        page.get_by_role("button", name="Older").click()
        expect(page.locator("tbody tr")).to_have_count(10)
        assert not seen & _accessions(page)
        window.picture("studies-older", "narrow")
        page.get_by_role("link", name="Newest").click()
        expect(page.locator("tbody tr")).to_have_count(50)
        assert _accessions(page) == seen
        page.get_by_role("link", name="Clear").click()
        page.wait_for_url("**/studies")
        page.get_by_label("Patient ID").fill("nobody")
        page.get_by_role("button", name="Search").click()
        expect(page.get_by_role("heading", name="No study matches")).to_be_visible()
        window.picture("studies-nothing", "narrow")
        page.get_by_role("link", name="Show all").click()
        expect(page.locator("tbody tr")).to_have_count(50)
        window.go("/grid")
        for _ in range(2):
            page.get_by_role("link", name="Older").click()
            expect(page.get_by_role("link", name="Newest")).to_be_visible()
        expect(page.locator("tbody tr")).to_have_count(31)
        window.picture("grid-older", "narrow")
        page.get_by_role("link", name="Newest").click()
        expect(page.locator("tbody tr")).to_have_count(40)
        window.go(f"/studies/{uid('large')}/series/{uid('large', 1)}")
        expect(page.locator("tbody tr")).to_have_count(200)
        page.get_by_role("link", name="More").click()
        expect(page.locator("tbody tr")).to_have_count(1)
        page.get_by_role("link", name="First").click()
        expect(page.locator("tbody tr")).to_have_count(200)


def _accessions(page: Page) -> set[str]:
    return set(page.locator("tbody td[data-label=Accession]").all_inner_texts())


def test_a_pause_stands_in_the_ledger(browser: Browser, many: Served) -> None:
    """Pausing says why to everybody, and in the table that the senders read; resuming ends it."""
    with watch(browser, many.url) as window:
        page = window.go("/destinations")
        card = page.locator("section#second")
        card.get_by_text("Pause …").click()
        card.get_by_label("Why").fill("new disks")
        card.get_by_role("button", name="Pause").click()
        expect(page.locator(".said")).to_contain_text("Paused")
        assert _pauses(many) == {"second": "new disks"}
        window.picture("destinations-one-paused", "narrow")
        page.locator("section#second").get_by_role("button", name="Resume").click()
        expect(page.locator(".said")).to_contain_text("Resumed")
        assert _pauses(many) == {}


def _pauses(served: Served) -> dict[str, str]:
    rows = rows_of(served.app.database, destination_states)
    return {row.destination: row.pause_reason for row in rows if row.paused_at is not None}


def test_a_wrong_password_is_told(browser: Browser, tmp_path: Path) -> None:
    """The name stays, the password does not, and the trail has it; the right one goes on."""
    web = {"users_file": str(write_people(tmp_path / "people"))}
    with (
        serving(tmp_path, sqlite_url(tmp_path / "staging.db"), web=web) as served,
        watch(browser, served.url) as window,
    ):
        page = window.go("/grid")
        page.get_by_label("Name").fill("viewer")
        page.get_by_label("Password").fill("not it")
        page.get_by_role("button", name="Log in").click()
        expect(page.get_by_role("alert")).to_be_visible()
        expect(page.get_by_label("Password")).to_be_focused()
        expect(page.get_by_label("Name")).to_have_value("viewer")
        expect(page.get_by_label("Password")).to_have_value("")
        window.picture("login-wrong")
        window.picture("login-wrong", "narrow")
        page.get_by_label("Password").fill(PASSWORDS[Role.VIEWER])
        page.get_by_role("button", name="Log in").click()
        page.wait_for_url("**/grid")
        page.get_by_role("button", name="Log out").click()
        expect(page.get_by_label("Password")).to_be_visible()
        window.go("/grid")
        page.wait_for_url("**/login?next=/grid")
        told = rows_of(served.app.database, audit_events)
        logins = [row.outcome for row in told if row.action == "signed_in"]
        assert logins[1:] == ["success"]
        assert logins[0] != "success"


def test_people_come_from_their_organisation(browser: Browser, tmp_path: Path) -> None:
    """The button leads to the provider, which leads back to the page that was asked for."""
    port = free_port()
    with identity_provider() as provider:
        provider.person = {"preferred_username": "anna", "groups": ["imaging-it"]}
        oidc = {
            "issuer": provider.url,
            "client_id": CLIENT,
            "client_secret": SECRET,
            "redirect_url": f"http://127.0.0.1:{port}/login/oidc/return",
            "roles": {"operator": ["imaging-it"]},
        }
        web = {"port": port, "oidc": oidc}
        with (
            serving(tmp_path, sqlite_url(tmp_path / "staging.db"), web=web) as served,
            watch(browser, served.url) as window,
        ):
            page = window.go("/grid")
            window.picture("login-oidc", "narrow")
            page.get_by_role("link", name="Log in with your organisation").click()
            page.wait_for_url("**/grid")
            expect(page.locator(".person")).to_contain_text("anna")
            page.get_by_role("button", name="Log out").click()
            link = page.get_by_role("link", name="Log in with your organisation")
            expect(link).to_be_visible()


@pytest.mark.parametrize(
    "path", ["/", "/grid", "/studies", "/failures", "/review", "/destinations", "/sql", "/audit"]
)
def test_an_empty_site_is_readable_narrow_and_dark(
    browser: Browser, empty: Served, path: str
) -> None:
    """Before the first image each page is as readable on a telephone and at night."""
    with watch(browser, empty.url) as window:
        page = window.go(path)
        expect(page.locator("main h1, main h2").first).to_be_visible()
        for look in NIGHT:
            window.picture(f"empty{path.replace('/', '-').rstrip('-')}", look)


TRIED = {
    "base.html": {
        "Log out": "test_a_wrong_password_is_told",
        "◐": "test_a_colour_scheme_is_kept",
        "?": "test_the_list_of_shortcuts_is_opened_and_closed",
        "Close": "test_the_list_of_shortcuts_is_opened_and_closed",
    },
    "login.html": {
        "Log in": "test_a_wrong_password_is_told",
        "Log in with your organisation": "test_people_come_from_their_organisation",
    },
    "audit.html": {
        "Show": "test_the_trail_is_filtered",
        "Clear": "test_the_trail_is_filtered",
        "Show all": "test_the_trail_is_filtered",
    },
    "destinations.html": {
        "Pause": "test_a_pause_stands_in_the_ledger",
        "Resume": "test_a_pause_stands_in_the_ledger",
    },
    "failure.html": {
        "First": "test_all_that_are_shown_are_chosen_and_replayed",
        "More": "test_all_that_are_shown_are_chosen_and_replayed",
        "Replay all …": "test_all_that_are_shown_are_chosen_and_replayed",
        "Replay what is chosen": "test_all_that_are_shown_are_chosen_and_replayed",
    },
    "failure_gone.html": {
        "All failures": "test_what_is_gone_says_where_to_go",
    },
    "failures.html": {
        "Show": "test_pages_are_filtered",
        "Look": "test_all_that_are_shown_are_chosen_and_replayed",
        "Replay all …": "test_a_selection_then_all_of_a_cause_are_replayed",
    },
    "grid.html": {
        "Show": "test_pages_are_filtered",
        "Show all": "test_pages_are_filtered",
        "Newest": "test_long_lists_are_leafed_through",
        "…": "test_long_lists_are_leafed_through",
    },
    "overview.html": {
        "…": "test_a_pause_and_an_outage_stand_on_the_overview",
    },
    "preview.html": {
        "Preview": "test_another_mapping_and_release_are_previewed",
    },
    "problem.html": {
        "Overview": "test_a_page_that_is_not_there_leads_on",
    },
    "quarantine_remove.html": {
        "Remove for good": "test_an_object_that_was_put_aside_is_shown",
        "Keep it": "test_an_object_that_was_put_aside_is_shown",
    },
    "replay.html": {
        "Do it": "test_a_study_is_built_again",
        "…": "test_a_study_is_built_again",
    },
    "replay_gone.html": {
        "Failures": "test_what_is_gone_says_where_to_go",
        "Grid": "test_a_page_that_is_not_there_leads_on",
    },
    "review.html": {
        "Findings": "test_a_hold_leads_to_its_findings",
        "Release": "test_a_hold_is_released",
        "Remove …": "test_an_object_that_was_put_aside_is_shown",
    },
    "series.html": {
        "First": "test_long_lists_are_leafed_through",
        "More": "test_long_lists_are_leafed_through",
    },
    "sql.html": {
        "Run": "test_sql_that_is_wrong_is_explained",
        "Download": "test_sql_is_downloaded_as_parquet_and_json",
        "…": "test_a_column_is_put_into_the_statement",
    },
    "studies.html": {
        "Search": "test_long_lists_are_leafed_through",
        "Clear": "test_long_lists_are_leafed_through",
        "Show all": "test_long_lists_are_leafed_through",
        "Newest": "test_long_lists_are_leafed_through",
        "…": "test_long_lists_are_leafed_through",
    },
    "study.html": {
        "Build again": "test_a_study_is_built_again",
        "Preview": "test_another_mapping_and_release_are_previewed",
        "Release": "test_a_hold_is_released_where_the_study_is",
        "Replay": "test_what_failed_of_a_study_is_replayed",
        "Replay what failed": "test_what_failed_of_a_study_is_replayed",
        "Send again": "test_a_delivered_study_is_sent_again",
        "Settle now": "test_a_study_is_settled_now",
        "copy": "test_a_uid_is_copied",
    },
    "version.html": {
        "Compare": "test_two_versions_of_ones_choice_are_compared",
    },
}
"""Every button of every template, and the test that clicks it."""


def test_every_button_is_clicked_by_a_test() -> None:
    """No button or form is added to a page without a test that clicks it as a person would."""
    found = {file.name: _buttons(file.read_text("utf-8")) for file in sorted(TEMPLATES.iterdir())}
    assert {name: labels for name, labels in found.items() if labels} == {
        name: sorted(labels) for name, labels in TRIED.items()
    }, "click it in a test of this folder and name that here"
    named = {test for labels in TRIED.values() for test in labels.values()}
    assert named - _tests() == set()


def _buttons(template: str) -> list[str]:
    """Return what stands on the buttons of a template, with … for what only a page tells."""
    assert not re.search(r"<form(?:(?!</form>|<button).)*</form>", template, re.DOTALL), "no button"
    labels = re.findall(
        r"<button\b[^>]*>(.*?)</button>|<a class=\"button[^>]*>(.*?)</a>", template, re.DOTALL
    )
    return sorted({re.sub(r"{{.*?}}", "…", one or other) for one, other in labels})


def _tests() -> set[str]:
    """Return the names of the tests of this folder."""
    trees = (ast.parse(file.read_text("utf-8")) for file in Path(__file__).parent.glob("test_*.py"))
    nodes = (node for tree in trees for node in ast.walk(tree))
    return {node.name for node in nodes if isinstance(node, ast.FunctionDef)}
