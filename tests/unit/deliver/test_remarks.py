"""Remarks on deliveries that send a part only."""

from __future__ import annotations

from intu_fhir.deliver.remarks import still_said

LIST = "sent without the list of its 6000 instances, for their number"
NO_DEVICE = "Device not sent: the server does not take it"


def test_what_was_said_of_the_study_stays() -> None:
    """What was remarked when a study was sent stands beside what is remarked now, once."""
    assert still_said(LIST, "odd body site", LIST) == f"{LIST}; odd body site"
    assert still_said("", "") == ""


def test_what_each_delivery_finds_out_is_not_carried_on() -> None:
    """A server that takes today what it did not yesterday is not said to refuse it."""
    without = "without dose, which go beside an ImagingStudy alone"
    before = f"{LIST}; {NO_DEVICE}; sent as DocumentReference 7 version 1; {without}"
    assert still_said(before) == LIST
    assert still_said(before, NO_DEVICE) == f"{LIST}; {NO_DEVICE}"
