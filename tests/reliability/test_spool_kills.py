"""Kills around uploads in small: ``python -m tests.reliability.spool_kills`` runs it at length."""

from __future__ import annotations

import pytest

from tests.reliability.ground import ground
from tests.reliability.spool_kills import kill_often
from tests.support.object_stores import start_object_store


@pytest.mark.slow
@pytest.mark.parametrize("answer", ["spooled", "uploaded"])
def test_kills_around_uploads_lose_nothing(answer: str, database_kind: str) -> None:
    """Killed at random moments, every object answered for is in the bucket, and nothing else."""
    with ground(database_kind) as place:
        server = start_object_store("versitygw", place.folder / "store")
        try:
            found = kill_often(place, server, kills=4, seed=3, answer=answer)
        finally:
            server.stop()
    assert found.acknowledged > 4
    assert (found.lost, found.astray) == (0, 0)
