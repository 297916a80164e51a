"""Headers that are edited on the way to a PACS, and files that stay as they are."""

from __future__ import annotations

import zlib
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.filewriter import dcmwrite
from pydicom.sequence import Sequence
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from intu_fhir.deliver.dicom import NOT_EDITED, ObjectToSend
from intu_fhir.demo.pacs import StandInPacs
from intu_fhir.model.outcome import Dead, Delivered
from tests.support.outgoing import CT, Sending, outgoing, outgoing_study
from tests.support.real_pacs import NAMES, real_pacs
from tests.support.studies import data_set_bytes, make_instance

EDITS = {
    "set": {"InstitutionName": "General", "PatientID": "X1", "ProtocolName": "A", "StudyID": ""},
    "remove": ["StudyDescription", "PatientComments"],
}
_NAME = b"\x10\0\x10\0PN\6\0secret"
SYNTAXES = [ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian]


def _nested(undefined: bool) -> Dataset:
    """Return an instance with the edited elements in a sequence too, and something behind them."""
    dataset, item = make_instance("study", number=1), Dataset()
    dataset.StudyDescription, dataset.PatientComments = "Thorax", "tall"
    item.StudyDescription, item.PatientID = "within", "P"
    item.is_undefined_length_sequence_item = undefined
    dataset.ReferencedStudySequence = Sequence([item])
    dataset["ReferencedStudySequence"].is_undefined_length = undefined
    dataset.add_new(0x00091001, "UN", b"private!")
    dataset.add_new(0x00090010, "LO", "MAKER")
    return dataset


def _encoded(dataset: Dataset, syntax: str) -> bytes:
    out = BytesIO()
    little = syntax != ExplicitVRBigEndian
    implicit = syntax == ImplicitVRLittleEndian
    dcmwrite(out, dataset, implicit_vr=implicit, little_endian=little)
    return out.getvalue()


def _arrived(folder: Path, objects: list[ObjectToSend], edits: Any) -> list[bytes]:
    with StandInPacs(folder / "pacs") as pacs:
        outcome = Sending(pacs.port, edits=edits).send(objects)
        assert isinstance(outcome, Delivered), outcome
        return [one.data_set() for one in pacs.instances]


@pytest.mark.parametrize("syntax", SYNTAXES, ids=lambda syntax: syntax.name)
@pytest.mark.parametrize("undefined", [False, True])
def test_named_elements_change_and_no_other(tmp_path: Path, syntax: str, undefined: bool) -> None:
    """What arrives is what a general writer makes of the same edits, byte for byte."""
    dataset = _nested(undefined)
    before = _encoded(dataset, syntax)
    one = outgoing(tmp_path / "out", "1.2.3", before, transfer_syntax_uid=syntax)
    (arrived,) = _arrived(tmp_path, [one], EDITS)
    dataset.InstitutionName, dataset.PatientID, dataset.ProtocolName = "General", "X1", "A"
    dataset.StudyID = ""
    del dataset.StudyDescription, dataset.PatientComments
    assert arrived == _encoded(dataset, syntax)
    assert Path(str(one.file)).read_bytes()[one.data_set_offset :] == before


def test_the_file_is_compared_before_it_is_edited(tmp_path: Path) -> None:
    """The digest is that of what was received; edits do not make a file look damaged."""
    content = data_set_bytes(make_instance("study", number=1))
    made = outgoing(tmp_path / "out", "1.2.3", content)
    one = ObjectToSend(CT, "1.2.3", made.transfer_syntax_uid, made.file, made.data_set_offset,
                       sha256(content).hexdigest())  # fmt: skip
    assert _arrived(tmp_path, [one], EDITS) != [content]


def test_group_lengths_of_edited_groups_are_left_out(tmp_path: Path) -> None:
    """A group length (PS3.5 7.2) that would be wrong goes; that of another group stays."""
    dataset = make_instance("study", number=1)
    content = data_set_bytes(dataset)
    length = b"\x08\0\0\0UL\4\0\x99\0\0\0"
    one = outgoing(tmp_path / "out", "1.2.3", length + content)
    assert _arrived(tmp_path / "a", [one], {"remove": ["StudyID"]})[0].startswith(length)
    (arrived,) = _arrived(tmp_path / "b", [one], {"remove": ["AccessionNumber"]})
    assert arrived.startswith(content[:8])


@pytest.mark.parametrize("removed", ["PatientComments", "PatientID"])
def test_elements_out_of_order_are_removed_too(tmp_path: Path, removed: str) -> None:
    """An element that stands where it should not, or twice, does not slip through."""
    stray = b"\x10\0\0\x40LT\6\0secret" + b"\x10\0\x20\0LO\6\0secret"
    content = b"\x28\0\x10\0US\2\0\1\0" + stray + stray
    one = outgoing(tmp_path / "out", "1.2.3", content)
    (arrived,) = _arrived(tmp_path, [one], {"remove": [removed]})
    assert arrived.count(b"secret") == 2


@pytest.mark.parametrize(
    ("content", "syntax"),
    [
        (zlib.compress(b"x" * 100), DeflatedExplicitVRLittleEndian),
        (b"\x10\0\x20\0LO\xff\0short", ExplicitVRLittleEndian),
        (b"\x40\0\x75\x02SQ\0\0\xff\xff\xff\xffgarbage", ExplicitVRLittleEndian),
        (b"\xfe\xff\x0d\xe0\0\0\0\0" + _NAME, ExplicitVRLittleEndian),
        (_NAME + b"tail", ExplicitVRLittleEndian),
    ],
    ids=["deflated", "cut", "garbage", "stray delimiter", "tail"],
)
def test_what_cannot_be_edited_is_not_sent(tmp_path: Path, content: bytes, syntax: str) -> None:
    """An instance never leaves unedited; the others of the study go."""
    bad = outgoing(tmp_path / "out", "1.2.3", content, transfer_syntax_uid=syntax)
    with StandInPacs(tmp_path / "pacs") as pacs:
        sending = Sending(pacs.port, edits=EDITS)
        outcome = sending.send([bad, *outgoing_study(tmp_path / "out", 2)])
        assert isinstance(outcome, Dead)
        assert len(pacs.received) == 2
    assert sending.answers[0].status == NOT_EDITED
    assert "edits" in sending.answers[0].detail


@pytest.mark.parametrize("name", NAMES)
def test_a_real_pacs_reads_edited_headers(name: str, tmp_path: Path) -> None:
    """DCMTK and Orthanc take edited instances, and have the new values and the same pixels."""
    dataset = make_instance("study", number=1)
    one = outgoing(tmp_path / "out", str(dataset.SOPInstanceUID), data_set_bytes(dataset))
    with real_pacs(name, tmp_path / "pacs") as pacs:
        assert isinstance(pacs.sending(edits=EDITS).send([one]), Delivered)
        kept = dcmread(BytesIO(pacs.file_of(one.sop_instance_uid)))
    assert (kept.PatientID, kept.InstitutionName) == ("X1", "General")
    assert "StudyDescription" not in kept
    assert kept.get("PixelData") == dataset.get("PixelData")
