"""A small run of M-01: an upgrade beside programs of the version before."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from intu_fhir.db import migrate
from tests.reliability.migrations_under_load import (
    make_old,
    old_version,
    stock,
    upgrade_under_load,
)

OLD = "889327e"
"""A commit from when the schema was at revision 0004, the first that had a worker to run alone."""


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """The earlier version."""
    try:
        return old_version(OLD, tmp_path / "old")
    except (subprocess.CalledProcessError, OSError):
        # A copy without its history is a whole one, in the gate too.
        pytest.skip("there is no git history to take an earlier version from")


def test_programs_of_before_go_on_during_an_upgrade(
    program: Path, tmp_path: Path, database_url: str
) -> None:
    """An old receiver loses nothing and an old worker builds all, while upgrades are killed."""
    assert make_old(program, database_url) == "0004"
    stock(database_url, 4_000)
    found = upgrade_under_load(program, tmp_path, database_url, kills=1, seed=1, before=1.0)
    assert migrate.current(database_url) == migrate.head()
    assert found.killed
    assert found.acknowledged > 50
    assert found.missing == 0
    assert found.settled == found.wanted > 2
