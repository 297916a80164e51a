"""K-07: a small disk that runs full within an object."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.reliability.full_disk import FRACTIONS, fill, small_disk
from tests.support import mutants
from tests.support.receivers import Receivers
from tests.support.senders import SUCCESS


@pytest.fixture(scope="module")
def disk() -> Iterator[Path]:
    """A disk of some megabytes."""
    if os.geteuid() != 0 or sys.platform != "linux":
        pytest.skip("needs root, to mount a small disk")
    with small_disk() as folder:
        yield folder


@pytest.mark.parametrize("whole", [False, True], ids=["files", "files and database"])
@pytest.mark.parametrize("fraction", FRACTIONS)
def test_a_full_disk_refuses_and_comes_back(
    receivers: Receivers, disk: Path, tmp_path: Path, fraction: float, whole: bool
) -> None:
    """Full at a fraction of an object: A700 and not a byte left; with space again: Success."""
    found = fill(receivers, disk, tmp_path, fraction, whole=whole)
    assert found.refused == 0xA700
    assert found.left_bytes <= 0
    assert found.later == SUCCESS
    assert not found.broken


def test_a_receiver_that_leaves_pieces_is_seen(
    receivers: Receivers, disk: Path, tmp_path: Path
) -> None:
    """K-07 can fail: one that does not remove what it could not write has bytes left."""
    found = fill(receivers, disk, tmp_path, 0.75, whole=False, mutant=mutants.UNTIDY)
    assert found.left_bytes > 0
