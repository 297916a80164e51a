"""What counts as built last, on SQLite and PostgreSQL."""

from __future__ import annotations

from datetime import datetime, timedelta

from intu_fhir.db.resources import VALID, BuiltResource, newest_resource, store_resource
from intu_fhir.db.session import Database
from tests.support.clock import FakeClock
from tests.support.seeded import stage


def _build(database: Database, key: int, mapping: str, at: datetime) -> str:
    """Build by a mapping; return by which one the study is published then."""
    resource = {"resourceType": "ImagingStudy", "description": mapping}
    built = BuiltResource("r4", mapping, "ct", VALID, mapping, resource)
    with database.write() as connection:
        store_resource(connection, key, 1, built, at)
        newest = newest_resource(connection, key, "r4", generation=1)
    assert newest is not None
    return newest.content_hash


def test_what_was_built_last_is_published_whatever_the_clock_shows(
    database: Database, clock: FakeClock
) -> None:
    """A clock that was set back brings no older mapping back, nor keeps a newer one away."""
    with database.write() as connection:
        key = stage(connection, "one", at=clock.now())
    hour_ago = clock.now() - timedelta(hours=1)
    assert _build(database, key, "first", clock.now()) == "first"
    assert _build(database, key, "second", hour_ago) == "second"
    assert _build(database, key, "first", hour_ago) == "first"
    assert _build(database, key, "first", hour_ago) == "first"
    assert _build(database, key, "second", clock.now()) == "second"
