"""Handing over work that may hang: who does so goes on in time."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from intu_fhir.errors import InvalidDataSet, OutcomeUnknown, StoreUnavailable
from intu_fhir.stage.handover import HandOver


class Work:
    """Does what it is given, or hangs on it."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.begun, self.go_on = threading.Event(), threading.Event()

    def __call__(self, item: str) -> None:
        """Do it."""
        if item == "bad":
            raise InvalidDataSet("no")
        if item == "hangs":
            self.begun.set()
            assert self.go_on.wait(30)
        self.done.append(item)


@pytest.fixture
def work() -> Iterator[Work]:
    """Work that ends with the test."""
    work = Work()
    yield work
    work.go_on.set()


def test_work_is_done_on_return(work: Work) -> None:
    """What was handed over is done, and what it raised is raised."""
    over = HandOver(work, "test")
    over.start()
    over("one")
    with pytest.raises(InvalidDataSet):
        over("bad")
    over("two")
    assert work.done == ["one", "two"]
    over.stop()


def test_work_that_hangs_is_left(work: Work) -> None:
    """Who waits is told in time: it may happen yet, or never does; later all goes on."""
    over = HandOver(work, "test", wait_seconds=0.2)
    over.start()
    with pytest.raises(OutcomeUnknown):
        over("hangs")
    with pytest.raises(StoreUnavailable) as caught:
        over("never")
    assert not isinstance(caught.value, OutcomeUnknown)
    work.go_on.set()
    over.stop()
    assert work.done == ["hangs"]
