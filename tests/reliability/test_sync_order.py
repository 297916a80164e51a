"""K-03 in small: ``python -m tests.reliability.sync_order`` watches a thousand answers."""

from __future__ import annotations

import pytest

from tests.reliability.ground import ground
from tests.reliability.sync_order import watch
from tests.support.mutants import (
    ACK_FIRST,
    EARLY_COMMIT,
    NO_FILE_SYNC,
    NO_FOLDER_SYNC,
    WEAK_COMMIT,
)
from tests.support.programs import require
from tests.support.receivers import Receivers


@pytest.mark.parametrize("senders", [1, 4])
def test_success_is_sent_after_the_last_sync(
    receivers: Receivers, database_kind: str, senders: int
) -> None:
    """Before each Success the file, its folder and the row were synced, on both databases."""
    require("strace")
    with ground(database_kind) as place:
        verdict = watch(
            receivers,
            place.order(),
            answers=24,
            senders=senders,
            also=place.server_processes,
        )
    assert verdict.answers == 24
    assert verdict.counts() == {}
    assert verdict.unseen == []


@pytest.mark.parametrize(
    ("mutant", "missing"),
    [
        (ACK_FIRST, {"file", "row"}),
        (NO_FILE_SYNC, {"file"}),
        (NO_FOLDER_SYNC, {"folder"}),
        (WEAK_COMMIT, {"row"}),
        (EARLY_COMMIT, {"file before row"}),
    ],
)
def test_a_missing_sync_is_seen_at_every_answer(
    receivers: Receivers, mutant: str, missing: set[str]
) -> None:
    """A receiver that leaves one sync out is caught at each of its answers."""
    require("strace")
    with ground("sqlite") as place:
        verdict = watch(receivers, place.order(mutant), answers=8)
    assert verdict.answers == 8
    assert {what for what, count in verdict.counts().items() if count == 8} >= missing


@pytest.mark.parametrize(
    ("mutant", "missing"),
    [(ACK_FIRST, "file"), (EARLY_COMMIT, "file before row"), (WEAK_COMMIT, "row")],
)
def test_a_wrong_order_is_seen_on_postgresql(
    receivers: Receivers, mutant: str, missing: str
) -> None:
    """A COMMIT that comes early, is not waited for or not synced is caught, as on SQLite."""
    require("strace")
    with ground("postgresql") as place:
        verdict = watch(receivers, place.order(mutant), answers=12, also=place.server_processes)
    assert verdict.counts().get(missing, 0) > 6
