"""The audit trail: one chain, whoever writes, in which no change goes unnoticed."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from intu_fhir.db.audit import (
    Seal,
    chain_end,
    record_and_seal,
    record_audit,
    seal,
)
from intu_fhir.db.audit_chain import verify
from intu_fhir.db.session import Database
from intu_fhir.db.tables import audit_events
from intu_fhir.model.audit import Action, Actor, AuditEvent, Outcome, once
from tests.support.clock import START

T = audit_events.c


def event(number: int = 1, **fields: Any) -> AuditEvent:
    """Return an event that says something in every field."""
    told: dict[str, Any] = {
        "action": Action.PUBLISHED,
        "at": START + timedelta(seconds=number, microseconds=7),
        "actor": f"worker-{number}",
        "actor_kind": Actor.PROGRAM,
        "address": "10.0.0.7",
        "study_instance_uid": "1.2.3",
        "association_id": "a1",
        "destination": "ehr",
        "objects": number,
        "reason": "HTTP 201 größer \U0001f600",
    }
    return AuditEvent(**told | fields)


def sealed(database: Database, number: int = 10) -> Seal:
    """Record events and return the end of their chain."""
    record_and_seal(database, *(event(n) for n in range(1, number + 1)))
    with database.read() as connection:
        return chain_end(connection)


def verdict(database: Database, *expected: Seal) -> tuple[int, int | None, str]:
    """Return what a look at the chain finds."""
    with database.snapshot() as connection:
        found = verify(connection, expected=expected)
    return found.events, found.broken_at, found.why


def test_events_are_sealed_in_their_order(database: Database) -> None:
    """Each event gets the place after the one before it, and the whole chain is right."""
    end = sealed(database)
    assert end.position == 10
    assert verdict(database) == (10, None, "")
    with database.read() as connection:
        places = connection.execute(sa.select(T.position).order_by(T.audit_event_key)).scalars()
        assert list(places) == list(range(1, 11))


def test_an_event_with_a_name_is_recorded_once(database: Database) -> None:
    """A transaction that is tried again does not make a second event of the same thing."""
    named = event(event_id=once("accepted", "a1", "1.2.3"))
    for _ in range(3):
        record_and_seal(database, named)
    assert verdict(database) == (1, None, "")


def test_what_was_not_committed_is_not_in_the_chain(database: Database) -> None:
    """An event belongs to the transaction of what it tells of; undone with it, it leaves no gap."""
    with contextlib.suppress(InterruptedError), database.write() as connection:
        record_audit(connection, event())
        raise InterruptedError
    assert seal(database) is None
    sealed(database, 3)
    assert verdict(database) == (3, None, "")


CHANGES: dict[str, Any] = {
    "event_id": once("another"),
    "happened_at": START,
    "action": "viewed",
    "outcome": "minor",
    "actor": "somebody",
    "actor_kind": "person",
    "address": "10.0.0.8",
    "study_instance_uid": "1.2.4",
    "association_id": "a2",
    "destination": "pacs",
    "objects": 99,
    "reason": "",
    "hash": "f" * 64,
}


def test_every_column_is_protected() -> None:
    """The cases below name each column that says something."""
    chain = {"audit_event_key", "position", "previous_hash"}
    assert set(CHANGES) == {column.name for column in audit_events.columns} - chain


@pytest.mark.parametrize("column", CHANGES)
def test_a_changed_row_is_found(database: Database, column: str) -> None:
    """Any column of a sealed row that is changed breaks the chain at that row."""
    sealed(database)
    with database.write() as connection:
        connection.execute(
            sa.update(audit_events).where(T.position == 4).values({column: CHANGES[column]})
        )
    events, broken_at, why = verdict(database)
    assert (events, broken_at) == (3, 4)
    assert "changed" in why


def _remove(connection: Any) -> None:
    connection.execute(sa.delete(audit_events).where(T.position == 4))


def _close_the_gap(connection: Any) -> None:
    _remove(connection)
    for position in range(5, 11):
        connection.execute(
            sa.update(audit_events).where(T.position == position).values(position=position - 1)
        )


def _swap(connection: Any) -> None:
    for old, new in ((4, 100), (5, 4), (100, 5)):
        connection.execute(sa.update(audit_events).where(T.position == old).values(position=new))


def _slip_in(connection: Any) -> None:
    connection.execute(
        sa.insert(audit_events).values(
            event_id="x", happened_at=START, action="viewed", outcome="success", actor="x",
            actor_kind="person", position=0, previous_hash="0" * 64, hash="0" * 64,
        )
    )  # fmt: skip


@pytest.mark.parametrize(
    ("tamper", "at"), [(_remove, 4), (_close_the_gap, 4), (_swap, 4), (_slip_in, 1)]
)
def test_removed_moved_or_added_rows_are_found(
    database: Database, tamper: Callable[[Any], None], at: int
) -> None:
    """A row that is gone, out of its place or not ours breaks the chain there."""
    sealed(database)
    with database.write() as connection:
        tamper(connection)
    assert verdict(database)[1] == at


def test_a_cut_off_end_is_found_by_a_seal_kept_elsewhere(database: Database) -> None:
    """Without its last rows the chain is right in itself, but not what was noted in the log."""
    end = sealed(database)
    with database.write() as connection:
        connection.execute(sa.delete(audit_events).where(T.position > 8))
    assert verdict(database) == (8, None, "")
    events, broken_at, why = verdict(database, end)
    assert (events, broken_at) == (8, 9)
    assert "rows up to 10" in why


def test_a_chain_written_anew_is_found_by_a_seal_kept_elsewhere(database: Database) -> None:
    """Who changes a row and all hashes after it cannot change the log of another machine."""
    end = sealed(database)
    with database.write() as connection:
        connection.execute(sa.update(audit_events).where(T.position == 4).values(actor="nobody"))
        connection.execute(
            sa.update(audit_events)
            .where(T.position >= 4)
            .values(position=None, previous_hash="", hash="")
        )
    seal(database)
    assert verdict(database) == (10, None, "")
    assert verdict(database, end)[1] == 10


def test_hostile_text_is_stored_and_sealed(database: Database) -> None:
    """NUL, half a surrogate pair and endless text are made storable; the chain stays right."""
    record_and_seal(database, event(actor="a\0b", reason="\ud800" + "x" * 10_000))
    assert verdict(database) == (1, None, "")
    with database.read() as connection:
        row = connection.execute(sa.select(audit_events)).one()
    assert row.actor == "a\N{REPLACEMENT CHARACTER}b"
    assert len(row.reason) == 500


def test_threads_and_processes_make_one_chain(database: Database) -> None:
    """Writers and sealers of several processes at once: every event once, one chain."""
    code = (
        "import sys\n"
        "from intu_fhir.db.session import Database\n"
        "from intu_fhir.db.audit import record_and_seal\n"
        "from tests.integration.db.test_audit import event\n"
        f"database = Database({database.url!r})\n"
        "for n in range(40): record_and_seal(database, event(n), event(n))\n"
    )
    others = [
        subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    threads = [
        threading.Thread(target=lambda: [record_and_seal(database, event(n)) for n in range(40)])
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    errors = [process.communicate(timeout=60)[1] for process in others]
    assert [process.returncode for process in others] == [0] * 3, errors
    seal(database)
    assert verdict(database) == (3 * 80 + 3 * 40, None, "")


def test_unsealed_rows_are_counted(database: Database) -> None:
    """What waits for its place is said, with its age: a sealer that is missing shows."""
    sealed(database, 2)
    with database.write() as connection:
        record_audit(connection, event(3), event(4, outcome=Outcome.MAJOR))
    with database.snapshot() as connection:
        found = verify(connection)
    assert (found.events, found.unsealed) == (2, 2)
    assert found.unsealed_since == event(3).at
