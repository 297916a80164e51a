"""Workers on several machines have one time, or do nothing."""

from __future__ import annotations

import re
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import REGISTRY

from intu_fhir.app.airflow import prune
from intu_fhir.app.serving import WORK, Site
from intu_fhir.app.wiring import open_app
from intu_fhir.db.session import Database
from intu_fhir.errors import StoreUnavailable, TransientError
from intu_fhir.observe.clock import SystemClock, system_time
from intu_fhir.pipeline import clock_watch
from intu_fhir.pipeline.clock_watch import (
    LOOK_SECONDS,
    ClockWatch,
    bound_seconds,
    offset_seconds,
)
from intu_fhir.settings.load import load_configuration
from intu_fhir.web.readiness import readiness
from tests.support.clock import START, FakeClock
from tests.support.databases import sqlite_url
from tests.support.ports import free_port
from tests.support.waiting import wait_until
from tests.support.worked_site import worked_site

LEASE = 60.0
_only_postgresql = pytest.mark.parametrize("database_kind", ["postgresql"])


@pytest.fixture
def right() -> FakeClock:
    """A clock that shows the time of the test, for as long as the test takes."""
    return FakeClock(datetime.now(UTC))


def _offset() -> float:
    value = REGISTRY.get_sample_value("intu_clock_offset_seconds")
    assert value is not None
    return value


@_only_postgresql
@pytest.mark.parametrize(
    ("seconds", "said"), [(61, r"\d+\.\d s ahead of"), (-90, r"\d+\.\d s behind")]
)
def test_a_clock_that_is_off_is_not_worked_by(
    database: Database, right: FakeClock, seconds: float, said: str
) -> None:
    """Off by more than a tenth of the lease: no work, said and measured, until it is set right."""
    watch = ClockWatch(database, right, LEASE)
    assert watch.is_right()
    right.step_wall(seconds)
    assert not watch.is_right()
    assert re.match(said, watch.fault)
    assert _offset() == pytest.approx(seconds, abs=5)
    right.step_wall(-seconds)
    assert (watch.is_right(), watch.fault) == (True, "")
    assert abs(_offset()) < 5


@_only_postgresql
def test_a_machine_that_slept_is_found_out(
    database: Database, right: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both clocks stood still: at the next look, 20 seconds later, the database knows better."""
    watch = ClockWatch(database, right, LEASE)
    assert watch.is_right()
    there = clock_watch.server_time
    monkeypatch.setattr(clock_watch, "server_time", lambda c: there(c) + timedelta(minutes=2))
    assert watch.is_right()
    right.advance(LOOK_SECONDS)
    assert not watch.is_right()


def test_one_machine_has_one_clock(tmp_path: Path) -> None:
    """On SQLite there is nobody to differ from: any time will do."""
    with closing(Database(sqlite_url(tmp_path / "one.db"))) as database:
        assert ClockWatch(database, FakeClock(START), LEASE).is_right()


def test_without_an_answer_nothing_is_taken(right: FakeClock) -> None:
    """A database that does not answer says nothing of the clock: whoever asks is told."""
    nowhere = f"postgresql+psycopg://nobody@127.0.0.1:{free_port()}/none"
    with closing(Database(nowhere)) as database, pytest.raises(StoreUnavailable):
        ClockWatch(database, right, LEASE).is_right()


@given(st.floats(-1e6, 1e6), st.floats(0, 100), st.floats(0, 1))
def test_what_an_answer_takes_is_no_fault(offset: float, took: float, share: float) -> None:
    """An offset is never told larger than it is, nor smaller by more than the answer took."""
    there = START + timedelta(seconds=took * share)
    before = START + timedelta(seconds=offset)
    told = offset_seconds(before, there, before + timedelta(seconds=took))
    assert abs(told) <= abs(offset) + 1e-5
    assert abs(told) >= abs(offset) - took - 1e-5
    assert told * offset >= 0


@pytest.mark.parametrize(("lease", "bound"), [(60, 6), (600, 60), (5, 1), (0.6, 1)])
def test_the_bound_follows_the_lease(lease: float, bound: float) -> None:
    """A tenth of the lease, and no less than a second."""
    assert bound_seconds(lease) == bound


class _Counted(ClockWatch):
    """Counts how often it was asked."""

    asked = 0

    def is_right(self) -> bool:
        self.asked += 1
        return super().is_right()


@_only_postgresql
def test_a_worker_ahead_of_all_takes_nothing(tmp_path: Path, migrated_database_url: str) -> None:
    """It says that it is not ready and why, claims no work, and begins when it is set right."""
    ahead = [timedelta(seconds=61)]
    with worked_site(tmp_path, migrated_database_url) as site:
        site.stage(3)
        app = open_app(load_configuration(tmp_path), SystemClock(lambda: system_time() + ahead[0]))
        app.clock_watch = watch = _Counted(app.database, app.clock, LEASE)
        worker = Site(app, {WORK})
        worker.start()
        try:
            wait_until(lambda: watch.asked > 30, what="workers that ask")
            assert "ahead of the database" in readiness(app, app.database, None)["clock"]
            assert (site.ehr.arrived, site.leases()) == ({}, 0)
            ahead[0] = timedelta(0)
            site.wait()
            assert site.faults() == []
            assert readiness(app, app.database, None)["clock"] == ""
        finally:
            worker.stop()


@_only_postgresql
def test_nothing_is_old_by_a_wrong_clock(
    tmp_path: Path, migrated_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A task of Airflow removes no files where the machine's clock is not the database's."""
    with worked_site(tmp_path, migrated_database_url, retention={"after_days": 1}):
        monkeypatch.setattr(ClockWatch, "_offset", lambda _: 3_600.0)
        with pytest.raises(TransientError, match="clock of this machine is 3600"):
            prune(str(tmp_path))
