"""K-01 in small: some of the points of ``python -m tests.reliability.crash_points``."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.reliability.crash_points import (
    ASIDE,
    ASSOCIATION,
    COMMIT,
    DISK_CALLS,
    START,
    Areas,
    Point,
    make_areas,
    points,
    sweep,
)
from tests.support.mutants import ACK_FIRST, LATE_RESTORE, NO_RENAME, ROW_FIRST
from tests.support.programs import require
from tests.support.receivers import Receivers

EVERY = {ASSOCIATION: 5, COMMIT: 6, ASIDE: 5, START: 5}


@pytest.fixture
def areas(receivers: Receivers, tmp_path: Path) -> Areas:
    """Untouched staging areas."""
    require("strace")
    return make_areas(receivers, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("role", EVERY)
def test_a_kill_at_any_call_loses_nothing_acknowledged(areas: Areas, role: str) -> None:
    """Killed just before a system call, the next receiver has all that was answered Success."""
    chosen = points(areas, role, DISK_CALLS)[:: EVERY[role]]
    found = sweep(areas, chosen)
    assert not found.broken
    assert found.fired > 0.9 * found.points


@pytest.mark.parametrize(
    ("mutant", "point", "broken"),
    [
        (ACK_FIRST, Point(COMMIT, "pwrite64", 1), "lost"),
        (ROW_FIRST, Point(ASSOCIATION, "rename", 3), "bad_rows"),
        (LATE_RESTORE, Point(ASIDE, "pwrite64", 8), "lost"),
        (NO_RENAME, Point(COMMIT, "pwrite64", 90), "lost"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_receiver_with_the_wrong_order_is_caught(
    receivers: Receivers, tmp_path: Path, mutant: str, point: Point, broken: str
) -> None:
    """A kill between two steps shows which promise a changed order breaks."""
    require("strace")
    found = sweep(make_areas(receivers, tmp_path, mutant), [point])
    assert getattr(found.broken, broken)
