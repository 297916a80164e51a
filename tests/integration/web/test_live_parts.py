"""Parts of pages that renew themselves, and what stands there when nothing is left of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from intu_fhir.db.failures import causes
from intu_fhir.db.session import Database
from intu_fhir.db.tables import deliveries
from intu_fhir.web.pages.failures import name_of
from intu_fhir.web.replays import Watched
from intu_fhir.web.words import zone_name
from tests.support.clock import START
from tests.support.seeded import stage
from tests.support.studies import uid
from tests.support.web import Served, serving

LIVE = {"x-fragment": "live"}


@pytest.fixture
def served(tmp_path: Path, database: Database) -> Iterator[Served]:
    """A page over one study that failed at one destination and is held for another."""
    with database.write() as connection:
        stage(connection, "one", deliveries={"ehr": "dead", "pacs": "held"})
    with serving(tmp_path, database.url) as one:
        yield one


def test_a_cause_renews_itself_to_its_end(served: Served, database: Database) -> None:
    """Its live part has its studies; once nothing fails any more, it says so, and is no error."""
    with database.write() as connection:
        [cause] = causes(connection)
    path = f"/failures/{name_of(cause)}"
    with served.client() as client:
        assert 'data-live="5"' in client.get(path).text
        live = client.get(path, headers=LIVE).text
        assert uid("one") in live
        assert "<html" not in live
        with database.write() as connection:
            dead = deliveries.c.state == "dead"
            connection.execute(deliveries.update().where(dead).values(state="delivered"))
        over = client.get(path, headers=LIVE)
        assert (over.status_code, "Nothing fails for that cause" in over.text) == (200, True)
        assert client.get(path).status_code == 404


def test_a_series_renews_itself(served: Served) -> None:
    """Instances that arrive stand in its live part."""
    path = f"/studies/{uid('one')}/series/{uid('one', 1)}"
    with served.client() as client:
        assert 'data-live="5"' in client.get(path).text
        live = client.get(path, headers=LIVE).text
    assert uid("one", 1, 0) in live
    assert "<html" not in live


def test_a_replay_that_ends_held_is_not_done(served: Served, database: Database) -> None:
    """What waits for a decision is named, with the way to it."""
    with database.read() as connection:
        held = deliveries.c.state == "held"
        keys = list(connection.execute(deliveries.select().where(held)).scalars())
    watched = Watched("one study", "anna", START, 1, keys, [])
    number = served.page.site.replays.keep(watched)
    with served.client() as client:
        text = client.get(f"/replays/{number}").text
    assert "All done" not in text
    assert '1 of them waits for a decision. <a href="/review">' in text


def test_pages_name_the_zone_of_their_times(served: Served) -> None:
    """Every page says which zone its times are in."""
    with served.client() as client:
        assert f"times in {zone_name()}" in client.get("/studies").text
