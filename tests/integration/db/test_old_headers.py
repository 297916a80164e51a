"""Old complete headers: whole spans go, what is still needed stays, and nobody is kept waiting."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import Connection

from intu_fhir.db.described import store_described, undescribed
from intu_fhir.db.holds import hold_study
from intu_fhir.db.image_files import KEY_OBJECTS, notes_of
from intu_fhir.db.old_headers import without_header
from intu_fhir.db.session import Database
from intu_fhir.db.tables import (
    audit_events,
    deliveries,
    headers,
    instances,
    studies,
    work,
)
from intu_fhir.model.settling import StudyHold
from intu_fhir.upkeep.old_rows import (
    EVERY_SECONDS,
    ScheduledRemoval,
)
from tests.support.clock import FakeClock
from tests.support.old_headers import (
    DAY,
    make_old,
    receive,
    removal,
    remove_old,
)
from tests.support.rows import rows_of
from tests.support.staging import described, header, new_instance, store

pytestmark = pytest.mark.usefixtures("small_spans")


def test_old_headers_go_and_rows_stay(database: Database, clock: FakeClock) -> None:
    """What came before the limit loses its complete header, nothing else; that is on record."""
    make_old(database, clock, "1.1", "1.2")
    before = rows_of(database, instances)
    remove_old(database, clock)
    newest = max(row.instance_key for row in before)
    assert [row.instance_key for row in rows_of(database, headers)] == [newest]
    assert rows_of(database, instances) == before
    acts = rows_of(database, audit_events)
    assert {(row.action, row.actor) for row in acts} == {("headers_removed", "test")}
    assert sum(row.objects for row in acts) == 2
    with database.read() as connection:
        keys = {row.study_key: without_header(connection, row.study_key) for row in before}
    assert sorted(keys.values()) == [0, 1, 1]


def test_removing_twice_changes_nothing(database: Database, clock: FakeClock) -> None:
    """The second run finds nothing: no row, no act."""
    make_old(database, clock, "1.1")
    remove_old(database, clock)
    acts = len(rows_of(database, audit_events))
    remove_old(database, clock)
    assert len(rows_of(database, audit_events)) == acts
    assert len(rows_of(database, headers)) == 1


def test_what_is_young_stays(database: Database, clock: FakeClock) -> None:
    """Nothing goes before its time, nor while what came behind it is younger than the limit."""
    make_old(database, clock, "1.1")
    remove_old(database, clock, days=10.5)
    assert len(rows_of(database, headers)) == 2
    remove_old(database, clock, days=9.5)  # the first one is old enough, the one behind it is not
    assert len(rows_of(database, headers)) == 2


def test_a_young_instance_keeps_its_span(
    database: Database, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One instance that a wrong clock dated later keeps all that lie with it."""
    monkeypatch.setattr("intu_fhir.db.spans.KEYS_AT_A_TIME", 3)
    make_old(database, clock, "1.1", "1.2")
    with database.write() as connection:
        late = sa.update(instances).where(instances.c.instance_key == 2)
        connection.execute(late.values(received_at=clock.now() - DAY))
    remove_old(database, clock)
    assert len(rows_of(database, headers)) == 3


def test_the_last_span_stays_however_old(database: Database, clock: FakeClock) -> None:
    """Where nothing has come behind it a span may still grow."""
    receive(database, clock, "1.1")
    clock.advance(1000 * DAY.total_seconds())
    remove_old(database, clock)
    assert len(rows_of(database, headers)) == 1


def _deliver(state: str, **values: Any) -> Callable[[Connection, int], None]:
    def insert(connection: Connection, study: int) -> None:
        row = {"study_key": study, "destination": "ehr", "state": state, "want": 1, "have": 1}
        times = dict.fromkeys(("updated_at",), connection.execute(_RECEIVED).scalar())
        connection.execute(sa.insert(deliveries).values({**row, **times, **values}))

    return insert


_RECEIVED = sa.select(sa.func.max(instances.c.received_at))


def _hold(connection: Connection, study: int) -> None:
    came = connection.execute(_RECEIVED).scalar_one()
    hold_study(connection, study, [StudyHold("patient_conflict", "x")], generation=1, now=came)


def _undescribe(connection: Connection, study: int) -> None:
    mine = instances.c.study_key == study
    connection.execute(sa.update(instances).where(mine).values(described_at=None))


def _want(connection: Connection, study: int) -> None:
    mine = work.c.study_key == study
    connection.execute(sa.update(work).where(mine).values(want=work.c.want + 1, state="waiting"))


def _die(connection: Connection, study: int) -> None:
    connection.execute(sa.update(work).where(work.c.study_key == study).values(state="dead"))


KEEPERS: Mapping[str, Callable[[Connection, int], None]] = {
    "waits": _deliver("waiting", have=0),
    "dead": _deliver("dead", have=0),
    "promise": _deliver("delivered", commitment="asked"),
    "held": _hold,
    "undescribed": _undescribe,
    "to settle": _want,
    "dead step": _die,
}


@pytest.mark.parametrize("keeper", KEEPERS)
def test_what_is_still_needed_stays(database: Database, clock: FakeClock, keeper: str) -> None:
    """A study with which something is to be done keeps its span, and is named as the reason."""
    make_old(database, clock, "1.1")
    with database.write() as connection:
        key = connection.execute(
            sa.select(studies.c.study_key).where(studies.c.study_instance_uid == "1.1")
        ).scalar_one()
        KEEPERS[keeper](connection, key)
    [found] = list(removal(database, clock).find(clock.now() - 5 * DAY))
    assert found.kept_by == ("1.1",)
    remove_old(database, clock)
    assert len(rows_of(database, headers)) == 2


def test_what_needs_nothing_more_goes(database: Database, clock: FakeClock) -> None:
    """A delivered study keeps nothing."""
    make_old(database, clock, "1.1")
    with database.write() as connection:
        _deliver("delivered")(connection, 1)
    remove_old(database, clock)
    assert len(rows_of(database, headers)) == 1


def test_key_object_selections_stay(
    database: Database, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What says which images are out of use is there afterwards as it was, and only that."""
    monkeypatch.setattr("intu_fhir.db.spans.KEYS_AT_A_TIME", 3)  # with the image behind it
    one = replace(header("1.1"), sop_class_uid=KEY_OBJECTS)
    store(database, new_instance(clock.now(), one))
    with database.read() as connection:
        [waiting] = undescribed(connection, 1)
    content = {"0040A043": {"vr": "SQ"}, "00100010": {"vr": "PN", "Value": ["Ö % '"]}}
    note = described(waiting, dicom_json=content)
    with database.write() as connection:
        store_described(connection, [note], clock.now())
    make_old(database, clock, "1.1")
    remove_old(database, clock)
    remove_old(database, clock)
    with database.read() as connection:
        [kept] = notes_of(connection, [1])
        assert kept.dicom_json == content
    assert len(rows_of(database, headers)) == 2


def test_it_looks_once_a_day(database: Database, clock: FakeClock) -> None:
    """A run that has found nothing is followed by another one a day later."""
    make_old(database, clock, "1.1")
    chore = ScheduledRemoval(removal(database, clock), 20)
    assert chore.remove_some() == 0
    clock.advance(EVERY_SECONDS * 30)
    assert chore.remove_some() == 1
