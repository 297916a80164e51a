"""A PACS answers what we asked it for, by pynetdicom (PS3.4 J.3.3, PS3.7 D.3.3.4)."""

from __future__ import annotations

import threading
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset
from pydicom.uid import CTImageStorage
from pynetdicom import AE, build_role

from intu_fhir.errors import InvalidDataSet, NotAuthorized, StoreUnavailable
from intu_fhir.model.archive_commitment import CommitmentAnswer
from intu_fhir.model.commitment import CommitmentRequest, Requester
from tests.support.raw_peer import IMPLICIT, RawPeer, command, element, status_of, us
from tests.support.receiving import Receiving, limits

VERIFICATION = "1.2.840.10008.1.1"
COMMITMENT, WELL_KNOWN = "1.2.840.10008.1.20.1", "1.2.840.10008.1.20.1.1"
ARCHIVES = {"PACS": frozenset({"INTU_SCU"})}
Start = Callable[..., Receiving]


@dataclass
class Hearing:
    """Keeps answers, or fails."""

    error: Exception | None = None
    heard: list[CommitmentAnswer] = field(default_factory=list)
    read: list[bytes] = field(default_factory=list)

    def __call__(self, answer: CommitmentAnswer) -> None:
        """Take an answer."""
        if self.error is not None:
            raise self.error
        self.read.append(answer.read())
        self.heard.append(answer)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start listeners that are stopped afterwards."""
    started: list[Receiving] = []

    def run(**changes: Any) -> Receiving:
        settings = {"archives": ARCHIVES, "ae_title": "INTU_SCP", **changes}
        started.append(Receiving(tmp_path, **settings))
        return started[-1]

    yield run
    for one in started:
        one.listener.stop(0.5)


@contextmanager
def association(
    port: int,
    *,
    calling: str = "PACS",
    called: str = "INTU_SCU",
    role: tuple[bool, bool] | None = (False, True),
    more: tuple[str, ...] = (),
) -> Iterator[Any]:
    """Associate as a PACS that answers."""
    ae = AE(calling)
    ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = 20
    for syntax in (COMMITMENT, *more):
        ae.add_requested_context(syntax)
    roles: list[Any] = [build_role(COMMITMENT, scu_role=role[0], scp_role=role[1])] if role else []
    opened = ae.associate("127.0.0.1", port, ae_title=called, ext_neg=roles)
    try:
        yield opened
    finally:
        opened.release()


def report(opened: Any, kind: int = 1, sop_class: str = COMMITMENT, sop: str = WELL_KNOWN) -> int:
    """Send a result and return the status of its answer."""
    information = Dataset()
    information.TransactionUID = "1.2.3"
    meta = COMMITMENT if sop_class != COMMITMENT else None
    status, _ = opened.send_n_event_report(information, kind, sop_class, sop, meta_uid=meta)
    return int(status.Status)


def test_answer_is_taken_where_the_pacs_provides(start: Start) -> None:
    """The role that the PACS proposes is granted, and its answer handed over as it came."""
    hearing = Hearing()
    with association(start(hear=hearing).port) as opened:
        (context,) = opened.accepted_contexts
        assert (context.as_scu, context.as_scp) == (False, True)
        assert report(opened) == 0x0000
        assert report(opened, kind=2) == 0x0000
    (first, _) = hearing.heard
    assert (first.calling_ae_title, first.called_ae_title) == ("PACS", "INTU_SCU")
    assert b"1.2.3" in hearing.read[0]


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (InvalidDataSet("x"), 0x0115),
        (NotAuthorized("x"), 0x0124),
        (StoreUnavailable("x"), 0x0213),
        (ValueError("x"), 0x0110),
    ],
)
def test_what_cannot_be_taken_has_its_status(error: Exception, status: int, start: Start) -> None:
    """The PACS learns whether to tell it again; the association goes on."""
    hearing = Hearing(error)
    with association(start(hear=hearing).port) as opened:
        assert report(opened) == status
        hearing.error = None
        assert report(opened) == 0x0000


def test_promise_is_taken_where_the_disk_is_low(start: Start) -> None:
    """It lets files be pruned: refused below ``min_free_bytes`` it would keep the disk low."""
    hearing = Hearing()
    with association(start(hear=hearing, receiver=limits(min_free_bytes=1 << 60)).port) as opened:
        assert report(opened) == 0x0000
    assert len(hearing.heard) == 1


def test_results_of_something_else_are_refused(start: Start) -> None:
    """Another instance is 0112, another event 0113, another class 0118; nothing is handed over."""
    hearing = Hearing()
    with association(start(hear=hearing).port) as opened:
        assert report(opened, sop="1.2.3.4") == 0x0112
        assert report(opened, kind=3) == 0x0113
        assert report(opened, sop_class="1.2.840.10008.1.20.2") == 0x0118
    assert hearing.heard == []


def test_stranger_cannot_answer(start: Start) -> None:
    """Who is not asked has no such role and is answered 0211, or is rejected."""
    hearing = Hearing()
    receiving = start(hear=hearing, commit=lambda request: None)
    with association(receiving.port, calling="CT1", called="INTU_SCP", role=None) as opened:
        assert opened.is_established
        assert report(opened) == 0x0211
    with association(receiving.port, calling="CT1") as opened:
        assert opened.is_rejected
    assert hearing.heard == []


def test_pacs_may_answer_and_nothing_else(start: Start) -> None:
    """Where only others may send, a PACS that was asked gets no storage, but C-ECHO."""
    receiving = start(hear=Hearing(), calling_ae_titles=("CT1",))
    with association(receiving.port, more=(VERIFICATION, CTImageStorage)) as opened:
        accepted = {str(one.abstract_syntax) for one in opened.accepted_contexts}
        assert accepted == {COMMITMENT, VERIFICATION}
        assert int(opened.send_c_echo().Status) == 0x0000


def test_pacs_that_also_asks_us(start: Start) -> None:
    """In both roles one association carries its requests to us and its answers to ours."""
    hearing, requests = Hearing(), list[CommitmentRequest]()
    receiving = start(hear=hearing, commit=requests.append)
    with association(receiving.port, called="INTU_SCP", role=(True, True)) as opened:
        assert report(opened) == 0x0000
        information = Dataset()
        information.TransactionUID = "1.2.4"
        status, _ = opened.send_n_action(information, 1, COMMITMENT, WELL_KNOWN)
        assert int(status.Status) == 0x0000
    assert (len(hearing.heard), len(requests)) == (1, 1)


def test_pacs_that_only_answers_gets_no_results_of_ours(start: Start) -> None:
    """An association on which the PACS provides is none to tell results on: it is no requester."""
    receiving = start(hear=Hearing(), commit=lambda request: None)
    with association(receiving.port, called="INTU_SCP") as opened:
        assert opened.is_established
        assert receiving.requesters.free() == frozenset()
    with association(receiving.port, called="INTU_SCP", role=None) as opened:
        assert receiving.requesters.free() == {Requester("test", "INTU_SCP", "PACS")}


def test_results_that_wait_take_no_memory(start: Start) -> None:
    """Ten results of two megabytes that are complete, and wait to be stored, take nearly none."""
    waiting, go_on = threading.Semaphore(0), threading.Event()

    def hear(answer: CommitmentAnswer) -> None:
        waiting.release()
        go_on.wait(20)

    receiving = start(hear=hear)
    context = (1, COMMITMENT, (IMPLICIT,))
    request = command(
        element(0x0002, COMMITMENT.encode()),
        us(0x0100, 0x0100),
        us(0x0110, 1),
        us(0x0800, 1),
        element(0x1000, WELL_KNOWN.encode()),
        us(0x1002, 1),
    )
    with ExitStack() as stack:
        peers = [stack.enter_context(RawPeer(receiving.port)) for _ in range(10)]
        for peer in peers:
            peer.associate((context,), calling="PACS", called="INTU_SCU")
        piece = bytes(16_000)
        tracemalloc.start()
        before, _ = tracemalloc.get_traced_memory()
        for peer in peers:
            peer.send_command(request, 1)
            for number in range(128):
                peer.send_data(piece, 1, last=number == 127)
        assert all(waiting.acquire(timeout=10) for _ in peers)
        after, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        go_on.set()
        assert [status_of(peer.response()) for peer in peers] == [0x0000] * 10
    assert after - before < 4 << 20
