"""Old complete headers: whole spans go, what is still needed stays, and nobody is kept waiting."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import Connection

from intu_fhir.db.described import Described, store_described, undescribed
from intu_fhir.db.holds import hold_study
from intu_fhir.db.image_files import KEY_OBJECTS, headers_of, notes_of
from intu_fhir.db.old_headers import be_first_at_headers, without_header
from intu_fhir.db.pruning import Pruner
from intu_fhir.db.session import Database
from intu_fhir.db.tables import (
    associations,
    audit_events,
    deliveries,
    headers,
    instances,
    studies,
    work,
)
from intu_fhir.errors import StoreUnavailable
from intu_fhir.model.settling import StudyHold
from intu_fhir.upkeep.headers import (
    AGAIN_SECONDS,
    EVERY_SECONDS,
    OldHeadersRemoval,
    ScheduledHeaders,
)
from tests.support.clock import FakeClock
from tests.support.old_headers import end_part, make_spans_small
from tests.support.staging import describe_all, header, new_instance, store

DAY = timedelta(days=1)


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    make_spans_small(monkeypatch)


def _receive(database: Database, clock: FakeClock, *studies_of: str) -> None:
    """Store, describe and settle one instance of each study, which go nowhere."""
    store(database, *(new_instance(clock.now(), header(study)) for study in studies_of))
    describe_all(database, clock.now())
    _settle(database)


def _settle(database: Database) -> None:
    with database.write() as connection:
        connection.execute(sa.update(work).values(have=work.c.want, state="done", due_at=None))
        connection.execute(sa.update(associations).values(ended_at=sa.func.current_timestamp()))


def _old(database: Database, clock: FakeClock, *studies_of: str) -> None:
    """Let studies become ten days old, with a later one behind them."""
    _receive(database, clock, *studies_of)
    end_part(database, clock)
    clock.advance(DAY.total_seconds())
    _receive(database, clock, "9.9")
    clock.advance(9 * DAY.total_seconds())


def _removal(database: Database, clock: FakeClock) -> OldHeadersRemoval:
    return OldHeadersRemoval(database, clock, Pruner("upkeep"))


def _remove(database: Database, clock: FakeClock, days: float = 5) -> None:
    chore = ScheduledHeaders(_removal(database, clock), days)
    while chore.remove_some():
        pass


def _rows(database: Database, table: sa.Table) -> list[Any]:
    with database.read() as connection:
        return list(connection.execute(sa.select(table)).all())


def test_old_headers_go_and_rows_stay(database: Database, clock: FakeClock) -> None:
    """What came before the limit loses its complete header, nothing else; that is on record."""
    _old(database, clock, "1.1", "1.2")
    before = _rows(database, instances)
    _remove(database, clock)
    newest = max(row.instance_key for row in before)
    assert [row.instance_key for row in _rows(database, headers)] == [newest]
    assert _rows(database, instances) == before
    acts = _rows(database, audit_events)
    assert {(row.action, row.actor) for row in acts} == {("headers_removed", "upkeep")}
    assert sum(row.objects for row in acts) == 2
    with database.read() as connection:
        keys = {row.study_key: without_header(connection, row.study_key) for row in before}
    assert sorted(keys.values()) == [0, 1, 1]


def test_removing_twice_changes_nothing(database: Database, clock: FakeClock) -> None:
    """The second run finds nothing: no row, no act."""
    _old(database, clock, "1.1")
    _remove(database, clock)
    acts = len(_rows(database, audit_events))
    _remove(database, clock)
    assert len(_rows(database, audit_events)) == acts
    assert len(_rows(database, headers)) == 1


def test_what_is_young_stays(database: Database, clock: FakeClock) -> None:
    """Nothing goes before its time, nor while what came behind it is younger than the limit."""
    _old(database, clock, "1.1")
    _remove(database, clock, days=10.5)
    assert len(_rows(database, headers)) == 2
    _remove(database, clock, days=9.5)  # the first one is old enough, the one behind it is not
    assert len(_rows(database, headers)) == 2


def test_a_young_instance_keeps_its_span(
    database: Database, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One instance that a wrong clock dated later keeps all that lie with it."""
    monkeypatch.setattr("intu_fhir.db.old_headers.KEYS_AT_A_TIME", 3)
    _old(database, clock, "1.1", "1.2")
    with database.write() as connection:
        late = sa.update(instances).where(instances.c.instance_key == 2)
        connection.execute(late.values(received_at=clock.now() - DAY))
    _remove(database, clock)
    assert len(_rows(database, headers)) == 3


def test_the_last_span_stays_however_old(database: Database, clock: FakeClock) -> None:
    """Where nothing has come behind it a span may still grow."""
    _receive(database, clock, "1.1")
    clock.advance(1000 * DAY.total_seconds())
    _remove(database, clock)
    assert len(_rows(database, headers)) == 1


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
    _old(database, clock, "1.1")
    with database.write() as connection:
        key = connection.execute(
            sa.select(studies.c.study_key).where(studies.c.study_instance_uid == "1.1")
        ).scalar_one()
        KEEPERS[keeper](connection, key)
    [found] = list(_removal(database, clock).find(clock.now() - 5 * DAY))
    assert found.kept_by == ("1.1",)
    _remove(database, clock)
    assert len(_rows(database, headers)) == 2


def test_what_needs_nothing_more_goes(database: Database, clock: FakeClock) -> None:
    """A delivered study keeps nothing."""
    _old(database, clock, "1.1")
    with database.write() as connection:
        _deliver("delivered")(connection, 1)
    _remove(database, clock)
    assert len(_rows(database, headers)) == 1


def test_key_object_selections_stay(
    database: Database, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What says which images are out of use is there afterwards as it was, and only that."""
    monkeypatch.setattr("intu_fhir.db.old_headers.KEYS_AT_A_TIME", 3)  # with the image behind it
    one = replace(header("1.1"), sop_class_uid=KEY_OBJECTS)
    store(database, new_instance(clock.now(), one))
    with database.read() as connection:
        [waiting] = undescribed(connection, 1)
    note = Described(
        instance_key=waiting.instance_key,
        series_key=waiting.series_key,
        dicom_json={"0040A043": {"vr": "SQ"}, "00100010": {"vr": "PN", "Value": ["Ö % '"]}},
        shared={},
        digest="1",
        attributes={},
        staged_by="",
    )
    with database.write() as connection:
        store_described(connection, [note], clock.now())
    _old(database, clock, "1.1")
    _remove(database, clock)
    _remove(database, clock)
    with database.read() as connection:
        [kept] = notes_of(connection, [1])
        assert kept.dicom_json == note.dicom_json
    assert len(_rows(database, headers)) == 2


def test_whoever_reads_for_long_is_not_waited_for(database: Database, clock: FakeClock) -> None:
    """A part that a backup reads goes ten minutes later; on SQLite readers keep what they see."""
    _old(database, clock, "1.1")
    chore = ScheduledHeaders(_removal(database, clock), 5)
    with database.snapshot() as backup:
        be_first_at_headers(backup)
        backup.execute(sa.select(sa.func.count()).select_from(instances))
        before = headers_of(backup, [1, 2]) if database.is_sqlite else None
        worked = chore.remove_some()
        assert worked == (1 if database.is_sqlite else 0)
        if database.is_sqlite:
            assert headers_of(backup, [1, 2]) == before
        assert 1 in headers_of(backup, [1])
    clock.advance(AGAIN_SECONDS)
    while chore.remove_some():
        pass
    assert len(_rows(database, headers)) == 1


def test_it_looks_once_a_day(database: Database, clock: FakeClock) -> None:
    """A run that has found nothing is followed by another one a day later."""
    _old(database, clock, "1.1")
    chore = ScheduledHeaders(_removal(database, clock), 20)
    assert chore.remove_some() == 0
    clock.advance(EVERY_SECONDS * 30)
    assert chore.remove_some() == 1


def test_several_processes_remove_once(database: Database, clock: FakeClock) -> None:
    """Whoever comes second finds nothing to do; each header is on record once."""
    _old(database, clock, "1.1", "1.2", "1.3")
    at_once = [threading.Thread(target=_remove, args=(database, clock)) for _ in range(3)]
    for one in at_once:
        one.start()
    for one in at_once:
        one.join(60)
    _remove(database, clock)
    assert len(_rows(database, headers)) == 1
    assert sum(row.objects for row in _rows(database, audit_events)) == 3


def test_readers_and_writers_go_on_meanwhile(database: Database, clock: FakeClock) -> None:
    """While spans go, instances are received, described and read, and nobody fails."""
    _old(database, clock, *(f"1.{number}" for number in range(1, 9)))
    failed: list[Exception] = []
    done = threading.Event()

    def keep(doing: Callable[[], object]) -> None:
        try:
            while not done.is_set():
                doing()
        except Exception as error:  # noqa: BLE001 - whatever it was, the test tells it
            failed.append(error)

    def read() -> None:
        with database.snapshot() as connection:
            be_first_at_headers(connection)
            headers_of(connection, range(1, 20))
            notes_of(connection, range(1, 9))

    def write() -> None:
        store(database, new_instance(clock.now(), header("8.8")))
        describe_all(database, clock.now())

    threads = [threading.Thread(target=keep, args=(doing,)) for doing in (read, read, write)]
    for one in threads:
        one.start()
    try:
        for _ in range(20):
            _remove(database, clock)
            clock.advance(AGAIN_SECONDS)
    finally:
        done.set()
        for one in threads:
            one.join(60)
    assert failed == []
    assert not {row.instance_key for row in _rows(database, headers)} & set(range(1, 9))


def test_the_limit_of_a_part_that_waits_is_short(database: Database, clock: FakeClock) -> None:
    """A reader in the way is told as something that passes, and nothing was removed."""
    if database.is_sqlite:
        pytest.skip("SQLite has no parts")
    _old(database, clock, "1.1")
    with database.read() as reader:
        reader.execute(sa.select(headers.c.instance_key)).all()
        with pytest.raises(StoreUnavailable):
            _removal(database, clock).step(clock.now() - 5 * DAY, 0)
    assert len(_rows(database, headers)) == 2
