"""Forwarding to a PACS: what arrives, what is resumed, what is recorded."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from intu_fhir.deliver.dicom import NO_CONTEXT, NO_FILE
from intu_fhir.deliver.outcomes import DIMSE_RANGES, DIMSE_STATUSES, Verdict, dimse_rule
from intu_fhir.deliver.tally import NO_ANSWER
from intu_fhir.demo.pacs import ABORT, StandInPacs
from intu_fhir.errors import ConfigurationError
from intu_fhir.model.cause import cause_of
from intu_fhir.model.outcome import Dead, Delivered, Retry
from tests.support.certificates import Authority
from tests.support.far_sides import RawServer
from tests.support.outgoing import CT, IMPLICIT, Sending, outgoing, outgoing_study, path_of
from tests.support.raw_peer import EXPLICIT

JPEG = "1.2.840.10008.1.2.4.70"
INSTANCES = 6


def test_data_sets_arrive_as_they_are_stored(tmp_path: Path) -> None:
    """Bytes, SOP class and transfer syntax at the PACS are those of the file."""
    objects = outgoing_study(tmp_path / "out")
    objects.append(outgoing(tmp_path / "out", "1.2.9", b"x" * 3_000_000, transfer_syntax_uid=JPEG))
    objects.append(outgoing(tmp_path / "out", "1.2.10", b""))
    with StandInPacs(tmp_path / "pacs") as pacs:
        sending = Sending(pacs.port)
        outcome = sending.send(objects)
        assert outcome == Delivered("0000", f"{len(objects)} instances")
        kept = {one.sop_instance_uid: one for one in pacs.instances}
        assert pacs.associations == 1
    for one in objects:
        arrived = kept[one.sop_instance_uid]
        assert arrived.data_set() == path_of(one).read_bytes()[one.data_set_offset :]
        assert arrived.transfer_syntax_uid == one.transfer_syntax_uid
        assert arrived.sop_class_uid == one.sop_class_uid
    assert [answer.status for answer in sending.answers] == ["0000"] * len(objects)


def test_deflated_stream_of_odd_length_is_padded(tmp_path: Path) -> None:
    """A deflated data set is made even, as PS3.5 A.5 asks; others go as they are."""
    deflated = "1.2.840.10008.1.2.1.99"
    objects = [
        outgoing(tmp_path / "out", "1.2.1", b"abc", transfer_syntax_uid=deflated),
        outgoing(tmp_path / "out", "1.2.2", b"abcd", transfer_syntax_uid=deflated),
        outgoing(tmp_path / "out", "1.2.3", b"abc"),
    ]
    with StandInPacs(tmp_path / "pacs") as pacs:
        Sending(pacs.port).send(objects)
        assert [one.data_set() for one in pacs.instances] == [b"abc\0", b"abcd", b"abc"]


def test_echo(tmp_path: Path) -> None:
    """C-ECHO tells a PACS that is there from one that is not."""
    with StandInPacs(tmp_path) as pacs:
        assert Sending(pacs.port).scu.echo() == Delivered("0000")
    outcome = Sending(pacs.port).scu.echo()
    assert isinstance(outcome, Retry)
    assert f"PACS at 127.0.0.1:{pacs.port}" in outcome.detail


@pytest.mark.parametrize("stored", range(INSTANCES))
def test_abort_after_each_instance_is_resumed(tmp_path: Path, stored: int) -> None:
    """P-02: after an abort only what was not acknowledged is sent again, on a new association."""
    objects = outgoing_study(tmp_path / "out", INSTANCES)
    with StandInPacs(tmp_path / "pacs") as pacs:
        sending = Sending(pacs.port)
        pacs.abort_after(stored)
        first = sending.send(objects)
        assert isinstance(first, Retry)
        assert first.status == NO_ANSWER
        assert objects[stored].sop_instance_uid in first.detail
        assert len(sending.delivered) == stored
        assert isinstance(sending.send(objects), Delivered)
        assert pacs.received == [one.sop_instance_uid for one in objects]
        assert sending.delivered == pacs.received
        assert pacs.associations == 2


@pytest.mark.parametrize("sent", range(INSTANCES))
def test_stopped_in_the_middle_is_resumed(tmp_path: Path, sent: int) -> None:
    """P-02: who lost the lease stops before the next instance; the next worker sends the rest."""
    objects = outgoing_study(tmp_path / "out", INSTANCES)
    with StandInPacs(tmp_path / "pacs") as pacs:
        sending = Sending(pacs.port)
        outcome = sending.send(objects, lambda: len(sending.answers) < sent)
        assert isinstance(outcome, Retry)
        assert len(pacs.received) == sent
        assert isinstance(sending.send(objects), Delivered)
        assert pacs.received == [one.sop_instance_uid for one in objects]


EVERY_STATUS = sorted({*DIMSE_STATUSES, *(edge for r, _ in DIMSE_RANGES for edge in (r[0], r[-1]))})
NOBODYS = [0x0001, 0x0118, 0xB001, 0xD000, 0xFE00, 0xFF00, 0xFF01]
_OUTCOMES = {
    Verdict.DELIVERED: Delivered,
    Verdict.WARNING: Delivered,
    Verdict.RETRY: Retry,
    Verdict.DEAD: Dead,
}


@pytest.mark.parametrize("status", [*EVERY_STATUS, *NOBODYS])
def test_each_status(tmp_path: Path, status: int) -> None:
    """P-01: each status ends as its table says; only a success or a warning is a delivery."""
    (one,) = outgoing_study(tmp_path / "out", 1)
    with StandInPacs(tmp_path / "pacs") as pacs:
        pacs.answer_next(status)
        sending = Sending(pacs.port)
        outcome = sending.send([one])
    rule = dimse_rule(status)
    assert isinstance(outcome, _OUTCOMES[rule.verdict])
    (answer,) = sending.answers
    assert answer.status == f"{status:04X}"
    assert answer.delivered is (_OUTCOMES[rule.verdict] is Delivered)
    assert answer.warning is (rule.verdict is Verdict.WARNING)
    assert status in EVERY_STATUS or isinstance(outcome, Retry)


@pytest.mark.parametrize("status", [0xA900, 0xC000, 0xC123, 0x0117, 0x0122, 0x0124])
def test_refused_instance_is_dead_and_keeps_nobody_back(tmp_path: Path, status: int) -> None:
    """One instance that a PACS does not take does not stop the others."""
    objects = outgoing_study(tmp_path / "out", INSTANCES)
    poison = objects[2].sop_instance_uid
    with StandInPacs(tmp_path / "pacs") as pacs:
        pacs.answer_for(poison, status)
        sending = Sending(pacs.port)
        outcome = sending.send(objects)
        assert isinstance(outcome, Dead)
        assert outcome.status == f"{status:04X}"
        assert poison in outcome.detail
        assert f"1 of {INSTANCES}" in outcome.detail
        assert len(pacs.instances) == INSTANCES - 1
    (bad,) = [answer for answer in sending.answers if not answer.delivered]
    assert (bad.sop_instance_uid, bad.status) == (poison, f"{status:04X}")


@pytest.mark.parametrize("status", [0xB000, 0xB006, 0xB007])
def test_warning_is_delivered_and_recorded(tmp_path: Path, status: int) -> None:
    """A warning counts as delivered, and is seen."""
    objects = outgoing_study(tmp_path / "out", INSTANCES)
    with StandInPacs(tmp_path / "pacs") as pacs:
        pacs.answer_next(0, status)
        sending = Sending(pacs.port)
        outcome = sending.send(objects)
    assert isinstance(outcome, Delivered)
    assert f"1 instance: {status:04X}" in outcome.warning
    (warned,) = [answer for answer in sending.answers if answer.warning]
    assert warned.delivered
    assert warned.sop_instance_uid == objects[1].sop_instance_uid


def test_already_there_is_delivered(tmp_path: Path) -> None:
    """An archive that answers 0111 has the instance."""
    objects = outgoing_study(tmp_path / "out", 1)
    with StandInPacs(tmp_path / "pacs") as pacs:
        pacs.answer_next(0x0111)
        assert isinstance(Sending(pacs.port).send(objects), Delivered)


def test_one_instance_that_can_be_retried_keeps_the_study_alive(tmp_path: Path) -> None:
    """A study is no dead letter while something of it may still go through."""
    objects = outgoing_study(tmp_path / "out", INSTANCES)
    with StandInPacs(tmp_path / "pacs") as pacs:
        pacs.answer_next(0xC000, 0xA700)
        outcome = Sending(pacs.port).send(objects)
        assert isinstance(outcome, Retry)
        assert outcome.status == "A700"
        assert len(pacs.instances) == INSTANCES - 2


def test_pacs_out_of_resources_is_left_in_peace(tmp_path: Path) -> None:
    """After three A700 running nothing more is thrown at a full PACS."""
    objects = outgoing_study(tmp_path / "out", 20)
    with StandInPacs(tmp_path / "pacs") as pacs:
        pacs.answer_next(*[0xA700] * 20)
        sending = Sending(pacs.port)
        assert isinstance(sending.send(objects), Retry)
        assert len(sending.answers) == 3


def test_contexts_that_are_not_granted(tmp_path: Path) -> None:
    """What is granted is sent; the rest is dead with the PACS's own reason."""
    objects = outgoing_study(tmp_path / "out", 2)
    other = outgoing(tmp_path / "out", "1.2.7", b"", sop_class_uid="1.2.840.10008.5.1.4.1.1.4")
    jpeg = outgoing(tmp_path / "out", "1.2.8", b"", transfer_syntax_uid=JPEG)
    with StandInPacs(tmp_path / "pacs", contexts={CT: [EXPLICIT, IMPLICIT]}) as pacs:
        sending = Sending(pacs.port)
        outcome = sending.send([other, *objects, jpeg])
        assert isinstance(outcome, Dead)
        assert len(pacs.instances) == 2
    dead = {a.sop_instance_uid: a for a in sending.answers if not a.delivered}
    assert {answer.status for answer in dead.values()} == {NO_CONTEXT}
    assert "SOP class not supported" in dead["1.2.7"].detail
    assert "transfer syntax not supported" in dead["1.2.8"].detail
    assert "(2 of 4 instances not taken, the first is 1.2.7)" in outcome.detail
    told = "the PACS takes no MR Image Storage: SOP class not supported"
    assert cause_of(outcome.detail) == told
    assert "takes no CT Image Storage in JPEG Lossless" in dead["1.2.8"].detail


def test_more_contexts_than_an_association_has(tmp_path: Path) -> None:
    """130 SOP classes go over two associations, each instance once."""
    objects = [
        outgoing(tmp_path / "out", f"1.2.3.{n}", b"", sop_class_uid=f"1.2.826.0.1.3680043.9.{n}")
        for n in range(1, 131)
    ]
    with StandInPacs(tmp_path / "pacs") as pacs:
        sending = Sending(pacs.port)
        assert isinstance(sending.send(objects), Delivered)
        assert pacs.associations == 2
        assert sorted(pacs.received) == sorted(one.sop_instance_uid for one in objects)


def test_nothing_to_send_asks_nobody(tmp_path: Path) -> None:
    """An empty list is delivered without an association."""
    assert isinstance(Sending(9).send([]), Delivered)


def test_stored_file_that_is_gone(tmp_path: Path) -> None:
    """A missing file is named, and the other instances go on."""
    objects = outgoing_study(tmp_path / "out", 3)
    path_of(objects[1]).unlink()
    with StandInPacs(tmp_path / "pacs") as pacs:
        sending = Sending(pacs.port)
        assert isinstance(sending.send(objects), Dead)
        assert len(pacs.instances) == 2
    assert [answer.status for answer in sending.answers] == ["0000", NO_FILE, "0000"]


def test_unknown_called_ae_title_is_for_a_person(tmp_path: Path) -> None:
    """A permanent reject is a dead letter that says which setting is wrong."""
    with StandInPacs(tmp_path, ae_title="OTHER", require_called_ae_title=True) as pacs:
        outcome = Sending(pacs.port).send(outgoing_study(tmp_path / "out", 1))
    assert isinstance(outcome, Dead)
    assert outcome.status == "A-ASSOCIATE-RJ 1/1/7"
    assert "called_ae_title" in outcome.detail


# ---- TLS


def _server_context(authority: Authority, *, clients: bool) -> ssl.SSLContext:
    certificate = authority.issue("pacs")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate.cert_file, certificate.key_file)
    if clients:
        context.load_verify_locations(authority.ca_file)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


@pytest.mark.parametrize("clients", [False, True])
def test_tls(tmp_path: Path, clients: bool) -> None:
    """Over TLS, with a client certificate where the PACS wants one, everything arrives."""
    authority = Authority(tmp_path / "ca")
    ours = authority.issue("intu")
    tls = {"ca_file": authority.ca_file}
    tls |= {"cert_file": ours.cert_file, "key_file": ours.key_file} if clients else {}
    objects = outgoing_study(tmp_path / "out", 3)
    objects.append(outgoing(tmp_path / "out", "1.2.9", b"x" * 2_000_000))
    context = _server_context(authority, clients=clients)
    with StandInPacs(tmp_path / "pacs", tls=context) as pacs:
        assert isinstance(Sending(pacs.port, tls=tls).send(objects), Delivered)
        assert len(pacs.instances) == 4


def test_tls_with_a_stranger(tmp_path: Path) -> None:
    """A PACS whose certificate is not from our authority gets nothing."""
    strangers, ours = Authority(tmp_path / "a", "Strangers"), Authority(tmp_path / "b")
    context = _server_context(strangers, clients=False)
    with StandInPacs(tmp_path / "pacs", tls=context) as pacs:
        sending = Sending(pacs.port, tls={"ca_file": ours.ca_file})
        outcome = sending.send(outgoing_study(tmp_path / "out", 1))
        assert pacs.received == []
    assert isinstance(outcome, Retry)
    assert "not trusted" in outcome.detail


def test_tls_to_a_port_without_it(tmp_path: Path) -> None:
    """TLS to a plain port fails in time and says TLS."""
    authority = Authority(tmp_path / "ca")
    with StandInPacs(tmp_path / "pacs") as pacs:
        sending = Sending(pacs.port, seconds=1.0, tls={"ca_file": authority.ca_file})
        outcome = sending.send(outgoing_study(tmp_path / "out", 1))
    assert isinstance(outcome, Retry)
    assert "TLS" in outcome.detail


def test_tls_to_a_peer_that_answers_plainly(tmp_path: Path) -> None:
    """A PACS that aborts what it cannot read, without TLS, is said to speak none."""
    authority = Authority(tmp_path / "ca")
    with RawServer(lambda peer: peer.send(bytes.fromhex("07000000000400000200"))) as peer:
        sending = Sending(peer.port, seconds=1.0, tls={"ca_file": authority.ca_file})
        outcome = sending.send(outgoing_study(tmp_path / "out", 1))
    assert isinstance(outcome, Retry)
    assert "TLS with the PACS fails (it answers without TLS)" in outcome.detail


def test_tls_files_that_are_none(tmp_path: Path) -> None:
    """A wrong file shows at the start, by the name of its key."""
    (tmp_path / "x.pem").write_text("no certificate")
    with pytest.raises(ConfigurationError, match="ca_file"):
        Sending(9, tls={"ca_file": tmp_path / "x.pem"})


def test_abort_is_a_status_of_the_stand_in_only() -> None:
    """The stand-in's word for aborting can never be taken for a DIMSE status."""
    assert ABORT < 0
