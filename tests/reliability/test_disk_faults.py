"""K-05 in small: some of the faults of ``python -m tests.reliability.disk_faults``."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.reliability.crash_points import ASIDE, ASSOCIATION, Areas, make_areas
from tests.reliability.disk_faults import Fault, faults, provoke, wait_for_room_in_this_minute
from tests.support.data import REPOSITORY
from tests.support.mutants import LATE_RESTORE, NO_FILE_SYNC, RETRY_FOLDER_SYNC, RETRY_SYNC
from tests.support.programs import missing, require
from tests.support.receivers import Receivers
from tests.support.sync_log import CALLS, read_calls


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
    wait_for_room_in_this_minute()
    number = _opening_of_stored_copy(areas)
    chosen = [Fault(ASSOCIATION, "openat", "EMFILE", number, lasting) for lasting in (False, True)]
    found = provoke(areas, chosen)
    assert not found.is_bad(), found
    assert found.statuses["0000"] == 5 + 3  # with a lasting fault nothing new is taken after it


def _opening_of_stored_copy(areas: Areas) -> int:
    """Return which opening of the association reads what is stored of a repeated object."""
    run = areas.fresh()
    assert run.transfer(ASSOCIATION, CALLS, [])
    opened = [call.quoted[0] for call in read_calls(run.place / "trace") if call.name == "openat"]
    run.done()
    return next(number for number, path in enumerate(opened, 1) if path.endswith(".dcm"))


def test_a_fault_befalls_its_thread_wherever_the_numbers_of_processes_begin_anew() -> None:
    """The younger of two threads may have the lower number; each is traced as what it is."""
    require("strace")
    own_numbers = (require("unshare"), "--pid", "--fork", "--kill-child", "--mount-proc")
    probed = subprocess.run([*own_numbers, "true"], capture_output=True, text=True, check=False)
    if probed.returncode != 0:
        missing(f"a system that lets process numbers be given anew: {probed.stderr.strip()}")
    command = [*own_numbers, sys.executable, "-m", "tests.reliability.renumbered"]
    ran = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_a_receiver_that_hides_a_failed_folder_sync_is_caught(
    receivers: Receivers, tmp_path: Path
) -> None:
    """Success after a sync that failed or never was is seen as what it is."""
    require("strace")
    areas = make_areas(receivers, tmp_path, NO_FILE_SYNC)
    found = provoke(areas, [Fault(ASSOCIATION, "fsync", "EIO", 1, lasting=False)])
    assert found.false_success


def test_what_was_traced_of_a_broken_promise_is_kept(receivers: Receivers, tmp_path: Path) -> None:
    """Both logs of such a fault can be looked at afterwards, and those of a harmless one go."""
    require("strace")
    fault = Fault(ASSOCIATION, "fsync", "EIO", 1, lasting=False)
    for kept, mutant in ((tmp_path / "good", ""), (tmp_path / "bad", NO_FILE_SYNC)):
        provoke(make_areas(receivers, tmp_path, mutant), [fault], keep=kept)
    assert not (tmp_path / "good").exists()
    assert all((tmp_path / "bad" / "1" / log).stat().st_size > 0 for log in ("faulty", "other"))


def test_a_database_opened_while_it_could_only_be_read_is_opened_anew(
    receivers: Receivers, tmp_path: Path
) -> None:
    """Refused descriptors to write by, SQLite opens to read; that costs no later object."""
    require("strace")
    chosen = [Fault(ASIDE, "openat", "EMFILE", number, lasting=False) for number in (1, 2)]
    found = provoke(make_areas(receivers, tmp_path), chosen)
    assert not found.is_bad(), found


@pytest.mark.parametrize(
    ("mutant", "after_file", "what"), [(RETRY_SYNC, 0, "file"), (RETRY_FOLDER_SYNC, 1, "folder")]
)
def test_a_receiver_that_tries_a_failed_sync_again_is_caught(
    receivers: Receivers, tmp_path: Path, mutant: str, after_file: int, what: str
) -> None:
    """A sync that succeeds after one has failed says nothing of the file, or of its entry."""
    require("strace")
    wait_for_room_in_this_minute()
    areas = make_areas(receivers, tmp_path, mutant)
    run = areas.fresh()
    assert run.transfer(ASSOCIATION, CALLS, [])
    syncs = [call.path for call in read_calls(run.place / "trace") if call.name == "fsync"]
    run.done()
    number = next(number for number, path in enumerate(syncs, 1) if path.endswith(".dcm"))
    found = provoke(areas, [Fault(ASSOCIATION, "fsync", "EIO", number + after_file, lasting=False)])
    assert any(one.endswith(f": {what}") for one in found.false_success), found


def test_a_receiver_that_answers_before_a_row_has_its_restored_file_is_caught(
    receivers: Receivers, tmp_path: Path
) -> None:
    """A row that names the damaged file is none of the file that was answered Success."""
    require("strace")
    areas = make_areas(receivers, tmp_path, LATE_RESTORE)
    found = provoke(areas, [Fault(ASIDE, "mkdir", "ENOSPC", 1, lasting=False)])
    assert [one.rpartition(": ")[2] for one in found.false_success] == ["row"]
