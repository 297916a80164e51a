"""Complete headers that a test calls old, whatever their number."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from intu_fhir.db import old_headers, partitions
from intu_fhir.db.old_headers import OldHeaders
from intu_fhir.db.partitions import parts_of
from intu_fhir.db.pruning import Pruner
from intu_fhir.db.session import Database
from intu_fhir.observe.clock import Clock, SystemClock
from intu_fhir.upkeep.headers import OldHeadersRemoval
from intu_fhir.upkeep.parts import ScheduledCut


def make_spans_small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a span on SQLite have one key, and a part on PostgreSQL end soon after what is there."""
    monkeypatch.setattr(old_headers, "KEYS_AT_A_TIME", 1)
    monkeypatch.setattr(partitions, "LEAST_AHEAD", 1)


def end_part(database: Database, clock: Clock | None = None) -> None:
    """Let what comes from now on go into another part than what is there."""
    if database.is_sqlite:
        return
    assert ScheduledCut(database, clock or SystemClock(), most_keys=0).cut()[-1] == "cut"
    with database.write() as connection:
        end = parts_of(connection)[-1].first
        sequence = "pg_get_serial_sequence('instances', 'instance_key')"
        connection.exec_driver_sql(f"SELECT setval({sequence}, {end})")


def removal(database: Database, clock: Clock | None = None) -> OldHeadersRemoval:
    """Return what removes headers, in the name of a test."""
    return OldHeadersRemoval(database, clock or SystemClock(), Pruner("test"))


def remove_all(database: Database, before: datetime | None = None) -> list[OldHeaders]:
    """Remove all that is old, or older than a time; return what went and what was kept."""
    removing, found, behind = removal(database), [], 0
    before = before or SystemClock().now() + timedelta(seconds=1)
    while old := removing.step(before, behind):
        found.append(old)
        behind = old.span.end
    return found
