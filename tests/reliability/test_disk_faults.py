"""K-05 in small: some of the faults of ``python -m tests.reliability.disk_faults``."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.reliability.crash_points import ASSOCIATION, Areas, make_areas
from tests.reliability.disk_faults import Fault, faults, provoke
from tests.support.mutants import NO_FILE_SYNC, RETRY_SYNC
from tests.support.programs import require
from tests.support.receivers import Receivers
from tests.support.sync_log import CALLS, read_calls
from tests.support.waiting import wait_until


@pytest.mark.slow
def test_a_failing_disk_means_a700_and_an_end_of_it_means_success(
    receivers: Receivers, tmp_path: Path
) -> None:
    """Syncs, writes, renames and opens that fail never lead to Success; later all goes on."""
    require("strace")
    areas = make_areas(receivers, tmp_path)
    found = provoke(areas, faults(areas)[::17])
    assert not found.is_bad(), found
    assert found.statuses["A700"] > found.faults / 2


def test_a_stored_copy_that_cannot_be_read_is_replaced_before_success(
    receivers: Receivers, tmp_path: Path
) -> None:
    """Sent again while its copy cannot be opened, an object is stored anew; the old file is to go.

    Each of both answers is held against the file that its row named then.
    """
    require("strace")
    areas = make_areas(receivers, tmp_path)
    _wait_for_room_in_this_minute()
    number = _opening_of_stored_copy(areas)
    chosen = [Fault(ASSOCIATION, "openat", "EMFILE", number, lasting) for lasting in (False, True)]
    found = provoke(areas, chosen)
    assert not found.is_bad(), found
    assert found.statuses["0000"] == 4 + 3  # with a lasting fault nothing new is taken after it


def _wait_for_room_in_this_minute() -> None:
    """A folder that is new opens more, so that the number of an opening differs."""
    wait_until(lambda: time.time() % 60 < 45, what="a minute with room left")


def _opening_of_stored_copy(areas: Areas) -> int:
    """Return which opening of the association reads what is stored of a repeated object."""
    run = areas.fresh()
    assert run.transfer(ASSOCIATION, CALLS, [])
    opened = [call.quoted[0] for call in read_calls(run.place / "trace") if call.name == "openat"]
    run.done()
    return next(number for number, path in enumerate(opened, 1) if path.endswith(".dcm"))


def test_a_receiver_that_hides_a_failed_folder_sync_is_caught(
    receivers: Receivers, tmp_path: Path
) -> None:
    """Success after a sync that failed or never was is seen as what it is."""
    require("strace")
    areas = make_areas(receivers, tmp_path, NO_FILE_SYNC)
    found = provoke(areas, [Fault(ASSOCIATION, "fsync", "EIO", 1, lasting=False)])
    assert found.false_success


def test_a_receiver_that_tries_a_failed_sync_again_is_caught(
    receivers: Receivers, tmp_path: Path
) -> None:
    """A sync that succeeds after one of the same file has failed says nothing of the file."""
    require("strace")
    areas = make_areas(receivers, tmp_path, RETRY_SYNC)
    run = areas.fresh()
    assert run.transfer(ASSOCIATION, CALLS, [])
    syncs = [call.path for call in read_calls(run.place / "trace") if call.name == "fsync"]
    run.done()
    number = next(number for number, path in enumerate(syncs, 1) if path.endswith(".dcm"))
    found = provoke(areas, [Fault(ASSOCIATION, "fsync", "EIO", number, lasting=False)])
    assert found.false_success
