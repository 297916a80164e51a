"""Promises of a PACS to a running site, over sockets, on both databases (battery P-05)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import httpx
import pytest
import sqlalchemy as sa
from prometheus_client import REGISTRY

from intu_fhir.cli.main import run
from intu_fhir.db.tables import (
    archive_commitments,
    deliveries,
    instance_deliveries,
    instances,
)
from intu_fhir.errors import NotAuthorized
from intu_fhir.model.archive_commitment import CommitmentAnswer
from intu_fhir.model.commitment import CommitmentResult
from intu_fhir.stage.commitment import encode_event_information
from intu_fhir.stage.encodings import IMPLICIT_LITTLE_ENDIAN
from intu_fhir.web.running import WebPage
from tests.support.archive import Archive, Asked, archive, result_of
from tests.support.ports import free_port
from tests.support.running import Running, running_site
from tests.support.studies import make_instance, make_study, uid
from tests.support.waiting import wait_until

Make: TypeAlias = Callable[..., tuple[Running, Archive]]
UIDS = [uid("study", 1, number) for number in range(1, 5)]


@pytest.fixture
def make(tmp_path: Path, migrated_database_url: str) -> Iterator[Make]:
    """Make a site whose PACS is asked for commitment; keys are those of ``commitment``."""
    with ExitStack() as stack:

        def start(
            *,
            ehr: dict[str, Any] | None = None,
            source: dict[str, Any] | None = None,
            web: dict[str, Any] | None = None,
            **commitment: Any,
        ) -> tuple[Running, Archive]:
            pacs = stack.enter_context(archive())
            settings = {"wait_seconds": 0, "answer_seconds": 30, **commitment}
            site = stack.enter_context(
                running_site(
                    tmp_path,
                    migrated_database_url,
                    pacs_at={"port": pacs.port, "commitment": settings},
                    ehr=ehr,
                    source=source,
                    web=web or {"enabled": False},
                    retry={"first_seconds": 0.1, "max_seconds": 0.2, "max_attempts": 4},
                )
            )
            pacs.reports_to = site.site.listeners[0].port
            return site, pacs

        yield start


def send(site: Running, instances: int = 4) -> None:
    """Send a study to the site."""
    site.send(make_study(series=1, instances=instances))


def delivery(site: Running, name: str = "pacs") -> Any:
    """Return the row of the study at a destination; None where there is none."""
    return next((row for row in site.rows(deliveries) if row.destination == name), None)


def reaches(site: Running, commitment: str, state: str = "delivered") -> Any:
    """Wait until the promise stands so, and the delivery so."""

    def there() -> Any:
        row = delivery(site)
        return row and (row.commitment, row.state) == (commitment, state) and row

    return wait_until(there, 30, f"{commitment} and {state}")


def requests(site: Running) -> list[str]:
    """Return the states of all requests, the oldest first."""
    rows = sorted(site.rows(archive_commitments), key=lambda row: row.request_key)
    return [row.state for row in rows]


def alarms() -> float:
    """Return how often a person was asked for, as Prometheus sees it."""
    labels = {"destination": "pacs", "outcome": "given_up"}
    return REGISTRY.get_sample_value("intu_commitments_total", labels) or 0.0


def test_promise_on_the_same_association(make: Make) -> None:
    """P-05: the PACS answers where it was asked; every instance and the delivery are closed."""
    site, pacs = make(wait_seconds=10)
    pacs.on_asked = lambda asked: pacs.tell_here(asked, result_of(asked))
    send(site)
    row = reaches(site, "committed")
    assert row.committed_at is not None
    assert row.committed_generation == 1
    assert requests(site) == ["committed"]
    assert [set(one.uids) for one in pacs.asked] == [{*UIDS}]
    wait_until(lambda: pacs.statuses == [0x0000])
    assert all(one.committed_at for one in site.rows(instance_deliveries))


@pytest.mark.parametrize("role", [True, False])
def test_promise_on_a_new_association(role: bool, make: Make) -> None:
    """P-05: the PACS comes to our own port, with role selection or, as old ones do, without."""
    site, pacs = make()
    pacs.on_asked = partial(pacs.promise, role=role)
    send(site)
    reaches(site, "committed")
    assert [one.calling for one in pacs.asked] == ["INTU_SCU"]
    wait_until(lambda: pacs.statuses == [0x0000])


def test_promise_after_a_restart(make: Make) -> None:
    """P-05: what was asked before the site stopped is taken from a PACS that answers after."""
    site, pacs = make()
    send(site)
    wait_until(lambda: requests(site) == ["asked"])
    site.restart()
    pacs.reports_to = site.site.listeners[0].port
    (asked,) = pacs.asked
    assert pacs.tell_there(asked, result_of(asked)) == 0x0000
    reaches(site, "committed")
    assert len(pacs.asked) == 1


def test_what_is_not_kept_is_sent_again(make: Make) -> None:
    """P-05: of a partial failure only what failed is sent again and asked for again."""
    site, pacs = make()

    def answer(asked: Asked) -> None:
        failed = {UIDS[1]: 0x0112} if len(asked.uids) > 1 else {}
        pacs.tell_there(asked, result_of(asked, failed))

    pacs.on_asked = answer
    send(site)
    reaches(site, "committed")
    assert requests(site) == ["failed", "committed"]
    assert [set(one.uids) for one in pacs.asked] == [{*UIDS}, {UIDS[1]}]
    assert pacs.stored == {UIDS[0]: 1, UIDS[1]: 2, UIDS[2]: 1, UIDS[3]: 1}
    failed = sorted(site.rows(archive_commitments), key=lambda row: row.request_key)[0]
    assert (failed.failed, failed.last_error) == (1, "0112 no such object instance")


def test_pacs_that_never_keeps_becomes_a_dead_letter(make: Make) -> None:
    """P-05: a PACS that always refuses the same instance is not sent it for ever."""
    site, pacs = make(max_tries=3)
    pacs.on_asked = partial(pacs.promise, failed={UIDS[1]: 0x0110})
    send(site)
    row = reaches(site, "missing", "dead")
    assert pacs.stored[UIDS[1]] == 3
    assert pacs.stored[UIDS[0]] == 1
    assert "0110 processing failure" in row.last_error
    assert row.last_error.endswith("then replay")


def test_pacs_that_never_answers_becomes_a_dead_letter(make: Make) -> None:
    """P-05: without an answer it is asked anew, each time by a new UID, then a person is asked."""
    site, pacs = make(answer_seconds=0.3, max_tries=3)
    before = alarms()
    send(site)
    row = reaches(site, "missing", "dead")
    wait_until(lambda: alarms() == before + 1)
    assert requests(site) == ["unanswered"] * 3
    assert len({one.transaction_uid for one in pacs.asked}) == 3
    assert set(pacs.stored.values()) == {1}
    assert row.last_error == (
        "The PACS took every image, but gave no promise to keep them in 3 requests: it does not "
        "answer in time; find out there why, then replay"
    )


def test_late_promise_closes_a_dead_letter(make: Make) -> None:
    """P-05: an answer to the first of all requests, after the last was given up, still counts."""
    site, pacs = make(answer_seconds=0.2, max_tries=2)
    send(site)
    reaches(site, "missing", "dead")
    assert pacs.tell_there(pacs.asked[0], result_of(pacs.asked[0])) == 0x0000
    row = reaches(site, "committed", "delivered")
    assert row.last_error == ""


def test_replay_asks_anew(make: Make) -> None:
    """P-05: a dead letter that is put back is asked for again; its images are not sent again."""
    site, pacs = make(answer_seconds=0.2, max_tries=1)
    send(site)
    row = reaches(site, "missing", "dead")
    pacs.on_asked = pacs.promise
    with site.site.app.database.write() as connection:
        connection.execute(
            sa.update(deliveries)
            .where(deliveries.c.delivery_key == row.delivery_key)
            .values(state="waiting", due_at=site.site.app.clock.now())
        )
    reaches(site, "committed")
    assert set(pacs.stored.values()) == {1}


def test_many_instances_are_asked_for_in_parts(make: Make) -> None:
    """A request names no more instances than is set; all of them together close the delivery."""
    site, pacs = make(max_instances=3)
    pacs.on_asked = pacs.promise
    site.send(make_study(series=1, instances=7))
    reaches(site, "committed")
    assert sorted(len(one.uids) for one in pacs.asked) == [1, 3, 3]
    assert requests(site) == ["committed"] * 3


def test_late_images_are_asked_for_alone(make: Make) -> None:
    """A second generation asks for its new images only, and closes with both."""
    site, pacs = make()
    pacs.on_asked = pacs.promise
    site.send(make_study(series=1, instances=2))
    reaches(site, "committed")
    site.send([make_instance(number=3)])
    wait_until(lambda: (row := delivery(site)).committed_generation == 2 and row)
    assert [set(one.uids) for one in pacs.asked] == [{*UIDS[:2]}, {UIDS[2]}]


def test_answers_that_are_wrong(make: Make) -> None:
    """P-05: unknown, unreadable and foreign answers get their status and change nothing."""
    site, pacs = make()
    send(site)
    wait_until(lambda: requests(site) == ["asked"])
    (asked,) = pacs.asked
    unknown = result_of(asked, transaction_uid="1.2.3.4.5")
    assert pacs.tell_there(asked, unknown) == 0x0115
    assert pacs.tell_there(asked, result_of(asked, transaction_uid="")) == 0x0115
    assert pacs.tell_there(asked, result_of(asked), title="OTHER") == -1
    assert requests(site) == ["asked"]
    foreign = [*UIDS, "1.2.3.4.5.6"]
    assert pacs.tell_there(asked, result_of(asked, uids=foreign)) == 0x0000
    reaches(site, "committed")
    assert pacs.tell_there(asked, result_of(asked)) == 0x0000, "told twice"
    assert pacs.tell_there(asked, result_of(asked, {UIDS[0]: 0x0110})) == 0x0000
    assert delivery(site).commitment == "committed"
    assert requests(site) == ["committed"]


def test_answer_in_the_name_of_another_pacs(make: Make) -> None:
    """P-05: who may answer for one destination may not answer for another one: 0124."""
    site, pacs = make()
    send(site)
    wait_until(lambda: requests(site) == ["asked"])
    result = CommitmentResult(pacs.asked[0].transaction_uid, ())
    answer = encode_event_information(result, IMPLICIT_LITTLE_ENDIAN)
    with pytest.raises(NotAuthorized):
        site.site.app.hearing(
            CommitmentAnswer("OTHER", "INTU_SCU", IMPLICIT_LITTLE_ENDIAN, lambda: answer)
        )
    assert requests(site) == ["asked"]


def test_files_stay_until_the_promise_is_given(make: Make) -> None:
    """What a PACS may yet refuse is not pruned: it would have to be sent again."""
    site, pacs = make()
    send(site)
    wait_until(lambda: requests(site) == ["asked"] and site.rest())
    prune = ["prune", "--config", str(site.folder), "--older-than", "0", "--yes"]
    assert run(prune) == 0
    assert [row.pruned_at for row in site.rows(instances)] == [None] * 4
    pacs.promise(pacs.asked[0])
    reaches(site, "committed")
    assert run(prune) == 0
    assert all(row.pruned_at for row in site.rows(instances))


def test_what_an_answer_leaves_out_is_asked_for_again(make: Make) -> None:
    """P-05: an answer that names half of the instances is no promise of the other half."""
    site, pacs = make()

    def answer(asked: Asked) -> None:
        uids = asked.uids[:2] if len(pacs.asked) == 1 else asked.uids
        pacs.tell_there(asked, result_of(asked, uids=uids))

    pacs.on_asked = answer
    send(site)
    reaches(site, "committed")
    assert [len(one.uids) for one in pacs.asked] == [4, 2]
    assert set(pacs.stored.values()) == {1}


def test_refused_request_needs_a_person(make: Make) -> None:
    """A PACS that does not know storage commitment makes a dead letter at once, with a remedy."""
    site, pacs = make()
    pacs.status = 0x0122
    send(site)
    row = reaches(site, "missing", "dead")
    assert requests(site) == ["rejected"]
    assert "0122: SOP class not supported; have storage commitment enabled" in row.last_error


def test_pacs_that_is_short_is_asked_again(make: Make) -> None:
    """A PACS without resources is asked the same later, by the same UID."""
    site, pacs = make()
    pacs.status = 0x0213
    pacs.on_asked = pacs.promise
    send(site)
    wait_until(lambda: len(pacs.asked) == 2)
    pacs.status = 0x0000
    reaches(site, "committed")
    assert len({one.transaction_uid for one in pacs.asked}) == 1


def test_who_comes_after_waits_for_the_promise(make: Make) -> None:
    """With ``awaited`` the EHR hears of a study only when the PACS has promised to keep it."""
    site, pacs = make(awaited=True, ehr={"after": ["pacs"]})
    send(site)
    wait_until(lambda: requests(site) == ["asked"] and delivery(site).state == "delivered")
    wait_until(lambda: (row := delivery(site, "ehr")) and row.follows == "pacs")
    assert site.imaging_studies() == []
    pacs.tell_there(pacs.asked[0], result_of(pacs.asked[0]))
    wait_until(site.imaging_studies)
    site.rest()


def test_pacs_may_answer_where_only_others_may_send(make: Make) -> None:
    """A PACS that no channel lists may answer, and do nothing else."""
    source = {"type": "dicom", "host": "127.0.0.1", "ae_title": "INTU_TEST"}
    site, pacs = make(source={**source, "calling_ae_titles": ["CT1"]})
    pacs.on_asked = pacs.promise
    send(site)
    reaches(site, "committed")
    answers = site.send(make_study("other", series=1, instances=1), calling="PACS")
    assert [one.delivered for one in answers] in ([], [False])


def test_people_see_the_promise(make: Make, capsys: pytest.CaptureFixture[str]) -> None:
    """What was asked, refused and promised stands in `study`, on the page and in the view."""
    site, pacs = make(web={"port": free_port()})
    pacs.on_asked = lambda asked: pacs.promise(
        asked, failed={UIDS[1]: 0x0112} if len(asked.uids) > 1 else {}
    )
    send(site)
    reaches(site, "committed")
    assert run(["study", "--config", str(site.folder), uid("study")]) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "pacs: asked to promise to keep 4 instances, request 1" in told
    assert "pacs: no promise to keep 1 of 4 instances" in told
    assert "0112 no such object instance" in told
    assert "pacs: promised to keep 1 instance" in told
    assert "promised to keep it 20" in told
    page = WebPage(site.site.app)
    page.start()
    try:
        answer = httpx.get(f"http://127.0.0.1:{page.server.port}/studies/{uid('study')}")
    finally:
        page.stop()
    assert "promised to keep it 20" in answer.text
    assert "pacs took 4 images (0000) and promised to keep 4" in " ".join(answer.text.split())
    with site.site.app.database.read() as connection:
        found = connection.execute(
            sa.text(
                "SELECT commitment, committed_at IS NOT NULL, images_committed FROM v_deliveries "
                "WHERE destination = 'pacs'"
            )
        ).one()
    assert tuple(found) == ("committed", True, 4)


def test_people_see_what_is_waited_for(make: Make, capsys: pytest.CaptureFixture[str]) -> None:
    """`deliveries` names the promise that a destination waits for."""
    site, _ = make(awaited=True, ehr={"after": ["pacs"]})
    send(site)
    wait_until(lambda: requests(site) == ["asked"])
    wait_until(lambda: (row := delivery(site, "ehr")) and row.follows == "pacs")
    assert run(["deliveries", "--config", str(site.folder)]) == 0
    assert "waits for pacs, asked to promise to keep it" in capsys.readouterr().out
