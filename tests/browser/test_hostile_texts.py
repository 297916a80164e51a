"""W-03: two hundred hostile texts on every page that shows what came from elsewhere."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import pytest
from playwright.sync_api import Browser
from sqlalchemy import Connection

from intu_fhir.db import migrate
from intu_fhir.db import tables as t
from intu_fhir.db.audit import record_audit
from intu_fhir.db.destinations import pause
from intu_fhir.model.audit import Action, AuditEvent
from intu_fhir.model.work import DEAD
from intu_fhir.web.running import WebPage
from tests.browser.conftest import Looked
from tests.support.browser import Watch, watch
from tests.support.clock import START
from tests.support.databases import sqlite_url
from tests.support.hostile import PAYLOADS
from tests.support.ports import free_port
from tests.support.running import running_site
from tests.support.seeded import stage
from tests.support.studies import make_instance, uid
from tests.support.web import serving

_REPORT = """document.addEventListener("securitypolicyviolation",
  (event) => console.error(`csp: ${event.violatedDirective} ${event.blockedURI}`));"""

_ALIVE = """() => [...document.querySelectorAll("main *")].filter((one) =>
  ["SCRIPT", "IFRAME", "OBJECT", "EMBED", "VIDEO", "AUDIO", "IMG", "BASE", "META", "LINK", "STYLE",
   "MARQUEE", "MATH", "TEMPLATE", "BODY"].includes(one.tagName.toUpperCase()) ||
  one.getAttributeNames().some((name) => name.startsWith("on")) ||
  /^\\s*javascript:/i.test(one.getAttribute("href") || one.getAttribute("src") || "")
).map((one) => one.outerHTML.slice(0, 120))"""


pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The page of a site whose every text from elsewhere is hostile."""
    folder = tmp_path_factory.mktemp("hostile")
    far_sides = {
        "ehr": {"type": "fhir", "base_url": f"http://127.0.0.1:{free_port()}/fhir"},
        "pacs": {
            "type": "dicom",
            "host": "127.0.0.1",
            "port": free_port(),
            "called_ae_title": "PACS",
        },
    }
    url = sqlite_url(folder / "staging.db")
    migrate.upgrade(url)
    with serving(folder, url, destinations=far_sides) as served:
        with served.app.database.write() as connection:
            _seed(connection)
        yield served.url


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Looked]:
    """A site that has received one study of 200 series, each with a hostile description."""
    folder = tmp_path_factory.mktemp("many")
    options = {"web": {"port": free_port()}}
    with running_site(folder, sqlite_url(folder / "staging.db"), **options) as running:
        running.send(
            make_instance("many", number, SeriesDescription=text)
            for number, text in enumerate(PAYLOADS, start=1)
        )
        running.rest(seconds=240)
        running.send([make_instance("many", 201, SeriesDescription="late")])
        running.rest(generation=2, seconds=240)
        page = WebPage(running.site.app)
        page.start()
        try:
            yield Looked(running, f"http://127.0.0.1:{page.server.port}")
        finally:
            page.stop()


def _seed(connection: Connection) -> None:
    """Put two hundred studies, causes, holds, quarantined objects and events in place."""
    pause(connection, "pacs", by=PAYLOADS[1][:64], reason=PAYLOADS[2], now=START)
    for number, text in enumerate(PAYLOADS):
        at = START + timedelta(minutes=number)
        key = stage(
            connection,
            f"h{number}",
            at=at,
            calling_ae_title=text[:16],
            modality=text[:16],
            instances=1,
            deliveries={"ehr": DEAD},
            patient_name=text,
            patient_id=text,
            accession_number=text,
            study_description=text,
        )
        words = {"last_error": f"{text}; {text}", "cause": text, "last_status": text[:16]}
        connection.execute(t.deliveries.update().where(t.deliveries.c.study_key == key), words)
        connection.execute(
            t.holds.insert().values(
                study_key=key,
                destination="ehr",
                reason=text[:32],
                detail=text,
                generation=1,
                held_at=at,
            )
        )
        connection.execute(
            t.quarantine.insert().values(
                association_id=f"a-h{number}",
                reason=text[:32],
                detail=text,
                sop_instance_uid=text,
                file=text,
                sha256="0" * 64,
                received_at=at,
            )
        )
        record_audit(connection, AuditEvent(Action.QUERIED, at, text, reason=text))


@contextmanager
def _window(browser: Browser, url: str) -> Iterator[Watch]:
    """Open a window where what runs, opens a dialog or is stopped by the policy is a failure."""
    with watch(browser, url) as one:
        one.page.context.add_init_script(_REPORT)
        yield one


@pytest.fixture
def window(browser: Browser, hostile: str) -> Iterator[Watch]:
    """A window on the site of many studies."""
    with _window(browser, hostile) as one:
        yield one


@pytest.fixture
def on_many(browser: Browser, many: Looked) -> Iterator[Watch]:
    """A window on the site of the one study."""
    with _window(browser, many.url) as one:
        yield one


def _shown(window: Watch, path: str) -> set[str]:
    """Return the payloads that a page and those after it show; none of them may be alive."""
    seen: set[str] = set()
    page = window.go(path)
    while True:
        alive = page.evaluate(_ALIVE)
        assert not alive, f"{path}: {alive}"
        text = page.locator("main").inner_text()
        seen |= {payload for payload in PAYLOADS if payload in text}
        further = page.locator(".pager").get_by_text(re.compile("^(More|Older)$"))
        if not further.count():
            return seen
        with page.expect_navigation():
            further.first.click()


@pytest.mark.parametrize(
    ("path", "least"),
    [
        ("/studies", 200),
        ("/grid", 200),
        ("/failures", 200),
        ("/review", 200),
        ("/audit", 190),
        ("/destinations", 2),
        ("/", 0),
    ],
)
def test_a_page_shows_hostile_texts_as_texts(window: Watch, path: str, least: int) -> None:
    """All of them stand there to be read; no dialog, no live element, no report of the policy."""
    assert len(_shown(window, path)) >= least


def test_a_study_of_hostile_texts(on_many: Watch, many: Looked) -> None:
    """As received, as published, as it differs, and as it would be: all 200 are texts."""
    study = f"/studies/{uid('many')}"
    newest = max(row.resource_key for row in many.running.rows(t.resources))
    for path in ("", "/preview", "/preview?release=r5", f"/versions/{newest}"):
        assert len(_shown(on_many, study + path)) == 200, path


def test_one_study_of_each_text(window: Watch) -> None:
    """A study's own page, its series and its cause: where one text stands in every place."""
    for number in range(3, 200, 20):
        assert PAYLOADS[number] in _shown(window, f"/studies/{uid(f'h{number}')}")
        _shown(window, f"/studies/{uid(f'h{number}')}/series/{uid(f'h{number}', 1)}")


def test_the_rows_of_a_statement(window: Watch) -> None:
    """What SQL finds is shown as text, names of columns too."""
    page = window.go("/sql")
    page.locator("textarea").fill('SELECT patient_name, patient_id AS "<img src=x>" FROM studies')
    page.get_by_role("button", name="Run").click()
    page.locator(".result table").wait_for()
    assert not page.evaluate(_ALIVE)
    text = page.locator(".result").inner_text()
    assert len({payload for payload in PAYLOADS if payload in text}) == 200


def test_a_replay_of_a_hostile_cause(window: Watch) -> None:
    """The cause that is asked about, and the words of the other side, stay words."""
    page = window.go("/failures")
    page.get_by_role("link", name="Look").first.click()
    assert not page.evaluate(_ALIVE)
    page.get_by_role("checkbox").first.check()
    page.get_by_role("button", name="Replay what is chosen").click()
    page.get_by_role("button", name="Do it").wait_for()
    assert not page.evaluate(_ALIVE)


def test_an_address_is_not_shown_alive(window: Watch) -> None:
    """Texts in an address, which anybody can send somebody, come to nothing."""
    for payload in PAYLOADS[::10]:
        page = window.page
        page.goto(f"{window.url}/studies?state={payload}&modality={payload}&after={payload}")
        assert not page.evaluate(_ALIVE)
        page.goto(f"{window.url}/login?next={payload}")
        assert not page.evaluate(_ALIVE)
