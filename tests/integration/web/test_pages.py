"""The pages over a site that has received, built and delivered real studies."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from html.parser import HTMLParser
from typing import Any

import httpx
import pytest
import sqlalchemy as sa

from intu_fhir.db import migrate
from intu_fhir.db.holds import hold_delivery
from intu_fhir.db.tables import audit_events, holds, resources, studies
from intu_fhir.demo.ehr import Fault
from intu_fhir.model.settling import StudyHold
from intu_fhir.web.running import WebPage
from tests.support.clock import START
from tests.support.databases import PostgresServer, make_reader, sqlite_url
from tests.support.ports import free_port
from tests.support.running import Running, running_site
from tests.support.studies import make_instance, make_study, uid
from tests.support.waiting import wait_until
from tests.support.web import token_in

HOSTILE = "<script>alert(1)</script>"


@dataclass
class Looked:
    """A page over a running site, and what a browser without script sees of it."""

    running: Running
    client: httpx.Client

    def get(self, path: str) -> str:
        """Return a page that has to be there."""
        answer = self.client.get(path)
        assert answer.status_code == 200, f"{path}: {answer.status_code}"
        return answer.text

    def post(self, path: str, **fields: str | list[str]) -> httpx.Response:
        """Send a form of the overview's session."""
        token = token_in(self.get("/studies"))
        return self.client.post(path, data={"form_token": token, **fields})


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def looked(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Looked]:
    """A site with one delivered study in two versions, and one that the EHR refused."""
    folder = tmp_path_factory.mktemp("pages")
    web: dict[str, Any] = {"port": free_port()}
    url = sqlite_url(folder / "staging.db")
    if request.param == "postgresql":
        server: PostgresServer = request.getfixturevalue("postgres_server")
        url = server.url(server.create())
        migrate.upgrade(url)
        web["sql"] = {"database": make_reader(url)}
    with running_site(folder, url, web=web) as running:
        running.send(make_study("good", StudyDescription=HOSTILE))
        running.rest()
        running.send([make_instance("good", series=3, number=1)])
        running.rest(generation=2)
        running.ehr.fail_next(Fault(status=422))
        running.send(make_study("bad", PatientName="Other^Olga", PatientID="P2"))
        wait_for_bad(running)
        page = WebPage(running.site.app)
        page.start()
        try:
            url = f"http://127.0.0.1:{page.server.port}"
            with httpx.Client(base_url=url, timeout=30) as client:
                yield Looked(running, client)
        finally:
            page.stop()


def wait_for_bad(running: Running) -> None:
    """Wait until the refused study is a dead letter."""
    states = {row.study_instance_uid: row.state for row in running.rest()}
    assert states[uid("bad")] == "failed"


class Links(HTMLParser):
    """Collects where a page leads."""

    def __init__(self) -> None:
        super().__init__()
        self.found: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Take the links of ours."""
        href = dict(attrs).get("href") or ""
        if tag == "a" and href.startswith(("/", "?")):
            self.found.add(href)


def _all_pages(looked: Looked) -> set[str]:
    """Follow every link and return the addresses behind them."""
    seen: set[str] = set()
    ahead = {"/"}
    while ahead:
        path = ahead.pop()
        seen.add(path)
        links = Links()
        links.feed(looked.get(path))
        targets = {path.split("?")[0] + one if one[0] == "?" else one for one in links.found}
        ahead |= {one.split("#")[0] for one in targets} - seen
    return seen


def test_every_link_of_every_page_leads_somewhere(looked: Looked) -> None:
    """Whoever follows links from the overview finds a page behind each of them."""
    seen = _all_pages(looked)
    assert {"/grid", "/studies", "/failures", "/review", "/destinations", "/sql", "/audit"} <= seen
    assert f"/studies/{uid('good')}" in seen
    assert len([one for one in seen if "/versions/" in one]) == len(looked.running.rows(resources))


def test_nothing_of_an_image_is_markup(looked: Looked) -> None:
    """A description that is a script stands on the page as text."""
    for path in ("/studies", f"/studies/{uid('good')}", "/grid"):
        assert "<script>alert" not in looked.get(path)
    assert "&lt;script&gt;alert(1)" in looked.get("/studies")


def test_a_search_by_patient_leaves_no_trace_in_addresses(looked: Looked) -> None:
    """A search for a patient is answered in place; in an address the same fields do nothing."""
    answer = looked.post("/studies", patient_id="P2")
    assert answer.status_code == 200
    assert uid("bad") in answer.text
    assert uid("good") not in answer.text
    assert uid("good") in looked.get("/studies?patient_id=P2")


def test_a_search_by_other_things_has_an_address(looked: Looked) -> None:
    """A search that names no patient leads to an address that may be sent to a colleague."""
    answer = looked.post("/studies", modality="CT", state="failed", patient_id="")
    assert answer.status_code == 303
    assert answer.headers["location"] == "/studies?state=failed&modality=CT"
    assert uid("good") not in looked.get(answer.headers["location"])


def test_a_study_tells_what_the_peer_said(looked: Looked) -> None:
    """The page of a failed study has the timeline, the tries and the peer's own answer."""
    shown = looked.get(f"/studies/{uid('bad')}")
    for expected in ("Other, Olga", "Timeline", "HTTP 422", "dead", "association"):
        assert expected in shown, expected
    assert shown.count('class="deliver failed"') == 1
    assert shown.count('class="deliver"') == 1


def test_two_versions_are_told_apart_by_what_changed(looked: Looked) -> None:
    """The difference of two versions names the series that came, and the counts."""
    newest = max(r.resource_key for r in looked.running.rows(resources) if r.generation == 2)
    shown = looked.get(f"/studies/{uid('good')}/versions/{newest}")
    assert "numberOfInstances" in shown
    assert uid("good", 3) in shown


def test_looking_at_a_study_is_audited(looked: Looked) -> None:
    """Each view of a study is an event with its UID; the page's own renewals are not."""
    path = f"/studies/{uid('bad')}"

    def views() -> int:
        return sum(
            row.action == "viewed" and row.study_instance_uid == uid("bad")
            for row in looked.running.rows(audit_events)
        )

    before = views()
    looked.get(path)
    assert views() == before + 1
    looked.client.get(path, headers={"x-fragment": "live"})
    assert views() == before + 1


def test_whoever_sees_a_patient_is_audited(looked: Looked) -> None:
    """Each page that holds a patient's identifier, or what waits for a person, leaves an event."""
    patients = _accession_numbers(looked)
    unseen = []
    for path in sorted(_all_pages(looked) - {"/audit"}):
        before = len(looked.running.rows(audit_events))
        text = looked.get(path)
        is_noted = len(looked.running.rows(audit_events)) > before
        if not is_noted and (path == "/review" or any(one in text for one in patients)):
            unseen.append(path)
    assert unseen == []
    assert cause_in(looked.get("/failures")) in _all_pages(looked)


def test_a_study_shows_what_a_patient_is_told_apart_by(looked: Looked) -> None:
    """Birth date and sex of the images stand on its page, to be compared with the server's."""
    shown = looked.get(f"/studies/{uid('good')}")
    one = make_instance("good")
    born = f"{one.PatientBirthDate[:4]}-{one.PatientBirthDate[4:6]}-{one.PatientBirthDate[6:]}"
    assert f"<dt>Born, sex</dt><dd>{born}, {one.PatientSex}</dd>" in shown


def test_a_destination_that_took_nothing_of_late_is_not_up(looked: Looked) -> None:
    """Where the newest delivery failed for good, the destination says so and leads to why."""
    shown = re.sub(r"\s+", " ", looked.get("/destinations"))
    ehr, _, pacs = shown.partition('id="pacs"')
    assert 'class="state failing"' in ehr
    assert "The last delivery failed for good" in ehr
    assert "failing" not in pacs


def _accession_numbers(looked: Looked) -> set[str]:
    return {row.accession_number for row in looked.running.rows(studies)}


def test_a_destination_is_paused_and_resumed(looked: Looked) -> None:
    """Pausing says who and why; resuming ends it."""
    assert looked.post("/destinations/pacs/pause", reason="new disks").status_code == 303
    assert "new disks" in looked.get("/destinations")
    assert looked.post("/destinations/pacs/resume").status_code == 303
    assert "new disks" not in looked.get("/destinations")
    assert looked.post("/destinations/nowhere/pause").status_code == 404


def test_a_hold_that_is_gone_is_no_error(looked: Looked) -> None:
    """Releasing what is released, or was never held, leads back and says so."""
    assert not looked.running.rows(holds)
    answer = looked.post("/holds/1/release", back="https://elsewhere.example")
    assert answer.headers["location"] == "/review?said=not-held"


def test_a_finding_names_its_attribute_once(looked: Looked) -> None:
    """Where the attribute stands above the message, the message does not say it again."""
    for path in (f"/studies/{uid('good')}", f"/studies/{uid('good')}/preview"):
        found = re.findall(r"</code> ([A-Z]\w+).*?<br>(.*?)</li>", looked.get(path))
        assert found
        assert not [one for one in found if one[1].startswith(f"{one[0]}: ")]


def test_a_hold_of_a_destination_says_what_its_release_does(looked: Looked) -> None:
    """A destination judges again, so what was released may come back: its page tells before."""
    with looked.running.site.app.database.write() as connection:
        key = connection.execute(
            sa.select(studies.c.study_key).where(studies.c.study_instance_uid == uid("bad"))
        ).scalar_one()
        hold = StudyHold("patient_mismatch", "differs in birth date")
        hold_delivery(connection, key, "ehr", hold, generation=1, now=START)
    try:
        told = "held again unless the cause is gone"
        assert told in looked.get(f"/studies/{uid('bad')}")
        assert told in looked.get("/review")
    finally:
        with looked.running.site.app.database.write() as connection:
            connection.execute(sa.delete(holds))


def test_sql_reads_and_never_writes(looked: Looked) -> None:
    """A SELECT is shown; what would write is refused, and nothing changed."""
    shown = looked.post("/sql", statement="SELECT study_instance_uid, patient_id FROM studies")
    assert uid("bad") in shown.text
    refused = looked.post("/sql", statement="DELETE FROM studies")
    assert refused.status_code == 400
    assert len(looked.running.studies()) == 2


def test_sql_shows_no_more_rows_than_it_says(looked: Looked) -> None:
    """A result beyond the cap is cut, and says that there is more."""
    endless = (
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000) "
        "SELECT i FROM n"
    )
    shown = looked.post("/sql", statement=endless)
    assert "there are more" in shown.text
    assert shown.text.count("<tr>") == 501


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t"])
def test_csv_of_the_page_runs_no_formula(looked: Looked, start: str) -> None:
    """A cell that a spreadsheet would run is escaped in the download (S-06)."""
    statement = f"SELECT '{start}1+1' AS a"
    answer = looked.post("/sql/download", statement=statement, kind="csv")
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert answer.content.decode().splitlines()[1].lstrip('"').startswith("'")


def test_parquet_of_the_page_can_be_read(looked: Looked) -> None:
    """The Parquet download holds the rows."""
    pyarrow = pytest.importorskip("pyarrow")
    answer = looked.post("/sql/download", statement="SELECT 7 AS a", kind="parquet")
    parquet = pytest.importorskip("pyarrow.parquet")
    assert parquet.read_table(pyarrow.BufferReader(answer.content)).to_pylist() == [{"a": 7}]


def test_failures_stand_together_by_cause(looked: Looked) -> None:
    """A dead letter is found by its cause, with what to do, and leads to its study."""
    shown = looked.get("/failures")
    assert "HTTP 422" in shown
    assert "What to do" in shown
    one = looked.get(cause_in(shown))
    assert uid("bad") in one
    assert looked.client.get("/failures/0000").status_code == 404


def cause_in(page: str) -> str:
    """Return the address of the first cause."""
    found = re.search(r'href="(/failures/[0-9a-f]{20})"', page)
    assert found, "no cause is shown"
    return found[1]


def test_nothing_chosen_is_not_all(looked: Looked) -> None:
    """A choice of nothing, or of keys that are none, puts nothing back, asked or confirmed."""
    cause = cause_in(looked.get("/failures")).rpartition("/")[2]
    shown = looked.get(f"/failures/{cause}")
    assert 'name="choice" value="chosen"' in shown
    for confirmed in ({}, {"confirmed": "yes"}):
        nothing = looked.post("/replay", cause=cause, choice="chosen", **confirmed)
        assert nothing.headers["location"] == f"/failures/{cause}?said=choose"
        assert "choose at least one" in looked.get(nothing.headers["location"])
        for keys in ({"key": "none"}, {"key": ["1", "1x"]}, {"key": ""}):
            assert looked.post("/replay", cause=cause, **keys, **confirmed).status_code == 400
    assert looked.get("/failures").count("Replay all 1") == 1
    asked = looked.post("/replay", cause=cause, choice="chosen", key=_key_in(shown))
    assert 'name="choice" value="chosen"' in asked.text, "the question is about the same choice"
    assert "1 delivery" in asked.text


def _key_in(page: str) -> str:
    found = re.search(r'name="key" value="(\d+)"', page)
    assert found, "nothing can be chosen"
    return found[1]


def test_a_replay_is_seen_before_it_is_done(looked: Looked) -> None:
    """The first question changes nothing and says what would be done; its answer does it."""
    cause = cause_in(looked.get("/failures")).rpartition("/")[2]
    asked = looked.post("/replay", cause=cause)
    assert "1 delivery" in asked.text
    assert looked.get("/failures").count("Replay all 1") == 1
    done = looked.post("/replay", cause=cause, confirmed="yes")
    progress = done.headers["location"]
    assert progress.startswith("/replays/")
    wait_until(lambda: "All done" in looked.get(progress), 20, "the replay to end")
    assert "Nothing fails" in looked.get("/failures")
    assert looked.post("/replay", cause=cause, confirmed="yes").status_code == 404
    replayed = [e for e in looked.running.rows(audit_events) if e.action == "replayed"]
    assert [event.objects for event in replayed] == [1]


def test_a_delivered_study_is_not_sent_again_by_mistake(looked: Looked) -> None:
    """Replay of a study that is delivered would do nothing, and says why."""
    asked = looked.post("/replay", study=uid("good"))
    assert "Nothing would be put back" in asked.text
    assert "--force" in asked.text or "has it" in asked.text
    assert looked.post("/replay", study="1.2.3").status_code == 404


def test_a_study_is_built_again(looked: Looked) -> None:
    """Building again is shown to its end."""
    done = looked.post("/replay", study=uid("good"), rebuild="yes", confirmed="yes")
    progress = done.headers["location"]
    wait_until(lambda: "All done" in looked.get(progress), 20, "the build to end")


def test_a_mapping_beside_the_channel_can_be_tried(looked: Looked) -> None:
    """Preview offers the files beside the channel, shows what they change, and no other file."""
    file = looked.running.folder / "channels" / "radiology" / "ours.yaml"
    file.write_text("extends: shipped\nversion: ours-1\nstudy:\n  description: leave_out\n")
    address = f"/studies/{uid('good')}/preview"
    tried = looked.get(f"{address}?mapping=radiology: ours.yaml")
    assert "ours-1" in tried
    assert "removed" in tried
    other = looked.get(f"{address}?mapping=../../../etc/passwd")
    assert "The content is the same" in other
    file.write_text("extends: shipped\nversion: ours-1\nstudy:\n  nonsense: leave_out\n")
    wrong = looked.client.get(f"{address}?mapping=radiology: ours.yaml")
    assert wrong.status_code == 400
    assert "nonsense" in wrong.text
