"""Action Information and Event Information (PS3.4 J.3)."""

from __future__ import annotations

import tracemalloc
from io import BytesIO
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset
from pydicom.filewriter import dcmwrite

from intu_fhir.errors import InvalidDataSet, LimitPassed
from intu_fhir.model.commitment import CommitmentResult, ReferencedInstance
from intu_fhir.stage.commitment import encode_event_information, read_action_information

SYNTAXES = ["1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"]
CT = "1.2.840.10008.5.1.4.1.1.2"
INSTANCES = tuple(ReferencedInstance(CT, f"1.2.3.{number}") for number in range(1, 4))


def encode(dataset: Dataset, syntax: str) -> bytes:
    """Return a data set's bytes."""
    out = BytesIO()
    implicit, little = syntax == SYNTAXES[0], syntax != SYNTAXES[2]
    dcmwrite(out, dataset, implicit_vr=implicit, little_endian=little)
    return out.getvalue()


def action(transaction_uid: str = "1.2.3", instances: Any = INSTANCES) -> Dataset:
    """Return an Action Information."""
    dataset = Dataset()
    dataset.StorageMediaFileSetUID = "1.2.3.4"
    dataset.TransactionUID = transaction_uid
    dataset.ReferencedSOPSequence = []
    for instance in instances:
        item = Dataset()
        item.ReferencedSOPClassUID = instance.sop_class_uid
        item.ReferencedSOPInstanceUID = instance.sop_instance_uid
        dataset.ReferencedSOPSequence.append(item)
    return dataset


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_request_is_read_in_every_syntax(syntax: str) -> None:
    """Transaction UID and instances are read, whatever stands beside them."""
    asked = read_action_information(encode(action(), syntax), syntax, 10)
    assert asked.transaction_uid == "1.2.3"
    assert asked.instances == INSTANCES


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_result_is_written_in_every_syntax(syntax: str) -> None:
    """Committed and failed instances stand in their sequences, failures with their reason."""
    result = CommitmentResult("1.2.3", INSTANCES[:2], ((INSTANCES[2], 0x0112),))
    data = BytesIO(encode_event_information(result, syntax))
    read = read_dataset(data, syntax == SYNTAXES[0], syntax != SYNTAXES[2])
    assert read.TransactionUID == "1.2.3"
    assert [i.ReferencedSOPInstanceUID for i in read.ReferencedSOPSequence] == [
        "1.2.3.1",
        "1.2.3.2",
    ]
    (failed,) = read.FailedSOPSequence
    assert (failed.ReferencedSOPClassUID, failed.FailureReason) == (CT, 0x0112)
    assert result.event_type_id == 2


def test_full_success_has_no_failed_sequence() -> None:
    """Event type 1 comes without Failed SOP Sequence, which must not be empty."""
    result = CommitmentResult("1.2.3", INSTANCES)
    read = read_dataset(BytesIO(encode_event_information(result, SYNTAXES[0])), True, True)
    assert result.event_type_id == 1
    assert "FailedSOPSequence" not in read


def test_instance_that_is_named_twice_is_asked_for_once() -> None:
    """However often it is named, it is read and told once; of another class it is another one."""
    other = ReferencedInstance("1.2.840.10008.5.1.4.1.1.4", INSTANCES[0].sop_instance_uid)
    named = (INSTANCES[0], INSTANCES[1], INSTANCES[0], other, INSTANCES[0])
    data = encode(action("1.2.3", named), SYNTAXES[0])
    asked = read_action_information(data, SYNTAXES[0], 10)
    assert asked.instances == (INSTANCES[0], INSTANCES[1], other)


def test_large_result_takes_little_more_than_its_bytes() -> None:
    """Twenty thousand instances are written without an object for each."""
    instances = tuple(ReferencedInstance(CT, f"1.2.3.{number}") for number in range(20_000))
    tracemalloc.start()
    data = encode_event_information(CommitmentResult("1.2.3", instances), SYNTAXES[1])
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 5 * len(data)


def test_more_than_belongs_there_is_refused_by_its_setting() -> None:
    """Elements beside those of instances are bounded, too, and the error names a key that helps."""
    dataset = action()
    for number in range(2_000):
        dataset.add_new(0x00091001 + (number << 16), "LO", "")
    with pytest.raises(LimitPassed) as caught:
        read_action_information(encode(dataset, SYNTAXES[0]), SYNTAXES[0], 3)
    assert caught.value.limit == "storage_commitment.max_instances"


BAD: dict[str, Any] = {
    "no transaction": ("", INSTANCES),
    "wrong transaction": ("1.2.x", INSTANCES),
    "no instances": ("1.2.3", ()),
    "wrong instance": ("1.2.3", [ReferencedInstance(CT, "../evil")]),
    "no class": ("1.2.3", [ReferencedInstance("", "1.2.3")]),
}


@pytest.mark.parametrize("case", BAD)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_request_that_lacks_something_is_refused(case: str) -> None:
    """A request without a valid transaction, or without valid instances, cannot be taken."""
    with pytest.raises(InvalidDataSet):
        read_action_information(encode(action(*BAD[case]), SYNTAXES[0]), SYNTAXES[0], 10)


def test_too_many_instances_are_refused() -> None:
    """More instances than are taken are named by the setting."""
    with pytest.raises(LimitPassed, match="More than 2 instances") as caught:
        read_action_information(encode(action(), SYNTAXES[0]), SYNTAXES[0], 2)
    assert caught.value.limit == "storage_commitment.max_instances"


@given(st.data())
def test_damaged_request_is_read_or_refused(data: st.DataObject) -> None:
    """Whatever bytes come, the answer is a request or our own error."""
    syntax = data.draw(st.sampled_from(SYNTAXES))
    content = bytearray(encode(action(), syntax))
    for _ in range(data.draw(st.integers(0, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    del content[data.draw(st.integers(0, len(content))) :]
    try:
        asked = read_action_information(bytes(content), syntax, 10)
    except InvalidDataSet:
        return
    assert 1 <= len(asked.instances) <= 10
