"""What we ask of a PACS as bytes, and what it answers (PS3.4 J.3)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset

from intu_fhir.errors import InvalidDataSet
from intu_fhir.model.archive_commitment import reason_text
from intu_fhir.model.commitment import CommitmentResult, ReferencedInstance
from intu_fhir.stage.commitment import encode, encode_event_information, read_action_information
from intu_fhir.stage.commitment_answer import encode_action_information, read_event_information

SYNTAXES = ["1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"]
CT = "1.2.840.10008.5.1.4.1.1.2"
UIDS = st.from_regex(r"2\.25\.[1-9][0-9]{0,37}", fullmatch=True)
INSTANCES = st.builds(ReferencedInstance, st.just(CT), UIDS)


@given(UIDS, st.lists(INSTANCES, min_size=1, max_size=5), st.sampled_from(SYNTAXES))
def test_request_is_read_as_it_was_written(
    transaction: str, asked: list[ReferencedInstance], syntax: str
) -> None:
    """Whoever is asked reads the transaction and every instance once, in its order."""
    written = encode_action_information(transaction, asked, syntax)
    read = read_action_information(written, syntax, 10)
    assert (read.transaction_uid, read.instances) == (transaction, tuple(dict.fromkeys(asked)))


@given(
    UIDS,
    st.lists(INSTANCES, max_size=5),
    st.lists(st.tuples(INSTANCES, st.integers(0, 0xFFFF)), max_size=5),
    st.sampled_from(SYNTAXES),
)
def test_answer_is_read_as_it_was_written(
    transaction: str,
    committed: list[ReferencedInstance],
    failed: list[tuple[ReferencedInstance, int]],
    syntax: str,
) -> None:
    """Promised and refused instances and every Failure Reason are read, in any byte order."""
    result = CommitmentResult(transaction, tuple(committed), tuple(failed))
    assert read_event_information(encode_event_information(result, syntax), syntax) == result


@given(st.binary(max_size=200), st.sampled_from(SYNTAXES))
def test_nonsense_is_refused(data: bytes, syntax: str) -> None:
    """Bytes that are no Event Information raise the one error that has a status."""
    with pytest.raises(InvalidDataSet):
        read_event_information(data, syntax)


def test_failure_without_a_reason() -> None:
    """An instance that failed without a reason counts as a processing failure."""
    dataset, item = Dataset(), Dataset()
    dataset.TransactionUID = "1.2.3"
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = CT, "1.2.3.4"
    dataset.FailedSOPSequence = [item]
    read = read_event_information(encode(dataset, SYNTAXES[0]), SYNTAXES[0])
    assert read.failed == ((ReferencedInstance(CT, "1.2.3.4"), 0x0110),)


def test_item_without_an_instance_is_passed_over() -> None:
    """An item that names no instance takes no other with it."""
    dataset, nothing, item = Dataset(), Dataset(), Dataset()
    dataset.TransactionUID = "1.2.3"
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = CT, "1.2.3.4"
    nothing.ReferencedSOPClassUID = CT
    dataset.ReferencedSOPSequence = [nothing, item]
    read = read_event_information(encode(dataset, SYNTAXES[1]), SYNTAXES[1])
    assert read.committed == (ReferencedInstance(CT, "1.2.3.4"),)


def test_reasons_are_read_by_people() -> None:
    """A Failure Reason is shown with its name, and one without a name as it came."""
    assert reason_text(0x0112) == "0112 no such object instance"
    assert reason_text(0xABCD) == "ABCD a reason that no standard names"
