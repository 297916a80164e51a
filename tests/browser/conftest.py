"""One Chromium and one site with studies in every state, for all tests of this folder."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from playwright.sync_api import Browser, Playwright, sync_playwright

from intu_fhir.db.tables import deliveries
from intu_fhir.demo.ehr import Fault
from intu_fhir.web.running import WebPage
from tests.support.browser import PICTURES, Watch, chromium, watch
from tests.support.databases import sqlite_url
from tests.support.hostile import HOSTILE_TEXTS
from tests.support.ports import free_port
from tests.support.running import Running, running_site
from tests.support.studies import make_instance, make_study
from tests.support.waiting import wait_until
from tests.support.web import Served, serving


@dataclass
class Looked:
    """A running site with its page."""

    running: Running
    url: str


@pytest.fixture(scope="package")
def playwright() -> Iterator[Playwright]:
    """What starts and leads browsers."""
    with sync_playwright() as one:
        yield one


@pytest.fixture(scope="package")
def browser(playwright: Playwright) -> Iterator[Browser]:
    """The system's Chromium."""
    for old in PICTURES.glob("*.png"):  # of a page or a name that there may be no more
        old.unlink()
    with chromium(playwright, "--disable-gpu") as one:
        yield one


@pytest.fixture(scope="package")
def looked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Looked]:
    """A site with delivered, refused, held and hostile studies."""
    folder = tmp_path_factory.mktemp("browser")
    options = {"web": {"port": free_port()}}
    with running_site(folder, sqlite_url(folder / "staging.db"), **options) as running:
        _fill(running)
        page = WebPage(running.site.app)
        page.start()
        try:
            yield Looked(running, f"http://127.0.0.1:{page.server.port}")
        finally:
            page.stop()


def _fill(running: Running) -> None:
    running.send(make_study("good"), calling="CT_SCANNER_1")
    running.rest()
    running.send([make_instance("good", series=3, number=1)])
    running.rest(generation=2)
    names = ("Miller^Anna", "Okafor^Chidi", "Lindqvist^Åsa", "García López^María José")
    for number, name in enumerate(names):
        running.ehr.fail_next(Fault(status=422))
        running.send(
            make_study(
                f"refused-{number}",
                PatientName=name,
                PatientID=f"P{number + 10}",
                AccessionNumber=f"A-2024-{number:04}",
                Modality="MR",
                StudyDescription="MR head without contrast",
            ),
            calling="MR_SCANNER_2",
        )
        _settled(running, number + 1)
    running.send(make_study("nobody", series=1, PatientID=None, PatientName=None), calling="US_3")
    for number, text in enumerate(HOSTILE_TEXTS[:12]):
        running.send(
            make_study(
                f"hostile-{number}",
                series=1,
                instances=1,
                PatientName=text[:60],
                PatientID=f"X{number}",
                StudyDescription=text[:64],
                SeriesDescription=text[:64],
                AccessionNumber=text[:16],
            ),
            calling="CT_SCANNER_1",
        )
    running.rest()


def _settled(running: Running, count: int) -> None:
    """Wait until so many deliveries are dead, so that each fault meets the study it is for."""

    def dead() -> bool:
        return sum(row.state == "dead" for row in running.rows(deliveries)) >= count

    wait_until(dead, 30, "the refused study")


@pytest.fixture
def window(browser: Browser, looked: Looked) -> Iterator[Watch]:
    """A window on the site."""
    with watch(browser, looked.url) as one:
        yield one


@pytest.fixture(scope="package")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A site that has received nothing yet."""
    folder = tmp_path_factory.mktemp("empty")
    with serving(folder, sqlite_url(folder / "staging.db")) as served:
        yield served
