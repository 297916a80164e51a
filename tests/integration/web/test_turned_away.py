"""What the Overview says of modalities that were turned away."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from intu_fhir.db.refused import Refused, refused_lately
from intu_fhir.web.running import WebPage
from tests.support.databases import sqlite_url
from tests.support.ports import free_port
from tests.support.raw_peer import RawPeer, associate_request
from tests.support.running import running_site
from tests.support.studies import uid
from tests.support.waiting import wait_until
from tests.support.web import Served


@contextmanager
def ending(page: WebPage) -> Iterator[None]:
    """Stop the page at the end."""
    try:
        yield
    finally:
        page.stop()


def test_the_overview_shows_who_was_turned_away(tmp_path: Path) -> None:
    """A rejected association and a refused object need somebody, on the page and in the API."""
    url = sqlite_url(tmp_path / "staging.db")
    with running_site(tmp_path, url, web={"port": free_port()}) as running:
        port = running.site.listeners[0].port
        with RawPeer(port) as peer:
            peer.send(associate_request(called="WRONG", calling="CT7"))
            peer.read()
        with RawPeer(port) as peer:
            peer.send(associate_request(called="INTU_TEST", calling="CT8"))
            peer.read()
            peer.store(b"no data set", uid("one", 1, 1))
        app = running.site.app
        now = app.clock.now()

        def refused() -> list[Refused]:
            with app.database.read() as connection:
                return refused_lately(connection, now)

        [one] = wait_until(refused, 10, "the refused object to be counted")
        assert (one.calling_ae_title, one.count) == ("CT8", 1)
        page = WebPage(app)
        page.start()
        with ending(page), Served(tmp_path, app, page).client() as web:
            shown = web.get("/").text
            stuck = web.get("/api/v1/overview").json()["stuck"]
        assert "called WRONG calling CT7, but this is INTU_TEST" in shown
        assert "Correct the called AE title at the sender" in shown
        assert "1 object refused in the last day" in shown
        assert "Nothing needs you" not in shown
        assert len([one for one in stuck if "rejected" in one["what"]]) == 1
