"""Group commit."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from intu_fhir.errors import OutcomeUnknown, PermanentError, StoreUnavailable
from intu_fhir.stage.commit import GroupCommit


def test_one_transaction_takes_what_gathered_meanwhile() -> None:
    """While one commit runs, the next batch gathers; everyone gets their own result."""
    batches: list[int] = []
    first_running, go_on = threading.Event(), threading.Event()

    def store(items: Sequence[int]) -> list[int]:
        batches.append(len(items))
        first_running.set()
        assert go_on.wait(10)
        return [item * 10 for item in items]

    commit = GroupCommit(store)
    commit.start()
    with ThreadPoolExecutor(9) as pool:
        first = pool.submit(commit.submit, 0)
        assert first_running.wait(10)
        others = [pool.submit(commit.submit, n) for n in range(1, 9)]
        while commit.waiting() < 8:
            pass
        go_on.set()
        assert [f.result(10) for f in (first, *others)] == [n * 10 for n in range(9)]
    commit.stop()
    assert batches == [1, 8]


def test_one_bad_item_fails_alone() -> None:
    """An item that cannot be stored does not fail those that share its transaction."""

    def store(items: Sequence[int]) -> list[int]:
        if 13 in items:
            raise PermanentError("13 cannot be stored")
        return list(items)

    commit = GroupCommit(store)
    commit.start()
    with ThreadPoolExecutor(8) as pool:
        futures = {n: pool.submit(commit.submit, n) for n in range(8, 16)}
        with pytest.raises(PermanentError):
            futures.pop(13).result(10)
        assert all(future.result(10) == n for n, future in futures.items())
    commit.stop()


def test_nobody_waits_for_ever() -> None:
    """A database that does not answer ends in StoreUnavailable within the deadline."""
    go_on = threading.Event()

    def store(items: Sequence[int]) -> list[int]:
        go_on.wait(10)
        return list(items)

    commit = GroupCommit(store, wait_seconds=0.05)
    commit.start()
    with pytest.raises(StoreUnavailable):
        commit.submit(1)
    go_on.set()
    commit.stop()


def test_what_was_given_up_in_time_is_not_stored() -> None:
    """An item whose submitter was told "not stored" is left out of the next transaction."""
    stored: list[int] = []
    running, go_on = threading.Event(), threading.Event()

    def store(items: Sequence[int]) -> list[int]:
        running.set()
        assert go_on.wait(10)
        stored.extend(items)
        return list(items)

    commit = GroupCommit(store, wait_seconds=0.05)
    commit.start()
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(commit.submit, 1)
        assert running.wait(10)
        with pytest.raises(StoreUnavailable) as given_up:
            commit.submit(2)
        assert not isinstance(given_up.value, OutcomeUnknown)
        with pytest.raises(OutcomeUnknown):
            first.result(10)
    assert commit.undecided() == 1
    go_on.set()
    commit.stop()
    assert stored == [1]
    assert commit.undecided() == 0
