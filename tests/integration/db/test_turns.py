"""One at a time, over all threads and processes of a site."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from intu_fhir.db.session import Database
from intu_fhir.db.turns import Turn
from intu_fhir.errors import StoreUnavailable
from tests.support.databases import sqlite_url

_HAVE_IT = """
import sys
from intu_fhir.db.session import Database
from intu_fhir.db.turns import Turn
with Turn(Database(sys.argv[1]), "a"):
    print("mine", flush=True)
    sys.stdin.read()
"""


def test_a_turn_is_one_threads_at_a_time(database: Database) -> None:
    """Threads with one Turn, and with Turns of their own, never have it at the same moment."""
    shared, inside, most = Turn(database, "a"), threading.Semaphore(1), []

    def work(number: int) -> None:
        with shared if number % 2 else Turn(database, "a"):
            most.append(inside.acquire(blocking=False))
            inside.release()

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(40)))
    assert most == [True] * 40


def test_turns_of_other_names_do_not_wait(database: Database) -> None:
    """Who looks after one server does not keep others from theirs."""
    with Turn(database, "a"), Turn(database, "b", wait_seconds=0.2):
        pass


def test_another_process_waits_and_a_killed_one_lets_go(database: Database) -> None:
    """A turn is that of all processes, and ends with the process that had it."""
    command = [sys.executable, "-c", _HAVE_IT, database.url]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"mine\n"
        with pytest.raises(StoreUnavailable), Turn(database, "a", wait_seconds=0.2):
            pass
        other.kill()
        with Turn(database, "a", wait_seconds=20):
            pass


def test_a_turn_is_let_go_after_an_error(database: Database) -> None:
    """What goes wrong in one's turn keeps nobody else waiting."""
    turn = Turn(database, "a", wait_seconds=0.2)
    with pytest.raises(KeyError), turn:
        raise KeyError
    with turn, pytest.raises(StoreUnavailable), turn:
        pass
    with turn, database.write():
        pass


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, who alone makes files for others")
def test_what_root_made_serves_the_service_too(tmp_path: Path) -> None:
    """The file of a turn that root took once belongs to who has the database."""
    file = tmp_path / "staging.db"
    file.touch()
    os.chown(file, 65_534, 65_534)
    database = Database(sqlite_url(file))
    with Turn(database, "a"):
        pass
    database.close()
    [turn] = tmp_path.glob("*-turn*")
    assert (turn.stat().st_uid, turn.stat().st_gid) == (65_534, 65_534)


def test_a_file_that_cannot_be_opened_is_named(tmp_path: Path) -> None:
    """Who cannot have a turn is told of which file that is; the work is tried again."""
    file = tmp_path / "staging.db"
    file.touch()
    database = Database(sqlite_url(file))
    with Turn(database, "a"):
        pass
    [turn] = tmp_path.glob("*-turn*")
    turn.unlink()
    turn.mkdir()
    with pytest.raises(StoreUnavailable, match=turn.name), Turn(database, "a"):
        pass
    database.close()
