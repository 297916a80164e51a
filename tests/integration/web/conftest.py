"""Web pages for tests: one without login, one with people of each role, one over real studies."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from intu_fhir.db import migrate
from intu_fhir.demo.ehr import Fault
from intu_fhir.web.running import WebPage
from tests.support.api import Api, give_tokens
from tests.support.databases import PostgresServer, make_reader, sqlite_url
from tests.support.ports import free_port
from tests.support.running import running_site
from tests.support.studies import make_instance, make_study, uid
from tests.support.web import Served, serving, write_people


@pytest.fixture(scope="module")
def open_page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A page on loopback that asks nobody who they are."""
    folder = tmp_path_factory.mktemp("open")
    with serving(folder, sqlite_url(folder / "staging.db")) as served:
        yield served


@pytest.fixture(scope="module")
def guarded_page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A page that people have to log in to."""
    folder = tmp_path_factory.mktemp("guarded")
    people = write_people(folder / "people")
    with serving(
        folder, sqlite_url(folder / "staging.db"), web={"users_file": str(people)}
    ) as served:
        yield served


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def api(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """The API over a running site: a study in two versions, one refused by the EHR, two held."""
    folder = tmp_path_factory.mktemp("api")
    people = str(write_people(folder / "people"))
    web: dict[str, Any] = {"port": free_port(), "users_file": people}
    url = sqlite_url(folder / "staging.db")
    if request.param == "postgresql":
        server: PostgresServer = request.getfixturevalue("postgres_server")
        url = server.url(server.create())
        migrate.upgrade(url)
        web["sql"] = {"database": make_reader(url)}
    with running_site(folder, url, web=web) as running:
        running.send(make_study("good"))
        running.rest()
        running.send([make_instance("good", series=3, number=1)])
        running.rest(generation=2)
        running.ehr.fail_next(Fault(status=422))
        running.send(make_study("bad", PatientName="Other^Olga", PatientID="P2"))
        running.rest()
        running.send(make_study("nameless", PatientID=""))
        running.rest()
        two = [make_instance("mixed", number=n, PatientID=f"M{n}") for n in (1, 2)]
        running.send(two)
        states = {row.study_instance_uid: row.state for row in running.rest()}
        assert states == {
            uid("good"): "delivered",
            uid("bad"): "failed",
            uid("nameless"): "held",
            uid("mixed"): "held",
        }
        page = WebPage(running.site.app)
        page.start()
        try:
            served = Served(folder, running.site.app, page)
            yield Api(running, served, give_tokens(served))
        finally:
            page.stop()
