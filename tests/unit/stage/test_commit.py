"""Group commit."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest

from intu_fhir.errors import OutcomeUnknown, PermanentError, RowLocked, StoreUnavailable
from intu_fhir.stage.commit import Apart, GroupCommit
from intu_fhir.stage.withheld import HOLD_SECONDS, MOST_TRIES


def test_one_transaction_takes_what_gathered_meanwhile() -> None:
    """While one commit runs, the next batch gathers; everyone gets their own result."""
    batches: list[int] = []
    first_running, go_on = threading.Event(), threading.Event()

    def store(items: Sequence[int], _: Callable[[], None]) -> list[int]:
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


def test_those_in_company_gather_while_the_first_gets_ready(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """After a batch of several, the next one is not begun before its first item is ready."""
    monkeypatch.setattr("intu_fhir.stage.commit.COMPANY_SECONDS", 10.0)
    batches: list[int] = []
    first_running, go_on = threading.Event(), threading.Event()

    def store(items: Sequence[int], _: Callable[[], None]) -> list[int]:
        batches.append(len(items))
        first_running.set()
        assert go_on.wait(10)
        return list(items)

    commit = GroupCommit(store)
    commit.start()
    with ThreadPoolExecutor(9) as pool:
        others = [pool.submit(commit.submit, 0)]
        assert first_running.wait(10)
        others += [pool.submit(commit.submit, n) for n in range(1, 9)]
        while commit.waiting() < 8:
            pass
        go_on.set()
        assert [f.result(10) for f in others] == list(range(9))

        def bring_company() -> None:
            while commit.waiting():
                pass
            others.append(pool.submit(commit.submit, 10))
            while commit.waiting() < 1:
                pass

        assert commit.submit(9, bring_company) == 9
        assert others[-1].result(10) == 10
    commit.stop()
    assert batches == [1, 8, 2]


def test_one_bad_item_fails_alone() -> None:
    """An item that cannot be stored does not fail those that share its transaction."""

    def store(items: Sequence[int], _: Callable[[], None]) -> list[int]:
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

    def store(items: Sequence[int], _: Callable[[], None]) -> list[int]:
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

    def store(items: Sequence[int], _: Callable[[], None]) -> list[int]:
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


def transaction(
    committed: list[int], begun: threading.Event | None = None
) -> Callable[[Sequence[int], Callable[[], None]], list[int]]:
    """Return what stores items in a transaction that is undone when its commit may not be."""

    def store(items: Sequence[int], before_commit: Callable[[], None]) -> list[int]:
        if begun is not None:
            begun.set()
        before_commit()
        committed.extend(items)
        return list(items)

    return store


def test_nothing_is_committed_before_what_it_speaks_of_is_there() -> None:
    """The transaction is under way while the file is synced, and its commit waits for that."""
    committed: list[int] = []
    begun = threading.Event()
    commit = GroupCommit(transaction(committed, begun))
    commit.start()

    def sync() -> None:
        assert begun.wait(10)
        assert committed == []

    assert commit.submit(1, sync) == 1
    assert committed == [1]
    commit.stop()


def test_what_never_gets_there_is_not_committed() -> None:
    """A file that cannot be synced costs its own row alone; the error is its submitter's."""
    committed: list[int] = []
    begun = threading.Event()
    commit = GroupCommit(transaction(committed, begun))
    commit.start()

    def fail() -> None:
        assert begun.wait(10)
        raise StoreUnavailable("no space")

    with ThreadPoolExecutor(2) as pool:
        failing = pool.submit(commit.submit, 13, fail)
        other = pool.submit(commit.submit, 14, lambda: assert_set(begun))
        assert other.result(10) == 14
        with pytest.raises(StoreUnavailable, match="no space"):
            failing.result(10)
    commit.stop()
    assert committed == [14]


def assert_set(event: threading.Event) -> None:
    """Wait for something that happens soon."""
    assert event.wait(10)


def test_a_slow_disk_keeps_no_other_row_back() -> None:
    """A row whose file takes long leaves its transaction, and is committed when the file is."""
    committed: list[int] = []
    go_on = threading.Event()
    commit = GroupCommit(transaction(committed))
    commit.start()
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(commit.submit, 1, lambda: assert_set(go_on))
        assert [commit.submit(n) for n in (2, 3)] == [2, 3]
        assert committed == [2, 3]
        go_on.set()
        assert slow.result(10) == 1
    assert committed == [2, 3, 1]
    assert commit.undecided() == 0
    commit.stop()


class Locked:
    """A store in which another transaction keeps what items below ten need."""

    def __init__(self, *kinds: int) -> None:
        self.kinds = set(kinds)
        self.tries: list[tuple[str, list[int]]] = []

    def __call__(self, items: Sequence[int], before_commit: Callable[[], None]) -> list[int]:
        """Store after waiting for long."""
        return self._store("patiently", items, before_commit)

    def briefly(self, items: Sequence[int], before_commit: Callable[[], None]) -> list[int]:
        """Store after waiting for a moment."""
        return self._store("briefly", items, before_commit)

    def _store(
        self, how: str, items: Sequence[int], before_commit: Callable[[], None]
    ) -> list[int]:
        self.tries.append((how, sorted(items)))
        if self.kinds & {item // 10 for item in items}:
            raise RowLocked("kept by another transaction")
        before_commit()
        return list(items)


def outcomes(commit: GroupCommit[int, int], *items: int) -> list[int | type[Exception]]:
    """Submit items so that they are of one batch; return what became of each."""

    def outcome(item: int) -> int | type[Exception]:
        try:
            return commit.submit(item)
        except StoreUnavailable as error:
            return type(error)

    with ThreadPoolExecutor(len(items)) as pool:
        found = [pool.submit(outcome, item) for item in items]
        while commit.waiting() < len(items):
            pass
        commit.start()
        return [one.result(20) for one in found]


def test_one_locked_kind_of_items_fails_no_others() -> None:
    """Of a batch in which a row is locked, all are stored that do not need that row."""
    store = Locked(1)
    commit = GroupCommit(store, apart=Apart(lambda item: item // 10, store.briefly))
    assert outcomes(commit, 11, 21, 12, 31) == [RowLocked, 21, RowLocked, 31]
    assert store.tries[0] == ("patiently", [11, 12, 21, 31])
    assert sorted(store.tries[1:]) == [
        ("briefly", [11, 12]),
        ("briefly", [21]),
        ("briefly", [31]),
    ]
    commit.stop()


def test_what_was_locked_is_tried_after_others_and_seldom(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Known to be locked, items are refused at once for a while, then tried last and briefly."""
    now = [100.0]
    monkeypatch.setattr("intu_fhir.stage.withheld.time", SimpleNamespace(monotonic=lambda: now[0]))
    store = Locked(1)
    commit = GroupCommit(store, apart=Apart(lambda item: item // 10, store.briefly))
    outcomes(commit, 11, 21)
    store.tries.clear()
    with pytest.raises(RowLocked):
        commit.submit(12)
    assert store.tries == []
    now[0] += HOLD_SECONDS
    with pytest.raises(RowLocked):
        commit.submit(12)
    assert commit.submit(21) == 21
    assert store.tries == [("briefly", [12]), ("patiently", [21])]
    now[0] += HOLD_SECONDS
    store.kinds.clear()
    assert commit.submit(12) == 12
    assert commit.submit(13) == 13
    assert store.tries[2:] == [("briefly", [12]), ("patiently", [13])]
    commit.stop()


def test_a_batch_in_which_all_is_locked_is_not_tried_one_by_one() -> None:
    """Where every kind is locked, as a whole table may be, some tell it for all."""
    store = Locked(*range(1, 21))
    commit = GroupCommit(store, apart=Apart(lambda item: item // 10, store.briefly))
    assert outcomes(commit, *(10 * n for n in range(1, 21))) == [RowLocked] * 20
    assert len(store.tries) == 1 + MOST_TRIES
    commit.stop()
