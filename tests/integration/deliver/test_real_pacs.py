"""DCMTK storescp and Orthanc as PACS, in the clear and over TLS."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydicom.filereader import read_file_meta_info

from intu_fhir.deliver.dicom import ObjectToSend
from intu_fhir.model.outcome import Dead, Delivered, Retry
from tests.support.certificates import Authority
from tests.support.data import pydicom_files
from tests.support.outgoing import outgoing_study, path_of
from tests.support.real_pacs import NAMES, data_set_digest, real_pacs


def _real_objects() -> list[ObjectToSend]:
    """Return pydicom's files that have all a C-STORE needs, one for each UID."""
    found: dict[str, ObjectToSend] = {}
    for path in pydicom_files():
        content = path.read_bytes()
        if content[128:132] != b"DICM" or content[132:136] != b"\2\0\0\0":
            continue
        meta = read_file_meta_info(path)
        uids = [str(meta.get(k, "")) for k in _META]
        if all(uids) and not uids[0].startswith("1.2.840.10008.1.3"):
            offset = 144 + int.from_bytes(content[140:144], "little")
            found.setdefault(uids[1], ObjectToSend(*uids, path, offset))
    return list(found.values())


_META = ("MediaStorageSOPClassUID", "MediaStorageSOPInstanceUID", "TransferSyntaxUID")


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize("name", NAMES)
def test_a_study_arrives(name: str, tls: bool, tmp_path: Path) -> None:
    """Every instance is confirmed and found in the PACS, its bytes unchanged."""
    authority = Authority(tmp_path / "ca") if tls else None
    objects = outgoing_study(tmp_path / "out", 8)
    with real_pacs(name, tmp_path / "pacs", authority) as pacs:
        sending = pacs.sending()
        assert sending.send(objects) == Delivered("0000", "8 instances")
        assert pacs.sop_instance_uids() == sorted(one.sop_instance_uid for one in objects)
        for one in objects:
            stored = pacs.file_of(one.sop_instance_uid)
            assert data_set_digest(stored) == data_set_digest(path_of(one).read_bytes())
        assert isinstance(sending.scu.send(objects, sending.answers.append), Delivered)


@pytest.mark.parametrize("name", NAMES)
def test_real_files_of_all_transfer_syntaxes(name: str, tmp_path: Path) -> None:
    """Each real file gets an answer of its own; what counts as delivered is in the PACS."""
    objects = _real_objects()
    assert len({one.transfer_syntax_uid for one in objects}) >= 8
    with real_pacs(name, tmp_path / "pacs") as pacs:
        sending = pacs.sending(timeout_seconds=3.0)
        left = objects
        while left:
            sending.send(left)
            answered = {answer.sop_instance_uid for answer in sending.answers}
            left = [one for one in left if one.sop_instance_uid not in answered]
        stored = pacs.sop_instance_uids()
    assert len(sending.answers) == len(objects)
    assert set(sending.delivered) <= set(stored)
    assert len(sending.delivered) > 0.7 * len(objects)
    assert [a for a in sending.answers if not a.delivered and not a.detail] == []


@pytest.mark.parametrize("name", NAMES)
def test_pacs_with_tls_and_a_client_without_certificate(name: str, tmp_path: Path) -> None:
    """Who shows no certificate gets no association, and is told in time."""
    authority = Authority(tmp_path / "ca")
    with real_pacs(name, tmp_path / "pacs", authority) as pacs:
        sending = pacs.sending()
        bare = type(pacs)(
            pacs.name, pacs.port, pacs.folder, {"ca_file": authority.ca_file}, pacs.http_port
        ).sending()
        assert isinstance(bare.send(outgoing_study(tmp_path / "out", 1)), Retry)
        assert isinstance(sending.scu.echo(), Delivered)
        assert pacs.sop_instance_uids() == []


def test_storescp_that_rejects(tmp_path: Path) -> None:
    """Storescp's own reject is judged by its reason."""
    with real_pacs("storescp", tmp_path / "pacs", refuse=True) as pacs:
        outcome = pacs.sending().send(outgoing_study(tmp_path / "out", 1))
    assert isinstance(outcome, (Retry, Dead))
    assert outcome.status.startswith("A-ASSOCIATE-RJ")


def test_orthanc_does_not_know_the_called_title(tmp_path: Path) -> None:
    """Orthanc's reject of a wrong called AE title is a dead letter with the remedy."""
    with real_pacs("orthanc", tmp_path / "pacs") as pacs:
        sending = pacs.sending()
        settings = sending.scu._destination.model_copy(update={"called_ae_title": "OTHER"})
        outcome = type(sending.scu)(settings).send(
            outgoing_study(tmp_path / "out", 1), sending.answers.append
        )
    assert isinstance(outcome, Dead)
    assert "called_ae_title" in outcome.detail
