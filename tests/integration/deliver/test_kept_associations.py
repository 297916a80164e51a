"""Associations that serve several studies: when they do, and what an early end of one means."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from intu_fhir.deliver.dicom import StorageScu
from intu_fhir.demo.pacs import StandInPacs
from intu_fhir.model.outcome import Delivered, InstanceOutcome, Retry
from intu_fhir.settings.schema import DicomDestination
from tests.support.far_sides import Gone, Peer, RawServer
from tests.support.outgoing import (
    abort,
    associate,
    outgoing,
    outgoing_study,
    read_command,
    read_data_set,
    response,
)
from tests.support.raw_peer import RELEASE_RP, pdu
from tests.support.waiting import wait_until

MR = "1.2.840.10008.5.1.4.1.1.4"


@contextmanager
def _scu(
    port: int, idle_seconds: float = 30.0, longest: float = 60.0, patience: float = 60.0
) -> Iterator[StorageScu]:
    destination = DicomDestination(
        type="dicom", host="127.0.0.1", port=port, called_ae_title="PACS", timeout_seconds=patience
    )
    scu = StorageScu(destination, idle_seconds=idle_seconds, longest_use_seconds=longest)
    with closing(scu):
        yield scu


def _ignore(_: InstanceOutcome) -> None:
    pass


def test_studies_share_an_association(tmp_path: Path) -> None:
    """Ten studies one after the other go over one association, which ends with its owner."""
    with StandInPacs(tmp_path / "pacs") as pacs:
        with _scu(pacs.port) as scu:
            for number in range(10):
                objects = outgoing_study(tmp_path / str(number), 2, study=number)
                assert isinstance(scu.send(objects, _ignore), Delivered)
            assert len(pacs.received) == 20
            assert pacs.associations == 1
        wait_until(lambda: not pacs._entity.active_associations, what="the association is released")


def test_each_study_has_its_own_where_nothing_is_kept(tmp_path: Path) -> None:
    """With 0 seconds each study has an association of its own."""
    with StandInPacs(tmp_path / "pacs") as pacs, _scu(pacs.port, 0.0) as scu:
        for number in range(3):
            scu.send(outgoing_study(tmp_path / str(number), 1, study=number), _ignore)
        assert pacs.associations == 3


def test_another_kind_of_study_has_another_association(tmp_path: Path) -> None:
    """What was not asked for is not sent: a new association is opened, and the old one ends."""
    with StandInPacs(tmp_path / "pacs") as pacs, _scu(pacs.port) as scu:
        scu.send([outgoing(tmp_path / "o", "1.2.1", b"x")], _ignore)
        scu.send([outgoing(tmp_path / "o", "1.2.2", b"x", sop_class_uid=MR)], _ignore)
        scu.send([outgoing(tmp_path / "o", "1.2.3", b"x", sop_class_uid=MR)], _ignore)
        assert pacs.associations == 2
        wait_until(lambda: len(pacs._entity.active_associations) == 1, what="the old one ended")
        assert len(pacs.received) == 3


def test_one_association_holds_what_a_part_of_a_study_needs(tmp_path: Path) -> None:
    """An association that was made for more serves a study that needs less."""
    both = [
        outgoing(tmp_path / "o", "1.2.1", b"x"),
        outgoing(tmp_path / "o", "1.2.2", b"x", sop_class_uid=MR),
    ]
    with StandInPacs(tmp_path / "pacs") as pacs, _scu(pacs.port) as scu:
        scu.send(both, _ignore)
        scu.send([outgoing(tmp_path / "o", "1.2.3", b"x", sop_class_uid=MR)], _ignore)
        assert pacs.associations == 1


def test_as_many_are_open_as_studies_are_on_their_way(tmp_path: Path) -> None:
    """Two threads have two associations, whatever they send, and whoever kept what."""
    most = 0
    with StandInPacs(tmp_path / "pacs") as pacs, _scu(pacs.port) as scu:

        def work(thread: int) -> None:
            nonlocal most
            for number in range(6):
                sop_class_uid = f"1.2.3.{(number + thread) % 3}"
                uid = f"1.2.{thread}.{number}"
                folder = tmp_path / f"{thread}"
                one = outgoing(folder, uid, b"x", sop_class_uid=sop_class_uid)
                assert isinstance(scu.send([one], _ignore), Delivered)
                alive = [a for a in pacs._entity.active_associations if a.is_established]
                most = max(most, len(alive))

        threads = [threading.Thread(target=work, args=(number,)) for number in (1, 2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(pacs.received) == 12
        assert 0 < most <= 2


def test_who_has_nothing_to_do_is_released(tmp_path: Path) -> None:
    """After its time a kept association is released in order."""
    ends: list[int] = []

    def behave(peer: Peer) -> None:
        _one_study(peer)
        ends.append(peer.pdu()[0])
        peer.send(pdu(RELEASE_RP, bytes(4)))

    with RawServer(behave) as server, _scu(server.port, 0.01) as scu:
        scu.send([outgoing(tmp_path, "1.2.1", b"x")], _ignore)
        wait_until(lambda: scu.end_idle() > 0, 5, "it is old enough")
        wait_until(lambda: ends, what="it is released")
    assert ends == [5]


def test_old_associations_serve_no_more(tmp_path: Path) -> None:
    """Under a load without pause an association ends all the same, before it is too old."""
    with StandInPacs(tmp_path / "pacs") as pacs, _scu(pacs.port, longest=0.0) as scu:
        for number in range(3):
            scu.send(outgoing_study(tmp_path / str(number), 1, study=number), _ignore)
        assert pacs.associations == 3


# ---- it ends while nobody uses it


def _one_study(peer: Peer) -> None:
    associate(peer)
    request = read_command(peer)
    read_data_set(peer)
    peer.send(response(request.message_id, request.uid))


def _aborts(peer: Peer) -> None:
    peer.send(abort())
    peer.wait()


def _resets(peer: Peer) -> None:
    peer.reset()


def _closes(peer: Peer) -> None:
    raise Gone


def _closes_on_the_command(peer: Peer) -> None:
    read_command(peer)
    raise Gone


def _aborts_in_the_data(peer: Peer) -> None:
    read_command(peer)
    peer.pdu()
    peer.send(abort())


def _never_answers(peer: Peer) -> None:
    peer.wait()


ENDS: dict[str, Callable[[Peer], None]] = {
    "aborts": _aborts,
    "resets": _resets,
    "closes": _closes,
    "closes on the command": _closes_on_the_command,
    "aborts in the data": _aborts_in_the_data,
    "never answers again": _never_answers,
}


@pytest.mark.parametrize("name", ENDS)
def test_kept_association_that_is_gone(tmp_path: Path, name: str) -> None:
    """Where it ended meanwhile, one new association takes the study, and nothing has failed."""
    answers: list[InstanceOutcome] = []
    numbers: list[int] = []
    ended = threading.Event()

    def behave(peer: Peer) -> None:
        numbers.append(peer.number)
        _one_study(peer)
        if peer.number == 1:
            ended.set()
            ENDS[name](peer)
        else:
            peer.wait()

    with RawServer(behave) as server, _scu(server.port, patience=2.0) as scu:
        scu.send([outgoing(tmp_path, "1.2.1", b"x")], answers.append)
        assert ended.wait(30)
        outcome = scu.send([outgoing(tmp_path, "1.2.2", b"x" * 100_000)], answers.append)
    assert numbers == [1, 2]
    assert outcome == Delivered("0000", "1 instance")
    assert [(a.sop_instance_uid, a.status) for a in answers] == [
        ("1.2.1", "0000"),
        ("1.2.2", "0000"),
    ]


def test_second_failure_is_one(tmp_path: Path) -> None:
    """A PACS that breaks off on a new association too has failed, after that one."""
    numbers: list[int] = []

    def behave(peer: Peer) -> None:
        numbers.append(peer.number)
        if peer.number > 1:
            associate(peer)
            read_command(peer)
            raise Gone
        _one_study(peer)

    answers: list[InstanceOutcome] = []
    with RawServer(behave) as server, _scu(server.port) as scu:
        scu.send([outgoing(tmp_path, "1.2.1", b"x")], answers.append)
        outcome = scu.send([outgoing(tmp_path, "1.2.2", b"x")], answers.append)
    assert numbers == [1, 2]
    assert isinstance(outcome, Retry)
    assert [answer.status for answer in answers] == ["0000", "no answer"]


def test_failure_after_an_answer_is_one(tmp_path: Path) -> None:
    """An association that took the first instance of a study has failed at the second."""
    numbers: list[int] = []

    def behave(peer: Peer) -> None:
        numbers.append(peer.number)
        _one_study(peer)
        request = read_command(peer)
        read_data_set(peer)
        peer.send(response(request.message_id, request.uid))
        read_command(peer)
        raise Gone

    answers: list[InstanceOutcome] = []
    with RawServer(behave) as server, _scu(server.port) as scu:
        scu.send([outgoing(tmp_path, "1.2.1", b"x")], answers.append)
        two = [outgoing(tmp_path, f"1.2.{n}", b"x") for n in (2, 3)]
        outcome = scu.send(two, answers.append)
    assert numbers == [1]
    assert isinstance(outcome, Retry)
    assert [answer.status for answer in answers] == ["0000", "0000", "no answer"]
