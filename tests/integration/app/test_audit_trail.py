"""M-05: what happens in a running site is in its audit trail, and the counts are equal."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from intu_fhir.app.importing import import_paths
from intu_fhir.db.audit_chain import verify
from intu_fhir.db.replay import ReplayFilter
from intu_fhir.db.tables import attempts, audit_events, instances
from intu_fhir.demo.ehr import Fault
from intu_fhir.model.audit import Action
from intu_fhir.pipeline.replay import ReplaySelection, replay
from tests.support.running import Running, running_site
from tests.support.studies import make_instance, make_study, uid, write_study
from tests.support.waiting import wait_until


def test_counts_are_equal(tmp_path: Path, migrated_database_url: str) -> None:
    """Stored, sent again, kept aside, published, forwarded: told of as often as it happened."""
    with running_site(tmp_path, migrated_database_url) as running:
        first, second = [*make_study("a")], [*make_study("b")]
        running.send([*first, *second])
        running.rest()
        running.send(first[:2])
        running.send([make_instance("a", 3), make_instance("b", 1, 1, StationName="OTHER")])
        wait_until(lambda: _happened(running)[Action.FORWARDED] == 3, 30, "the late image sent")
        running.rest()  # the study is published again at about the same time
        wait_until(lambda: _unsealed(running) == 0, 30, "everything sealed")
        events = running.rows(audit_events)
        stored = len(running.rows(instances))
        tries = Counter(row.outcome for row in running.rows(attempts))
        with running.site.app.database.snapshot() as connection:
            verdict = verify(connection)
    told: Counter[str] = Counter()
    for row in events:
        told[row.action] += row.objects
    happened = Counter(row.action for row in events)
    assert told[Action.ACCEPTED] == stored == 13
    assert told[Action.FORWARDED] == stored  # an image that came late is not told of twice
    assert happened[Action.ACCEPTED] == 3  # two studies of one association, one of another
    assert (told[Action.ALREADY_STORED], told[Action.QUARANTINED]) == (2, 1)
    assert happened[Action.PUBLISHED] + happened[Action.FORWARDED] == tries["delivered"]
    assert (verdict.events, verdict.broken_at, verdict.unsealed) == (len(events), None, 0)


def _happened(running: Running) -> Counter[str]:
    return Counter(row.action for row in running.rows(audit_events))


def _unsealed(running: Running) -> int:
    return sum(row.position is None for row in running.rows(audit_events))


def test_a_dead_letter_is_told_of(tmp_path: Path, migrated_database_url: str) -> None:
    """A destination that refuses for good makes a failed event with its status."""
    with running_site(tmp_path, migrated_database_url) as running:
        running.ehr.fail_next(*[Fault(status=403)] * 9)
        running.send(make_study("a"))
        running.rest()
        rows = [row for row in running.rows(audit_events) if row.action == Action.PUBLISHED]
    assert [(row.outcome, row.destination) for row in rows] == [("serious", "ehr")]
    assert rows[0].reason.startswith("HTTP 403: ")
    assert rows[0].study_instance_uid == uid("a")


def test_an_announced_study_is_told_of(tmp_path: Path, migrated_database_url: str) -> None:
    """What the EHR is told of a study before its images are at the PACS is an event of its own."""
    ehr = {"after": ["pacs"], "announce": True}
    image = make_instance("a")
    with running_site(tmp_path, migrated_database_url, ehr=ehr) as running:
        running.pacs.answer_for(str(image.SOPInstanceUID), 0xC000)
        running.send([image])
        wait_until(running.imaging_studies, 30, "the study announced")
        (told,) = wait_until(lambda: _of(running, Action.PUBLISHED), 10, "the announcement told of")
        running.pacs.answer_for(str(image.SOPInstanceUID), 0)
        selection = ReplaySelection(ReplayFilter(destination="pacs"))
        wait_until(lambda: _of(running, Action.FORWARDED), 30, "the PACS has refused it")
        replay(running.site.app.database, running.site.app.clock, selection)
        running.rest()
        events = _of(running, Action.PUBLISHED)
    assert (told.study_instance_uid, told.destination, told.objects) == (uid("a"), "ehr", 1)
    assert [row.reason for row in events] == ["201: announced as registered", "200"]


def _of(running: Running, action: Action) -> list[Any]:
    return [row for row in running.rows(audit_events) if row.action == action]


def test_an_import_tells_who_imports(tmp_path: Path, migrated_database_url: str) -> None:
    """The batch door's events name the person at the command line, and the study."""
    with running_site(tmp_path, migrated_database_url) as running:
        write_study(tmp_path / "media", "c")
        import_paths(running.site.app, [tmp_path / "media"], by="rita")
        (row,) = [row for row in running.rows(audit_events) if row.action == Action.ACCEPTED]
    assert (row.actor, row.actor_kind, row.objects) == ("rita", "person", 6)
    assert row.study_instance_uid == uid("c")
